"""Thresholds to masks."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.calibrate import Calibration, Threshold
from coverax.checks import as_map, check_probabilities
from coverax.engine.bins import MARGIN
from coverax.scores import View, mass_cut


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


def cut_of(
    threshold: Threshold, probs: Float[np.ndarray, " voxels"], *, is_below: bool = False
) -> float:
    """The cut of one map: everything at `-inf`, nothing at `inf`.

    Args:
        threshold: One cut for all maps, or the share of its mass that each is cut at.
        probs: All voxels of the map.
        is_below: Of the case whose tie with the threshold is broken against it.
    """
    value = threshold.below if is_below else threshold.value
    return mass_cut(probs, value) if threshold.score == "mass" else 0.0 - value


def volume_ml(n_voxels: int, view: View) -> float | None:
    """Volume of voxels of a view, None where the size of a voxel is not known."""
    voxel_ml = view.grid.voxel_volume_ml if view.grid else math.nan
    return None if math.isnan(voxel_ml) else n_voxels * voxel_ml


def lesion_mask(calibration: Calibration, view: View) -> RegionMasks:
    """The mask of a threshold on the map itself, or on the mass of its values."""
    threshold = calibration.threshold_of(view.region.name)
    cut = cut_of(threshold, view.probs)
    mask = at_or_above(view.probs, cut)
    n_predicted = int(np.count_nonzero(mask))
    by_mass = threshold.score == "mass"
    entry = {
        "tolerance": threshold.tolerance,
        **({"mass_threshold": _exact(threshold.value)} if by_mass else {}),
        "probability_threshold": _exact(cut),
        "status": threshold.status.name,
        "whole_volume": n_predicted == mask.size,
        "n_predicted": n_predicted,
        "volume_ml": volume_ml(n_predicted, view),
    }
    return RegionMasks({"": mask}, 1, entry)


def _exact(value: float) -> dict[str, Any]:
    return {"value": value if np.isfinite(value) else None, "hex": value.hex()}
