"""The lesion family: the critical probability of every lesion of the reference.

A lesion is a connected component of the reference; how voxels connect is part of the
score definition. It is missed where the mask touches none of its voxels.
"""

from typing import Any

import numpy as np

from coverax import host
from coverax.choices import Neighbours
from coverax.scores.batch import Scored, View
from coverax.table.columns import LESION_PEAKS
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """Nothing of the one program: components are found on the host."""
    del definition
    return {}


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The column of a batch."""
    if definition.lesions is None:
        return {}
    out = np.empty(len(scored.views), object)
    for slot, view in enumerate(scored.views):
        out[slot] = view_peaks(view, definition.lesions)
    return {LESION_PEAKS: out}


def view_peaks(view: View, neighbours: Neighbours) -> np.ndarray:
    """Peaks of the lesions of one view, ascending.

    Raises:
        ValueError: The view has no grid, so that nobody knows which voxels touch.
    """
    if view.grid is None:
        raise ValueError("lesions need the grid of the voxels: give spacing_mm")
    shape = view.grid.shape[::-1]
    valid = None if view.valid is None else view.valid.reshape(shape)
    return host.lesion_peaks(
        view.probs.reshape(shape), view.labels.reshape(shape), neighbours, valid=valid
    )
