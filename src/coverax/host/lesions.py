"""Lesions of a reference, and the cut at which a mask loses each of them."""

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.choices import Neighbours
from coverax.engine.bins import check_shapes
from coverax.host.components import components


@takes_numpy
def lesion_peaks(
    probs: Float[np.ndarray, "*spatial"],
    mask: Bool[np.ndarray, "*spatial"],
    neighbours: Neighbours,
    *,
    valid: Bool[np.ndarray, "*spatial"] | None = None,
) -> Float[np.ndarray, " lesions"]:
    """Largest probability in each connected component of a reference, ascending.

    A mask `{probs >= cut}` touches a lesion iff its peak is at least the cut, so the
    peak is the lesion's critical probability: exact, an element of the map.

    Args:
        probs: The map.
        mask: The reference.
        neighbours: Voxels that belong together share at least a face, an edge or a
            corner (6, 18 or 26 neighbours; 4, 8 or 8 in 2-D).
        valid: Voxels that count. Lesions are those of the whole reference; one without
            a voxel that counts is left out.

    Raises:
        ValueError: The shapes differ, or have not 2 or 3 axes.
    """
    if probs.ndim not in (2, 3):
        raise ValueError(f"probs has shape {probs.shape}: lesions need 2 or 3 axes")
    check_shapes(probs, mask, valid, what="mask")
    if not mask.any():
        return np.zeros(0, probs.dtype)
    box = _bounding_box(mask)
    inside = mask[box]
    labels = components(inside, neighbours)
    if valid is not None:
        inside = inside & valid[box]
    peaks = np.full(int(labels.max()) + 1, -1, probs.dtype)
    np.maximum.at(peaks, labels[inside], probs[box][inside])
    return np.sort(peaks[1:][peaks[1:] >= 0]) + probs.dtype.type(0)  # -0.0 counts as 0


def _bounding_box(mask: Bool[np.ndarray, "*spatial"]) -> tuple[slice, ...]:
    """Slices around all foreground: components are searched in there alone."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)
