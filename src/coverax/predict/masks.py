"""Thresholds to masks."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.calibrate import Calibration
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
    probs: Float[np.ndarray, "*spatial"], probability: float
) -> Bool[np.ndarray, "*spatial"]:
    """The mask `{probs >= probability}`; everything at `-inf`, nothing at `inf`.

    The comparison is in the type of the map; a calibrated threshold is an element of a
    float32 map, so nothing is rounded.
    """
    return probs >= probs.dtype.type(probability)


def volume_ml(n_voxels: int, view: View) -> float | None:
    """Volume of voxels of a view, None where the size of a voxel is not known."""
    voxel_ml = view.grid.voxel_volume_ml if view.grid else math.nan
    return None if math.isnan(voxel_ml) else n_voxels * voxel_ml


def lesion_mask(calibration: Calibration, view: View) -> RegionMasks:
    """The mask of a threshold on the map itself."""
    threshold = calibration.threshold_of(view.region.name)
    mask = threshold_mask(view.probs, threshold.probability)
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
