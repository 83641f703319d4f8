"""Lesions of a reference, and the cut at which a mask loses each of them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.choices import Neighbours
from coverax.engine.bins import check_shapes
from coverax.host.components import bounding_box, check_masks, components


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
    box = bounding_box(mask)
    inside = mask[box]
    labels = components(inside, neighbours)
    if valid is not None:
        inside = inside & valid[box]
    peaks = np.full(int(labels.max()) + 1, -1, probs.dtype)
    np.maximum.at(peaks, labels[inside], probs[box][inside])
    return np.sort(peaks[1:][peaks[1:] >= 0]) + probs.dtype.type(0)  # -0.0 counts as 0


class ComponentCounts(NamedTuple):
    """Connected components of a mask, and those that touch no voxel of the reference."""

    n: int
    n_false: int


@takes_numpy
def count_components(
    mask: Bool[np.ndarray, "*spatial"],
    labels: Bool[np.ndarray, "*spatial"],
    neighbours: Neighbours,
    *,
    valid: Bool[np.ndarray, "*spatial"] | None = None,
) -> ComponentCounts:
    """Count the components of a mask, and the false ones among them.

    Args:
        mask: The mask.
        labels: The reference.
        neighbours: As for `lesion_peaks`.
        valid: Voxels that count; the others belong to neither.

    Raises:
        ValueError: The shapes differ, or have not 2 or 3 axes.
    """
    check_masks(mask, labels, valid)
    inside = mask if valid is None else mask & valid
    if not inside.any():
        return ComponentCounts(0, 0)
    box = bounding_box(inside)
    found = components(inside[box], neighbours)
    n = int(found.max())
    touched = np.unique(found[labels[box] & inside[box]])
    return ComponentCounts(n, n - touched.size)
