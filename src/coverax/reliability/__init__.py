"""How far confidences are from the truth: errors, histograms, intervals, temperature."""

from coverax.exports import exported
from coverax.reliability.adaptive import (
    adaptive_calibration_error as adaptive_calibration_error,
)
from coverax.reliability.adaptive import adaptive_ce_grid as adaptive_ce_grid
from coverax.reliability.affine import AffineFit as AffineFit
from coverax.reliability.affine import apply_affine as apply_affine
from coverax.reliability.arrays import reliability_of_arrays as reliability_of_arrays
from coverax.reliability.bootstrap import Interval as Interval
from coverax.reliability.bootstrap import compare_models as compare_models
from coverax.reliability.bootstrap import interval as interval
from coverax.reliability.bootstrap import resampled as resampled
from coverax.reliability.bootstrap import unit_weights as unit_weights
from coverax.reliability.compare import compare as compare
from coverax.reliability.errors import CalibrationErrors as CalibrationErrors
from coverax.reliability.errors import bin_means as bin_means
from coverax.reliability.errors import calibration_errors as calibration_errors
from coverax.reliability.errors import debiased_squared_ece as debiased_squared_ece
from coverax.reliability.errors import macro_mean as macro_mean
from coverax.reliability.errors import overconfidence_error as overconfidence_error
from coverax.reliability.errors import pixelwise_ece as pixelwise_ece
from coverax.reliability.fitted import Applied as Applied
from coverax.reliability.fitted import Fit as Fit
from coverax.reliability.fitted import Temperature as Temperature
from coverax.reliability.fitted import read_temperature as read_temperature
from coverax.reliability.histogram import DatasetHistogram as DatasetHistogram
from coverax.reliability.histogram import dataset_histogram as dataset_histogram
from coverax.reliability.ordered import OrderedFit as OrderedFit
from coverax.reliability.ordered import apply_ordered as apply_ordered
from coverax.reliability.read import read_reliability as read_reliability
from coverax.reliability.recalibrate import apply_folder as apply_folder
from coverax.reliability.recalibrate import count_finished as count_finished
from coverax.reliability.recalibrate import fit_cohort as fit_cohort
from coverax.reliability.results import Against as Against
from coverax.reliability.results import BandResult as BandResult
from coverax.reliability.results import ClassResult as ClassResult
from coverax.reliability.results import Comparison as Comparison
from coverax.reliability.results import Difference as Difference
from coverax.reliability.results import GroupResult as GroupResult
from coverax.reliability.results import Measured as Measured
from coverax.reliability.results import ReliabilitySummary as ReliabilitySummary
from coverax.reliability.results import SoftmaxScores as SoftmaxScores
from coverax.reliability.results import TopLabel as TopLabel
from coverax.reliability.statistics import add as add
from coverax.reliability.statistics import mean_of_known as mean_of_known
from coverax.reliability.statistics import pooled as pooled
from coverax.reliability.statistics import select as select
from coverax.reliability.summary import RegionBins as RegionBins
from coverax.reliability.summary import Reliability as Reliability
from coverax.reliability.summary import summarise as summarise
from coverax.reliability.temperature import TemperatureFit as TemperatureFit
from coverax.reliability.temperature import (
    apply_binary_temperature as apply_binary_temperature,
)
from coverax.reliability.temperature import apply_by_class as apply_by_class
from coverax.reliability.temperature import apply_temperature as apply_temperature
from coverax.reliability.temperature import binary_logits_of as binary_logits_of
from coverax.reliability.temperature import fit_isotonic as fit_isotonic
from coverax.reliability.temperature import fit_platt as fit_platt
from coverax.reliability.temperature import fit_temperature as fit_temperature
from coverax.reliability.temperature import logits_of as logits_of
from coverax.reliability.write import fill_reliability as fill_reliability
from coverax.reliability.write import write_reliability as write_reliability

__all__, __dir__ = exported(globals())
