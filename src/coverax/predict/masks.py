"""Thresholds to masks."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.calibrate import Calibration
from coverax.checks import as_map, check_probabilities
from coverax.engine.bins import MARGIN
from coverax.scores import View


class RegionMasks(NamedTuple):
    """What a calibration says of one region of one case.

    Attributes:
        files: Masks or label maps by the suffix of their file, flat in storage order;
            the one without a suffix is always written.
        largest: Largest label of the one without a suffix.
        entry: What the sidecar says of it.
    """

    files: dict[str, np.ndarray]
    largest: int
    entry: dict[str, Any]


def threshold_mask(
    probs: Float[np.ndarray, "*spatial"] | Any, probability: float
) -> Bool[np.ndarray, "*spatial"]:
    """The mask `{probs >= probability}`; everything at `-inf`, nothing at `inf`.

    A calibrated threshold is an element of a float32 map, so the comparison is in
    float32: a map of another float type is rounded once, exactly as `score_arrays` rounds
    it. Compared in its own type, a voxel that sets the threshold could miss it.

    Args:
        probs: Probabilities of any shape, of NumPy, JAX, torch, or lists.
        probability: The threshold.

    Raises:
        TypeError: The map is not of a float type, or the threshold is no number.
        ValueError: Values are NaN, or further outside [0, 1] than a map may be
            (`allow_overshoot`), or the threshold is NaN.
    """
    values = as_map(probs)
    check_probabilities(values, overshoot=MARGIN)
    if np.isnan(probability):
        raise ValueError("the threshold is NaN")
    return at_or_above(values, probability)


def at_or_above(
    values: Float[np.ndarray, "*shape"], cut: float | np.floating
) -> Bool[np.ndarray, "*shape"]:
    """Voxels of a float32 score map that reach a cut, compared as float32."""
    return values >= np.float32(cut)


def volume_ml(n_voxels: int, view: View) -> float | None:
    """Volume of voxels of a view, None where the size of a voxel is not known."""
    voxel_ml = view.grid.voxel_volume_ml if view.grid else math.nan
    return None if math.isnan(voxel_ml) else n_voxels * voxel_ml


def lesion_mask(calibration: Calibration, view: View) -> RegionMasks:
    """The mask of a threshold on the map itself."""
    threshold = calibration.threshold_of(view.region.name)
    mask = at_or_above(view.probs, threshold.probability)
    n_predicted = int(np.count_nonzero(mask))
    finite = np.isfinite(threshold.probability)
    entry = {
        "tolerance": threshold.tolerance,
        "probability_threshold": {
            "value": threshold.probability if finite else None,
            "hex": threshold.probability.hex(),
        },
        "status": threshold.status.name,
        "whole_volume": n_predicted == mask.size,
        "n_predicted": n_predicted,
        "volume_ml": volume_ml(n_predicted, view),
    }
    return RegionMasks({"": mask}, 1, entry)
