"""How far confidences are from the truth: errors, histograms, intervals, temperature."""

from coverax.reliability.errors import CalibrationErrors as CalibrationErrors
from coverax.reliability.errors import (
    adaptive_calibration_error as adaptive_calibration_error,
)
from coverax.reliability.errors import bin_means as bin_means
from coverax.reliability.errors import calibration_errors as calibration_errors
from coverax.reliability.errors import debiased_squared_ece as debiased_squared_ece
from coverax.reliability.errors import macro_mean as macro_mean
from coverax.reliability.errors import overconfidence_error as overconfidence_error
from coverax.reliability.errors import pixelwise_ece as pixelwise_ece
from coverax.reliability.statistics import add as add
from coverax.reliability.statistics import pooled as pooled
from coverax.reliability.statistics import select as select
