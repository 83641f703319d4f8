"""Views of cases: what families and metrics compute on."""

from typing import Any, NamedTuple

import numpy as np

from coverax.engine.results import BatchScores
from coverax.engine.switch import Engine
from coverax.volumes import Grid, Region


class View(NamedTuple):
    """One region of one case, flat in storage order (the first axis runs fastest).

    Attributes:
        region: The structure.
        probs: float32 probabilities, `[voxels]`.
        labels: Reference mask, `[voxels]`.
        valid: Voxels that count; None means all.
        grid: Shape and spacing; None for arrays in memory without geometry.
    """

    region: Region
    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray | None
    grid: Grid | None


class ViewBatch(NamedTuple):
    """Views computed together: one on the host, a padded bucket on the device.

    Attributes:
        probs: `[batch, voxels]`.
        labels: `[batch, voxels]`.
        valid: `[batch, voxels]`, False in padding; None where every voxel counts.
        views: The views in the first slots; the slots behind them are padding.
        axes: Axes of a padded spatial bucket, slowest first; None where `voxels` is one
            axis (flat buckets) or the view's own grid (host).
    """

    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray | None
    views: list[View]
    axes: tuple[int, ...] | None = None

    def place(self, engine: Engine, array: Any) -> Any:
        """An array of the batch where the engine computes it.

        Where all devices have a batch of their own, each has its part. A batch of one
        device stays whole, so that a lone view is computed as one among many.
        """
        if array is None or not engine.is_device:
            return array
        from coverax.kernels import batch_size, spread

        is_whole = len(array) == batch_size(self.probs.shape[1])
        return array if is_whole else spread(array)


class Scored(NamedTuple):
    """What families make columns of: what the one program found, and the views."""

    results: BatchScores
    views: list[View]


class Loaded(NamedTuple):
    """A case in memory: facts that hold for all its views, and the views."""

    facts: dict[str, Any]
    views: list[View]


class CaseRows(NamedTuple):
    """Facts of a case, and one row of columns per view, with its region."""

    facts: dict[str, Any]
    rows: list[tuple[Region, dict[str, Any]]]


def lone_batch(engine: Engine, view: View, *, spatial: bool) -> ViewBatch:
    """A batch of one view, computed by the very program that scores many.

    On the device that is the bucket's own batch with one slot filled, so that a score
    map has the same bits in scoring and in prediction.
    """
    if not engine.is_device:
        valid = None if view.valid is None else view.valid[None]
        return ViewBatch(view.probs[None], view.labels[None], valid, [view], None)
    from coverax.kernels import empty_batch, fill_slot

    shape, axes, bucket = bucket_of(view, spatial=spatial)
    batch = empty_batch(bucket)
    fill_slot(batch, 0, view.probs, view.labels, view.valid, shape=shape, axes=axes)
    return ViewBatch(batch.probs, batch.labels, batch.valid, [view], axes)


def unpadded(batch: ViewBatch, values: np.ndarray, slot: int) -> np.ndarray:
    """The values of one view of a batch, flat in storage order."""
    view, row = batch.views[slot], values[slot]
    if batch.axes is None or view.grid is None:
        return row[: view.probs.size]
    corner = tuple(slice(n) for n in view.grid.shape[::-1])
    return row.reshape(batch.axes)[corner].reshape(-1)


class Bucket(NamedTuple):
    """Where a view goes: flat, or with its axes kept (slowest first)."""

    shape: tuple[int, ...] | None
    axes: tuple[int, ...] | None
    size: int | tuple[int, ...]


def bucket_of(view: View, *, spatial: bool) -> Bucket:
    """The bucket of a view; a spatial one where neighbours matter."""
    from coverax.kernels import bucket_axes, bucket_size

    if not spatial or view.grid is None:
        return Bucket(None, None, bucket_size(view.probs.size))
    shape = view.grid.shape[::-1]
    axes = bucket_axes(shape)
    return Bucket(shape, axes, axes)
