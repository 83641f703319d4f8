"""A calibration against cases with references."""

from coverax.evaluate.arrays import evaluate_arrays as evaluate_arrays
from coverax.evaluate.compute import evaluate_cohort as evaluate_cohort
from coverax.evaluate.cut_results import AtCut as AtCut
from coverax.evaluate.cut_results import CutResult as CutResult
from coverax.evaluate.cut_results import Distances as Distances
from coverax.evaluate.cut_results import FoldCutResult as FoldCutResult
from coverax.evaluate.folds import evaluate_folds as evaluate_folds
from coverax.evaluate.groups import evaluate_groups as evaluate_groups
from coverax.evaluate.metrics import CaseMetrics as CaseMetrics
from coverax.evaluate.metrics import LesionCounts as LesionCounts
from coverax.evaluate.metrics import case_metrics as case_metrics
from coverax.evaluate.other_results import IntervalResult as IntervalResult
from coverax.evaluate.other_results import ReleaseResult as ReleaseResult
from coverax.evaluate.parts import Parts as Parts
from coverax.evaluate.parts import evaluate_part as evaluate_part
from coverax.evaluate.parts import evaluated_parts as evaluated_parts
from coverax.evaluate.read import read_cases as read_cases
from coverax.evaluate.read import read_evaluation as read_evaluation
from coverax.evaluate.results import Evaluation as Evaluation
from coverax.evaluate.results import RegionResult as RegionResult
from coverax.evaluate.results import Summary as Summary
from coverax.evaluate.set_results import Coverage as Coverage
from coverax.evaluate.set_results import FoldCoverage as FoldCoverage
from coverax.evaluate.set_results import FoldSetsResult as FoldSetsResult
from coverax.evaluate.set_results import SetsResult as SetsResult
from coverax.evaluate.set_results import SideCoverage as SideCoverage
from coverax.evaluate.words import all_regions_words as all_regions_words
from coverax.evaluate.words import band_words as band_words
from coverax.evaluate.words import law_words as law_words
from coverax.evaluate.words import measure_rows as measure_rows
from coverax.evaluate.words import sentence as sentence
from coverax.evaluate.words import why_not_held_out as why_not_held_out
from coverax.evaluate.write import fill_evaluation as fill_evaluation
from coverax.evaluate.write import write_evaluation as write_evaluation
from coverax.exports import exported

__all__, __dir__ = exported(globals())
