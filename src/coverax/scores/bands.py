"""The band family: bins by the distance of a voxel to the surface of its reference.

Most voxels are easy because they lie far from any border; what a reader of a map asks is
how far its confidences can be trusted near one. The distance is that of voxel centres,
in mm, positive inside, and exact; a reference without a surface (empty, or full) has no
bands.
"""

from typing import Any

import numpy as np

from coverax import host
from coverax.scores.batch import Scored, View
from coverax.table.columns import band_prefix, n_bands
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """Nothing of the one program: distances to references are computed on the host."""
    del definition
    return {}


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    if not definition.band_edges_mm:
        return {}
    rows = [_view_columns(view, definition) for view in scored.views]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _view_columns(view: View, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    band = _bands(view, definition.band_edges_mm)
    counted = band >= 0 if view.valid is None else (band >= 0) & view.valid
    out = {}
    for k in range(n_bands(definition)):
        statistics = host.bin_statistics(
            view.probs[None],
            view.labels[None],
            definition.n_bins,
            valid=(counted & (band == k))[None],
        )
        named = statistics._asdict().items()
        out |= {band_prefix(k) + name: values[0] for name, values in named}
    return out


def _bands(view: View, edges_mm: tuple[float, ...]) -> np.ndarray:
    """Band of each voxel, `(edge_(k-1), edge_k]`; -1 without a surface.

    Raises:
        ValueError: The view has no grid.
    """
    if view.grid is None:
        raise ValueError("distance bands need the spacing of the voxels in mm")
    shape = view.grid.shape[::-1]
    spacing = view.grid.spacing_mm[::-1]
    mask = view.labels.reshape(1, *shape)
    distance = host.signed_distance(mask, spacing).reshape(-1)
    band = np.searchsorted(np.array(edges_mm, np.float32), distance, side="left")
    return np.where(np.isfinite(distance), band, -1)
