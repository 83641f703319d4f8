"""Calibration errors of binned statistics, per case; float64 on the host.

All of them are functions of the sums that bin statistics hold, so pooled, per-site
and per-case errors differ only in what was added up before. NaN means: no voxel.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.engine.bins import LEAST_WEIGHT
from coverax.engine.results import BinStatistics, SoftBinStatistics


class CalibrationErrors(NamedTuple):
    """Errors of each case; NaN for a case without voxels.

    Attributes:
        ece: Expected calibration error, bins weighted by their voxels.
        ace: Average calibration error, occupied bins weighted equally.
        mce: Maximum calibration error.
    """

    ece: Float[np.ndarray, " batch"]
    ace: Float[np.ndarray, " batch"]
    mce: Float[np.ndarray, " batch"]


def bin_means(
    statistics: BinStatistics | SoftBinStatistics,
) -> tuple[Float[np.ndarray, "batch bins"], Float[np.ndarray, "batch bins"]]:
    """Mean probability and observed frequency of each bin; NaN where it is empty."""
    count = bin_weights(statistics)
    return _ratio(statistics.sum_p, count), _ratio(statistics.sum_y, count)


def bin_weights(
    statistics: BinStatistics | SoftBinStatistics,
) -> Float[np.ndarray, "batch bins"]:
    """Voxels of each bin, or their weight; 0 for a soft bin of less than 0.01."""
    if isinstance(statistics, BinStatistics):
        return np.asarray(statistics.count, np.float64)
    weight = np.asarray(statistics.weight, np.float64)
    return np.where(weight < LEAST_WEIGHT, 0.0, weight)


def calibration_errors(
    statistics: BinStatistics | SoftBinStatistics,
) -> CalibrationErrors:
    """ECE, ACE and MCE of each case from its bins, hard or soft.

    These are errors of this binning: a lower bound of the error of the binned map, not
    of the map itself, and ECE of a perfectly calibrated map is above 0 in a finite
    sample (see `debiased_squared_ece`).

    Args:
        statistics: Of `bin_statistics` or `soft_bin_statistics` of `kernels` or `host`.
            Soft bins of a weight below 0.01 are empty, as in `losses.soft_l1_ace`, of
            which the ACE of a case is the value.

    References:
        Naeini, Cooper and Hauskrecht (2015), Obtaining Well Calibrated Probabilities
        Using Bayesian Binning; Neumann, Zisserman and Vedaldi (2018), Relaxed Softmax.
    """
    count = bin_weights(statistics)
    mean_p, mean_y = bin_means(statistics)
    gap = np.abs(mean_p - mean_y)
    occupied = count > 0
    gap_or_zero = np.where(occupied, gap, 0.0)
    n_voxels, n_occupied = count.sum(1), occupied.sum(1)
    mce = np.where(n_occupied > 0, gap_or_zero.max(1), np.nan)
    return CalibrationErrors(
        ece=_ratio((count * gap_or_zero).sum(1), n_voxels),
        ace=_ratio(gap_or_zero.sum(1), n_occupied),
        mce=mce,
    )


def debiased_squared_ece(statistics: BinStatistics) -> Float[np.ndarray, " batch"]:
    """Squared ECE without the variance of the bin frequencies; may be negative.

    Unbiased for the squared binned error when voxels are independent given the map,
    which neighbours are not: read it as a correction, not as a test. Bins of one voxel
    are left out of the sum, not of the number of voxels.

    References:
        Kumar, Liang and Ma (2019), Verified Uncertainty Calibration.
    """
    count = np.asarray(statistics.count, np.float64)
    mean_p, mean_y = bin_means(statistics)
    usable = count > 1
    spread = _ratio(np.where(usable, mean_y * (1 - mean_y), 0), count - 1)
    terms = np.where(usable, (mean_p - mean_y) ** 2 - spread, 0)
    return _ratio((np.where(usable, count, 0) * terms).sum(1), count.sum(1))


def overconfidence_error(statistics: BinStatistics) -> Float[np.ndarray, " batch"]:
    """Mean over voxels of `mean_p * max(mean_p - mean_y, 0)` of their bin.

    References:
        Thulasidasan et al. (2019), On Mixup Training.
    """
    count = np.asarray(statistics.count, np.float64)
    mean_p, mean_y = bin_means(statistics)
    terms = np.where(count > 0, mean_p * np.maximum(mean_p - mean_y, 0), 0)
    return _ratio((count * terms).sum(1), count.sum(1))


def pixelwise_ece(
    statistics: BinStatistics, *, false_positive_weight: float = 2.0
) -> Float[np.ndarray, " batch"]:
    """pECE: calibration error with a surcharge for confident background voxels.

    Voxels of probability 0 lie outside all bins but count in the mean. It is no measure
    of calibration alone: a perfectly calibrated bin at 0.5 scores 1. A weight of 0 gives
    the ECE of the foreground channel.

    Args:
        statistics: Hard bins; the published number of bins is 10.
        false_positive_weight: Weight of the mean probability of the bin's background.

    References:
        Liang et al. (2025), We Care Each Pixel: Calibrating on Medical Segmentation Model.
    """
    count = np.asarray(statistics.count, np.float64).copy()
    sum_y = np.asarray(statistics.sum_y, np.float64).copy()
    n_voxels = count.sum(1)
    # p = 0 sits in the first bin and adds nothing to the sums of probabilities.
    count[:, 0] -= np.asarray(statistics.zero_count)
    sum_y[:, 0] -= np.asarray(statistics.zero_sum_y)
    sum_p = np.asarray(statistics.sum_p, np.float64)
    background_p = sum_p - np.asarray(statistics.sum_py, np.float64)
    n_background = count - sum_y
    surcharge = np.where(n_background > 0, _ratio(background_p, n_background), 0)
    gap = _ratio(sum_p - sum_y, count) + false_positive_weight * surcharge
    terms = np.where(count > 0, count * np.abs(gap), 0)
    return _ratio(terms.sum(1), n_voxels)


def macro_mean(
    values: Float[np.ndarray, " batch"],
    present: Bool[np.ndarray, " batch"],
    absent: str,
) -> float:
    """Mean over cases; a class absent from a reference is skipped or included.

    Args:
        values: One error a case.
        present: Whether the class occurs in the reference of the case.
        absent: `skip` or `include`.

    Raises:
        ValueError: The policy is another word.
    """
    kept = np.asarray(values)[counted_cases(values, present, absent)]
    return float(kept.mean()) if kept.size else float("nan")


def counted_cases(
    values: Float[np.ndarray, " batch"],
    present: Bool[np.ndarray, " batch"],
    absent: str,
) -> Bool[np.ndarray, " batch"]:
    """Cases that a macro mean counts: the error exists, and the class where asked for.

    Raises:
        ValueError: The policy is neither `skip` nor `include`.
    """
    check_policy(absent)
    there = ~np.isnan(np.asarray(values))
    return there & present if absent == "skip" else there


def check_policy(absent: str) -> None:
    """Refuse a policy for absent classes that is not `skip` or `include`."""
    if absent not in ("skip", "include"):
        raise ValueError(f"absent must be skip or include, got {absent!r}")


def _ratio(part, whole):
    part = np.asarray(part, np.float64)
    whole = np.broadcast_to(np.asarray(whole, np.float64), part.shape)
    out = np.full(part.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
