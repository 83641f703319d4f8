"""Metrics of a thresholded case from four integers."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class CaseMetrics(NamedTuple):
    """Per-case metrics; NaN where a metric does not apply, or was not measured.

    Attributes:
        fnr: Missed share of the reference; 0 for an empty reference.
        fpr: Predicted share of the background; NaN without background.
        pc: Predicted share of all voxels.
        dice: Dice coefficient; 1 where reference and mask are both empty.
        volume_ml: Volume of the mask.
        lesion_detection: Share of the lesions that the mask touches; NaN without lesions.
        precision: True share of the mask; NaN for an empty one.
        iou: Intersection over union; 1 where reference and mask are both empty.
        relative_volume_error: Error of the volume as a share of the true one; NaN for an
            empty reference.
        lesion_precision: Share of the mask's components that touch the reference; NaN
            without components.
        lesion_f1: Lesions touched, twice, over themselves twice, false components and
            missed lesions; NaN without lesions and components.
        n_false_lesions: Components of the mask that touch no reference.
        hd95_mm: Larger 95th percentile of the distances between surfaces; infinite where
            one side has none, NaN where neither has.
        assd_mm: Mean distance of both surfaces to each other, likewise.
        nsd: Share of both surfaces within a tolerance of the other; 0 where one side has
            none, NaN where neither has.
    """

    fnr: Float[np.ndarray, " cases"]
    fpr: Float[np.ndarray, " cases"]
    pc: Float[np.ndarray, " cases"]
    dice: Float[np.ndarray, " cases"]
    volume_ml: Float[np.ndarray, " cases"]
    lesion_detection: Float[np.ndarray, " cases"]
    precision: Float[np.ndarray, " cases"]
    iou: Float[np.ndarray, " cases"]
    relative_volume_error: Float[np.ndarray, " cases"]
    lesion_precision: Float[np.ndarray, " cases"]
    lesion_f1: Float[np.ndarray, " cases"]
    n_false_lesions: Float[np.ndarray, " cases"]
    hd95_mm: Float[np.ndarray, " cases"]
    assd_mm: Float[np.ndarray, " cases"]
    nsd: Float[np.ndarray, " cases"]


LESIONS = ("lesion_detection", "lesion_precision", "lesion_f1", "n_false_lesions")
SURFACES = ("hd95_mm", "assd_mm", "nsd")
# Where less is worse; of the others more is, and what is in neither is of the mask alone.
_LESS_IS_WORSE = ("dice", "lesion_detection", "precision", "iou", "lesion_precision")
_LESS_IS_WORSE += ("lesion_f1", "nsd")
_MORE_IS_WORSE = ("fnr", "fpr", "relative_volume_error", "n_false_lesions")
_MORE_IS_WORSE += ("hd95_mm", "assd_mm")


class LesionCounts(NamedTuple):
    """Lesions of references and components of masks.

    Attributes:
        n_lesions: Components of the reference.
        n_hit: Those that the mask touches.
        n_components: Components of the mask.
        n_false: Those that touch no reference.
    """

    n_lesions: Int[np.ndarray, " cases"]
    n_hit: Int[np.ndarray, " cases"]
    n_components: Int[np.ndarray, " cases"]
    n_false: Int[np.ndarray, " cases"]


def case_metrics(
    n_voxels: Int[np.ndarray, " cases"],
    n_foreground: Int[np.ndarray, " cases"],
    n_predicted: Int[np.ndarray, " cases"],
    n_true_positive: Int[np.ndarray, " cases"],
    voxel_volume_ml: Float[np.ndarray, " cases"],
    lesions: LesionCounts | None = None,
    surfaces: dict[str, Float[np.ndarray, " cases"]] | None = None,
) -> CaseMetrics:
    """Compute the metrics of every case from its counts.

    Args:
        n_voxels: Voxels that count.
        n_foreground: Voxels of the reference.
        n_predicted: Voxels of the mask.
        n_true_positive: Voxels of both.
        voxel_volume_ml: Volume of a voxel.
        lesions: Counts of lesions; None where they were not counted.
        surfaces: `hd95_mm`, `assd_mm` and `nsd`; None where they were not measured.
    """
    missed = n_foreground - n_true_positive
    n_background = n_voxels - n_foreground
    n_either = n_foreground + n_predicted - n_true_positive
    unknown = np.full(n_voxels.shape, np.nan)
    own = dict.fromkeys((*LESIONS, *SURFACES), unknown)
    own |= _of_lesions(lesions) if lesions else {}
    return CaseMetrics(
        fnr=_ratio(missed, n_foreground, 0.0),
        fpr=_ratio(n_predicted - n_true_positive, n_background, np.nan),
        pc=_ratio(n_predicted, n_voxels, np.nan),
        dice=_ratio(2 * n_true_positive, n_foreground + n_predicted, 1.0),
        volume_ml=n_predicted * voxel_volume_ml,
        precision=_ratio(n_true_positive, n_predicted, np.nan),
        iou=_ratio(n_true_positive, n_either, 1.0),
        relative_volume_error=_ratio(
            np.abs(n_predicted - n_foreground), n_foreground, np.nan
        ),
        **own | (surfaces or {}),
    )


def _of_lesions(lesions: LesionCounts) -> dict[str, Float[np.ndarray, " cases"]]:
    n_lesions, n_hit, n_components, n_false = lesions
    wrong = n_false + n_lesions - n_hit
    return {
        "lesion_detection": _ratio(n_hit, n_lesions, np.nan),
        "lesion_precision": _ratio(n_components - n_false, n_components, np.nan),
        "lesion_f1": _ratio(2 * n_hit, 2 * n_hit + wrong, np.nan),
        "n_false_lesions": n_false.astype(float),
    }


def worst_metrics(
    metrics: CaseMetrics, worst_fn: Callable[[np.ndarray], np.ndarray]
) -> CaseMetrics:
    """Metrics of each case against the reference it does worst on.

    Args:
        metrics: One row a reference.
        worst_fn: Gives each row the largest value of its case.
    """
    each = metrics._asdict()
    return metrics._replace(
        **{name: worst_fn(each[name]) for name in _MORE_IS_WORSE},
        **{name: -worst_fn(-each[name]) for name in _LESS_IS_WORSE},
    )


def _ratio(part: np.ndarray, whole: np.ndarray, when_zero: float) -> np.ndarray:
    out = np.full(part.shape, when_zero)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
