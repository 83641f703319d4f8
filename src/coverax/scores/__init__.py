"""Volumes to records to the score table; each case is read once."""

from coverax.scores.batch import View as View
from coverax.scores.batch import ViewBatch as ViewBatch
from coverax.scores.batch import lone_batch as lone_batch
from coverax.scores.batch import unpadded as unpadded
from coverax.scores.bins import read_bins as read_bins
from coverax.scores.bins import read_proper_scores as read_proper_scores
from coverax.scores.compute import score_arrays as score_arrays
from coverax.scores.compute import score_cohort as score_cohort
from coverax.scores.definition import MapKind as MapKind
from coverax.scores.definition import ScoreDefinition as ScoreDefinition
from coverax.scores.definition import sorted_tolerances as sorted_tolerances
from coverax.scores.engine import Engine as Engine
from coverax.scores.engine import EngineName as EngineName
from coverax.scores.engine import resolve_engine as resolve_engine
from coverax.scores.extremes import set_cut as set_cut
from coverax.scores.extremes import set_scores as set_scores
from coverax.scores.maps import score_maps as score_maps
from coverax.scores.stream import engine_of as engine_of
from coverax.scores.stream import load_case as load_case
from coverax.scores.stream import stream_rows as stream_rows
from coverax.scores.table import ScoreTable as ScoreTable
from coverax.scores.table import read_table as read_table
from coverax.scores.transforms import KINDS as KINDS
from coverax.scores.transforms import Transform as Transform
from coverax.scores.transforms import parse_transforms as parse_transforms
from coverax.scores.transforms import set_transforms as set_transforms
