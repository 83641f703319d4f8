"""Volumes to records to the score table; each case is read once."""

from coverax.scores.batch import View as View
from coverax.scores.batch import ViewBatch as ViewBatch
from coverax.scores.compute import score_arrays as score_arrays
from coverax.scores.compute import score_cohort as score_cohort
from coverax.scores.curves import N_CUTS as N_CUTS
from coverax.scores.curves import Curves as Curves
from coverax.scores.definition import MapKind as MapKind
from coverax.scores.definition import ScoreDefinition as ScoreDefinition
from coverax.scores.definition import sorted_tolerances as sorted_tolerances
from coverax.scores.engine import Engine as Engine
from coverax.scores.engine import EngineName as EngineName
from coverax.scores.engine import resolve_engine as resolve_engine
from coverax.scores.second_pass import add_critical_curves as add_critical_curves
from coverax.scores.stream import load_case as load_case
from coverax.scores.stream import stream_rows as stream_rows
from coverax.scores.table import ScoreTable as ScoreTable
from coverax.scores.table import read_table as read_table
