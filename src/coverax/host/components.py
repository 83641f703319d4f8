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
