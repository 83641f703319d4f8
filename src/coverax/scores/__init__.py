"""Volumes to records to the score table; each case is read once.

A new statistic of a case is a family: a file here and its line in `families`. A new score
of a conformal set is a transform: an entry of `table/transforms.py`, and its map in
`maps`.
"""

from coverax.choices import EngineName as EngineName
from coverax.engine.switch import Engine as Engine
from coverax.engine.switch import resolve_engine as resolve_engine
from coverax.exports import exported
from coverax.host.mass import mass_cut as mass_cut
from coverax.scores.array_cases import ArrayCases as ArrayCases
from coverax.scores.array_cases import spacings_of as spacings_of
from coverax.scores.arrays import array_loader as array_loader
from coverax.scores.arrays import array_view as array_view
from coverax.scores.arrays import axis_order as axis_order
from coverax.scores.arrays import class_axis as class_axis
from coverax.scores.arrays import map_views as map_views
from coverax.scores.batch import CaseRows as CaseRows
from coverax.scores.batch import View as View
from coverax.scores.batch import ViewBatch as ViewBatch
from coverax.scores.batch import lone_batch as lone_batch
from coverax.scores.batch import unpadded as unpadded
from coverax.scores.bins import check_softmax as check_softmax
from coverax.scores.compute import score_arrays as score_arrays
from coverax.scores.compute import score_cohort as score_cohort
from coverax.scores.extremes import side_scores as side_scores
from coverax.scores.families import count_columns as count_columns
from coverax.scores.families import score_maps as score_maps
from coverax.scores.first_pass import Loader as Loader
from coverax.scores.fnr import compliance_scores as compliance_scores
from coverax.scores.lesions import lesion_columns as lesion_columns
from coverax.scores.lesions import view_peaks as view_peaks
from coverax.scores.notes import turned_notes as turned_notes
from coverax.scores.origin import origin_notes as origin_notes
from coverax.scores.parts import merge_parts as merge_parts
from coverax.scores.parts import score_part as score_part
from coverax.scores.records import key_of as key_of
from coverax.scores.second_pass import add_critical_curves as add_critical_curves
from coverax.scores.shapes import mask_shapes as mask_shapes
from coverax.scores.stream import MapReader as MapReader
from coverax.scores.stream import engine_of as engine_of
from coverax.scores.stream import load_case as load_case
from coverax.scores.stream import stream_rows as stream_rows
from coverax.table.columns import N_CUTS as N_CUTS
from coverax.table.columns import Curves as Curves
from coverax.table.columns import band_prefix as band_prefix
from coverax.table.columns import read_bins as read_bins
from coverax.table.columns import read_proper_scores as read_proper_scores
from coverax.table.columns import read_soft_bins as read_soft_bins
from coverax.table.definition import MapKind as MapKind
from coverax.table.definition import ScoreDefinition as ScoreDefinition
from coverax.table.definition import sorted_tolerances as sorted_tolerances
from coverax.table.part import TablePart as TablePart
from coverax.table.part import read_part as read_part
from coverax.table.read import read_table as read_table
from coverax.table.table import ScoreTable as ScoreTable
from coverax.table.transforms import KINDS as KINDS
from coverax.table.transforms import Transform as Transform
from coverax.table.transforms import parse_transforms as parse_transforms
from coverax.table.transforms import side_cut as side_cut
from coverax.table.transforms import side_transforms as side_transforms

__all__, __dir__ = exported(globals())
