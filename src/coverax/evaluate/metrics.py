"""Metrics of a thresholded case from four integers."""

from collections.abc import Callable
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
        lesion_detection: Share of the lesions that the mask touches; NaN without lesions
            or where they were not counted.
    """

    fnr: Float[np.ndarray, " cases"]
    fpr: Float[np.ndarray, " cases"]
    pc: Float[np.ndarray, " cases"]
    dice: Float[np.ndarray, " cases"]
    volume_ml: Float[np.ndarray, " cases"]
    lesion_detection: Float[np.ndarray, " cases"]


def case_metrics(
    n_voxels: Int[np.ndarray, " cases"],
    n_foreground: Int[np.ndarray, " cases"],
    n_predicted: Int[np.ndarray, " cases"],
    n_true_positive: Int[np.ndarray, " cases"],
    voxel_volume_ml: Float[np.ndarray, " cases"],
    n_lesions: Int[np.ndarray, " cases"] | None = None,
    n_lesions_hit: Int[np.ndarray, " cases"] | None = None,
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
        lesion_detection=np.full(n_voxels.shape, np.nan)
        if n_lesions is None or n_lesions_hit is None
        else _ratio(n_lesions_hit, n_lesions, np.nan),
    )


def worst_metrics(
    metrics: CaseMetrics, worst_fn: Callable[[np.ndarray], np.ndarray]
) -> CaseMetrics:
    """Metrics of each case against the reference it does worst on.

    Args:
        metrics: One row a reference.
        worst_fn: Gives each row the largest value of its case.
    """
    return CaseMetrics(
        fnr=worst_fn(metrics.fnr),
        fpr=worst_fn(metrics.fpr),
        pc=metrics.pc,
        dice=-worst_fn(-metrics.dice),
        volume_ml=metrics.volume_ml,
        lesion_detection=-worst_fn(-metrics.lesion_detection),
    )


def _ratio(part: np.ndarray, whole: np.ndarray, when_zero: float) -> np.ndarray:
    out = np.full(part.shape, when_zero)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
