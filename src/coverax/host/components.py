"""Connected components of a mask."""

from typing import Literal

import cc3d
import numpy as np
from jaxtyping import Bool, Integer

from coverax.checks import takes_numpy
from coverax.choices import Neighbours

_CONNECTIVITY: dict[Neighbours, Literal[6, 18, 26]] = {
    "face": 6,
    "edge": 18,
    "corner": 26,
}


@takes_numpy
def components(
    mask: Bool[np.ndarray, "*spatial"], neighbours: Neighbours
) -> Integer[np.ndarray, "*spatial"]:
    """Label the connected components of a mask of two or three axes, from 1 on.

    cc3d 4.1.1 raises on thin volumes and splits components of 2-D masks; of three axes
    with a rim of background it is right (a test compares it with SciPy).

    Args:
        mask: The mask.
        neighbours: Voxels that belong together share at least a face, an edge or a
            corner (6, 18 or 26 neighbours; 4, 8 or 8 in 2-D).

    Raises:
        ValueError: The mask has not 2 or 3 axes.
    """
    if mask.ndim not in (2, 3):
        raise ValueError(f"components need 2 or 3 axes, got {mask.ndim}")
    volume = np.pad(mask.reshape((*mask.shape, 1)[:3]), 1)
    labels = cc3d.connected_components(volume, connectivity=_CONNECTIVITY[neighbours])
    return labels[1:-1, 1:-1, 1:-1].reshape(mask.shape)


def bounding_box(mask: Bool[np.ndarray, "*spatial"]) -> tuple[slice, ...]:
    """Slices around all of a mask; empty ones around an empty mask."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hit = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1) if hit.size else slice(0))
    return tuple(box)


def check_masks(mask: np.ndarray, labels: np.ndarray, valid: np.ndarray | None) -> None:
    """Refuse a reference or a valid mask of another shape than the mask."""
    for name, array in (("labels", labels), ("valid", valid)):
        if array is not None and array.shape != mask.shape:
            raise ValueError(f"{name} has shape {array.shape}, mask has {mask.shape}")
