"""Score maps of a batch: every transform of its maps, computed once each.

A transform sees the map and its grid alone, never the reference and never the voxels
that a reference declares void: the prediction of a new case has neither. Padding of a
bucket is left out of every neighbourhood.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from coverax import host
from coverax.scores.batch import ViewBatch
from coverax.scores.engine import Engine
from coverax.scores.transforms import Transform


class Volumes(NamedTuple):
    """A batch with its axes, slowest first as they are stored.

    Attributes:
        probs: `[batch, *spatial]`.
        spacing_mm: `[batch, axes]`.
        inside: Voxels of the grid of each case; None without padding.
    """

    probs: np.ndarray
    spacing_mm: np.ndarray
    inside: np.ndarray | None


def score_maps(
    engine: Engine, batch: ViewBatch, transforms: Iterable[Transform]
) -> dict[tuple[str, str], np.ndarray]:
    """The score map of each transform, by side and map spec, `[batch, voxels]`.

    `logit` is monotone and acts on scores and thresholds: its map is the identity's.

    Raises:
        ValueError: A transform needs a grid and a view has none.
    """
    volumes: Volumes | None = None
    shared: dict[str, np.ndarray] = {}
    out: dict[tuple[str, str], np.ndarray] = {}
    for transform in transforms:
        key = (transform.side, transform.map_spec)
        if not transform.kind.spatial:
            out[key] = batch.probs
            continue
        volumes = volumes or _volumes(batch)
        if transform.map_spec not in shared:
            computed = _COMPUTE[transform.name](engine, volumes, transform)
            shared[transform.map_spec] = np.asarray(computed, np.float32)
        values = shared[transform.map_spec]
        if "cut" in transform.kind.keys:
            values = _without_a_border(values, volumes, transform)
        out[key] = values.reshape(batch.probs.shape)
    return out


def _volumes(batch: ViewBatch) -> Volumes:
    grids = [view.grid for view in batch.views]
    if any(grid is None for grid in grids):
        raise ValueError("a spatial transform needs the spacing of the voxels in mm")
    shapes = [grid.shape[::-1] for grid in grids if grid]
    spacing = np.ones((len(batch.probs), len(shapes[0])), np.float32)
    spacing[: len(grids)] = [grid.spacing_mm[::-1] for grid in grids if grid]
    axes = batch.axes or shapes[0]
    inside = None
    if batch.axes:
        inside = np.zeros((len(batch.probs), *axes), bool)
        for slot, shape in enumerate(shapes):
            inside[(slot, *map(slice, shape))] = True
    return Volumes(batch.probs.reshape(-1, *axes), spacing, inside)


def _without_a_border(values, volumes: Volumes, transform: Transform) -> np.ndarray:
    """An empty or full predicted mask says nothing: no inner set, everything outer."""
    mask = _predicted(volumes, transform)
    n_predicted = mask.sum(axis=_axes(mask))
    n_inside = mask[0].size
    if volumes.inside is not None:
        n_inside = volumes.inside.sum(axis=_axes(mask))
    silent = (n_predicted == 0) | (n_predicted == n_inside)
    if not silent.any():
        return values
    nothing = np.float32(-np.inf if transform.side == "inner" else np.inf)
    return np.where(silent.reshape(-1, *[1] * (values.ndim - 1)), nothing, values)


def _predicted(volumes: Volumes, transform: Transform) -> np.ndarray:
    mask = volumes.probs >= np.float32(transform.cut)
    return mask if volumes.inside is None else mask & volumes.inside


def _axes(array) -> tuple[int, ...]:
    return tuple(range(1, array.ndim))


def _smooth(engine: Engine, volumes: Volumes, transform: Transform):
    probs, spacing, inside = volumes
    return engine.ops.smooth(probs, transform.fwhm_mm, spacing, valid=inside)


def _max_smooth(engine: Engine, volumes: Volumes, transform: Transform):
    return np.maximum(volumes.probs, _smooth(engine, volumes, transform))


def _distance(engine: Engine, volumes: Volumes, transform: Transform):
    mask = _predicted(volumes, transform)
    return engine.ops.signed_distance(mask, volumes.spacing_mm, valid=volumes.inside)


def _surface(engine: Engine, volumes: Volumes, transform: Transform):
    probs, spacing, inside = volumes
    return engine.ops.surface_distance(probs, transform.cut, spacing, valid=inside)


def _relative_distance(engine: Engine, volumes: Volumes, transform: Transform):
    mask = _predicted(volumes, transform)
    volume = mask.sum(axis=_axes(mask)) * np.prod(volumes.spacing_mm, axis=1)
    size = np.maximum(volume, 1e-30) ** (1 / (mask.ndim - 1))
    distance = np.asarray(_distance(engine, volumes, transform))
    return distance / size.astype(np.float32).reshape(-1, *[1] * (mask.ndim - 1))


def _boxes(_engine: Engine, volumes: Volumes, transform: Transform):
    # Components are found on the host under either engine.
    return host.box_distance(_predicted(volumes, transform), volumes.spacing_mm)


_COMPUTE: dict[str, Callable[[Engine, Volumes, Transform], np.ndarray]] = {
    "smooth": _smooth,
    "max_smooth": _max_smooth,
    "distance": _distance,
    "surface": _surface,
    "relative_distance": _relative_distance,
    "boxes": _boxes,
}
