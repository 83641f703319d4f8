"""Metrics of a thresholded case from four integers."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class CaseMetrics(NamedTuple):
    """Per-case metrics; NaN where a metric does not apply.

    Attributes:
        fnr: Missed share of the reference; 0 for an empty reference.
        fpr: Predicted share of the background; NaN without background.
        pc: Predicted share of all voxels.
        dice: Dice coefficient; 1 where reference and mask are both empty.
        volume_ml: Volume of the mask.
    """

    fnr: Float[np.ndarray, " cases"]
    fpr: Float[np.ndarray, " cases"]
    pc: Float[np.ndarray, " cases"]
    dice: Float[np.ndarray, " cases"]
    volume_ml: Float[np.ndarray, " cases"]


def case_metrics(
    n_voxels: Int[np.ndarray, " cases"],
    n_foreground: Int[np.ndarray, " cases"],
    n_predicted: Int[np.ndarray, " cases"],
    n_true_positive: Int[np.ndarray, " cases"],
    voxel_volume_ml: Float[np.ndarray, " cases"],
) -> CaseMetrics:
    """Compute the metrics of every case from its counts."""
    missed = n_foreground - n_true_positive
    n_background = n_voxels - n_foreground
    return CaseMetrics(
        fnr=_ratio(missed, n_foreground, 0.0),
        fpr=_ratio(n_predicted - n_true_positive, n_background, np.nan),
        pc=_ratio(n_predicted, n_voxels, np.nan),
        dice=_ratio(2 * n_true_positive, n_foreground + n_predicted, 1.0),
        volume_ml=n_predicted * voxel_volume_ml,
    )


def _ratio(part: np.ndarray, whole: np.ndarray, when_zero: float) -> np.ndarray:
    out = np.full(part.shape, when_zero)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
