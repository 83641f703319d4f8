"""Thresholds to masks."""

import numpy as np
from jaxtyping import Bool, Float


def threshold_mask(
    probs: Float[np.ndarray, "*spatial"], probability: float
) -> Bool[np.ndarray, "*spatial"]:
    """The mask `{probs >= probability}`; everything at `-inf`, nothing at `inf`.

    The comparison is in the type of the map; a calibrated threshold is an element of a
    float32 map, so nothing is rounded.
    """
    return probs >= probs.dtype.type(probability)
