"""Score maps of a batch: every transform of its maps, computed once each.

A transform sees the map and its grid alone, never the reference and never the voxels
that a reference declares void: the prediction of a new case has neither. Padding of a
bucket is left out of every neighbourhood. The functions here are pure and written for
NumPy and JAX alike: on the device they are traced into the one program of a batch.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from coverax import host
from coverax.engine.switch import Engine
from coverax.scores.batch import ViewBatch
from coverax.table.transforms import Transform


class Volumes(NamedTuple):
    """A batch with its axes, slowest first as they are stored; NumPy or JAX arrays.

    Attributes:
        probs: `[batch, *spatial]`.
        spacing_mm: `[batch, axes]`.
        inside: Voxels of the grid of each case; None without padding.
        given: What was computed on the host, by map spec.
        ops: `coverax.host` or `coverax.kernels`.
        xp: `numpy` or `jax.numpy`.
    """

    probs: Any
    spacing_mm: Any
    inside: Any
    given: Mapping[str, Any]
    ops: ModuleType
    xp: ModuleType


@dataclass(frozen=True, slots=True)
class MapsOf:
    """The function that makes the score maps of some transforms; equal ones are one.

    Attributes:
        engine: Whose functions are called.
        transforms: The spatial ones among those asked for.
    """

    engine: Engine
    transforms: tuple[Transform, ...]

    @classmethod
    def spatial(
        cls, engine: Engine, transforms: Iterable[Transform]
    ) -> "MapsOf | None":
        """Of those transforms that look at neighbours; None where none does."""
        chosen = tuple(t for t in transforms if t.kind.spatial)
        return cls(engine, chosen) if chosen else None

    def __call__(self, probs, spacing_mm, inside, given) -> dict[str, Any]:
        """Score maps by name, `[batch, *spatial]` float32."""
        engine = self.engine
        volumes = Volumes(probs, spacing_mm, inside, given, engine.ops, engine.xp)
        shared: dict[str, Any] = {}
        out: dict[str, Any] = {}
        for transform in self.transforms:
            if transform.map_spec not in shared:
                computed = _COMPUTE[transform.name](volumes, transform)
                shared[transform.map_spec] = computed.astype(np.float32)
            values = shared[transform.map_spec]
            if "cut" in transform.kind.keys:
                values = _without_a_border(values, volumes, transform)
            out[transform.map_name or ""] = values
        return out


class Geometry(NamedTuple):
    """What spatial transforms need of a batch beside its map.

    Attributes:
        axes: Axes of the volumes, slowest first.
        spacing_mm: `[batch, axes]`.
        shapes: Own shape of each case, `[batch, axes]`; None without padding.
        given: What is computed on the host under either engine, by map spec.
    """

    axes: tuple[int, ...]
    spacing_mm: np.ndarray
    shapes: np.ndarray | None
    given: dict[str, np.ndarray]


def geometry(batch: ViewBatch, transforms: Iterable[Transform]) -> Geometry:
    """Spacings and shapes of a batch, and what is computed on the host if asked for.

    Raises:
        ValueError: A view has no grid.
    """
    grids = [view.grid for view in batch.views]
    if any(grid is None for grid in grids):
        raise ValueError("a spatial transform needs the spacing of the voxels in mm")
    own = [grid.shape[::-1] for grid in grids if grid]
    spacing = np.ones((len(batch.probs), len(own[0])), np.float32)
    spacing[: len(grids)] = [grid.spacing_mm[::-1] for grid in grids if grid]
    axes = batch.axes or own[0]
    shapes = None
    if batch.axes:
        shapes = np.zeros((len(batch.probs), len(axes)), np.int32)
        shapes[: len(own)] = own
    given = {}
    volumes = batch.probs.reshape(-1, *axes)
    for t in transforms:
        if t.name in _GIVEN and t.map_spec not in given:
            mask = volumes >= np.float32(t.cut)
            for slot, shape in enumerate(own if batch.axes else []):
                outside = np.ones(axes, bool)
                outside[tuple(map(slice, shape))] = False
                mask[slot] &= ~outside
            mask[len(own) :] = False
            given[t.map_spec] = _GIVEN[t.name](mask, spacing)
    return Geometry(axes, spacing, shapes, given)


def _without_a_border(values, volumes: Volumes, transform: Transform):
    """An empty or full predicted mask says nothing: no inner set, everything outer."""
    mask = _predicted(volumes, transform)
    n_predicted = mask.sum(axis=_axes(mask))
    n_inside = mask[0].size
    if volumes.inside is not None:
        n_inside = volumes.inside.sum(axis=_axes(mask))
    silent = (n_predicted == 0) | (n_predicted == n_inside)
    nothing = np.float32(-np.inf if transform.side == "inner" else np.inf)
    silent = silent.reshape(-1, *[1] * (values.ndim - 1))
    return volumes.xp.where(silent, nothing, values)


def _predicted(volumes: Volumes, transform: Transform):
    mask = volumes.probs >= np.float32(transform.cut)
    return mask if volumes.inside is None else mask & volumes.inside


def _axes(array) -> tuple[int, ...]:
    return tuple(range(1, array.ndim))


def _smooth(volumes: Volumes, transform: Transform):
    probs, spacing, inside = volumes[:3]
    return volumes.ops.smooth(probs, transform.fwhm_mm, spacing, valid=inside)


def _max_smooth(volumes: Volumes, transform: Transform):
    return volumes.xp.maximum(volumes.probs, _smooth(volumes, transform))


def _distance(volumes: Volumes, transform: Transform):
    mask = _predicted(volumes, transform)
    return volumes.ops.signed_distance(mask, volumes.spacing_mm, valid=volumes.inside)


def _surface(volumes: Volumes, transform: Transform):
    probs, spacing, inside = volumes[:3]
    return volumes.ops.surface_distance(probs, transform.cut, spacing, valid=inside)


def _relative_distance(volumes: Volumes, transform: Transform):
    xp, mask = volumes.xp, _predicted(volumes, transform)
    n_predicted = mask.sum(axis=_axes(mask)).astype(np.float32)
    volume = n_predicted * xp.prod(volumes.spacing_mm, axis=1)
    size = xp.maximum(volume, np.float32(1e-30)) ** np.float32(1 / (mask.ndim - 1))
    return _distance(volumes, transform) / size.reshape(-1, *[1] * (mask.ndim - 1))


def _given(volumes: Volumes, transform: Transform):
    return volumes.given[transform.map_spec]


_COMPUTE: dict[str, Callable[[Volumes, Transform], Any]] = {
    "smooth": _smooth,
    "max_smooth": _max_smooth,
    "distance": _distance,
    "surface": _surface,
    "relative_distance": _relative_distance,
    "boxes": _given,
}
# Of the predicted mask and the spacing, on the host under either engine: components.
_GIVEN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "boxes": host.box_distance,
}
