"""The lesion family: the critical probability of every lesion of the reference.

A lesion is a connected component of the reference; how voxels connect is part of the
score definition. It is missed where the mask touches none of its voxels. The other way
round a component of a mask is false where it touches no reference; with `mask_lesions`
their number at every cut is kept, where it changes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from coverax import host
from coverax.choices import Neighbours
from coverax.engine.results import ComponentEvents
from coverax.scores.batch import Scored, View
from coverax.table.columns import COMPONENTS, GRID_CUTS, LESION_PEAKS
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """Nothing of the one program: components are found on the host."""
    del definition
    return {}


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The column of a batch."""
    return lesion_columns(scored.views, definition)


def lesion_columns(
    views: Sequence[View], definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """Lesions of the references of views, and components of their masks, as asked for."""
    if definition.lesions is None:
        return {}
    found = {LESION_PEAKS: [view_peaks(v, definition.lesions) for v in views]}
    if definition.mask_lesions:
        events = [view_events(view, definition.lesions) for view in views]
        found |= dict(
            zip(COMPONENTS, map(list, zip(*events, strict=True)), strict=True)
        )
    return {name: _rows(values) for name, values in found.items()}


def _rows(values: list[np.ndarray]) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def view_peaks(view: View, neighbours: Neighbours) -> np.ndarray:
    """Peaks of the lesions of one view, ascending.

    Raises:
        ValueError: The view has no grid, so that nobody knows which voxels touch.
    """
    probs, labels, valid = _volumes(view)
    return host.lesion_peaks(probs, labels, neighbours, valid=valid)


def view_events(view: View, neighbours: Neighbours) -> ComponentEvents:
    """Components of the masks of one view, at the cuts of the grid and all above them.

    Between cut 0, where all is mask, and the first cut above it nothing is looked at.

    Raises:
        ValueError: The view has no grid, so that nobody knows which voxels touch.
    """
    probs, labels, valid = _volumes(view)
    floor = float(GRID_CUTS[1])
    events = host.component_events(probs, labels, neighbours, floor=floor, valid=valid)
    all_of_it = np.ones(labels.shape, bool)
    whole = host.count_components(all_of_it, labels, neighbours, valid=valid)
    return ComponentEvents(
        *(
            np.append(own.dtype.type(first), own)
            for first, own in zip((0, *whole), events, strict=True)
        )
    )


def _volumes(view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    if view.grid is None:
        raise ValueError("lesions need the grid of the voxels: give spacing_mm")
    shape = view.grid.shape[::-1]
    valid = None if view.valid is None else view.valid.reshape(shape)
    return view.probs.reshape(shape), view.labels.reshape(shape), valid
