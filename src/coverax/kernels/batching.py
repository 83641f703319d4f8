"""Bucket shapes: volumes of many sizes become a few compiled programs.

A volume is flattened and padded at the tail to the next bucket. Buckets have four steps
an octave, so that padding costs at most a quarter and a cohort meets a handful. Where
neighbours matter (distances, smoothing) the volume keeps its axes and each is padded;
the batch stays flat for everything else.
"""

import math
from typing import NamedTuple

import numpy as np

from coverax.checks import takes_numpy

SMALLEST_BUCKET = 1 << 12
BATCH_VOXELS = 1 << 23  # voxels of one device batch: 32 MB of float32
LARGEST_BATCH = 32
SMALLEST_AXIS = 16


class Batch(NamedTuple):
    """Flat cases padded to one bucket; empty slots and tails are not valid."""

    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def bucket_size(n_voxels: int) -> int:
    """Smallest bucket that holds `n_voxels`."""
    return _next_step(n_voxels, SMALLEST_BUCKET, steps=4)


def bucket_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Smallest bucket that holds a volume with its axes kept: 16, 24, 32, 48, 64, ...

    Two steps an octave: with three axes, four would make a cohort meet a hundred.
    """
    return tuple(_next_step(n, SMALLEST_AXIS, steps=2) for n in shape)


def _next_step(n: int, smallest: int, *, steps: int) -> int:
    """Smallest of the sizes with so many steps an octave that is at least n."""
    if n <= smallest:
        return smallest
    step = max(1, (1 << (n - 1).bit_length()) // (2 * steps))
    return -(-n // step) * step


def batch_size(bucket: int) -> int:
    """How many cases of a bucket make one batch; depends on the bucket alone."""
    return int(np.clip(BATCH_VOXELS // bucket, 1, LARGEST_BATCH))


def empty_batch(bucket: int | tuple[int, ...], devices: int = 1) -> Batch:
    """Batches of a bucket's shape, one a device, in which nothing is valid; flat."""
    n_voxels = bucket if isinstance(bucket, int) else math.prod(bucket)
    shape = (devices * batch_size(n_voxels), n_voxels)
    return Batch(
        np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    )


@takes_numpy
def fill_slot(
    batch: Batch,
    slot: int,
    probs: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray | None,
    *,
    shape: tuple[int, ...] | None = None,
    axes: tuple[int, ...] | None = None,
) -> None:
    """Copy one flat case into a slot of a batch.

    Args:
        batch: Where to.
        slot: Which of its cases.
        probs: Flat map.
        labels: Flat reference.
        valid: Flat mask of voxels that count; None means all.
        shape: Axes of the case, slowest first; one axis by default.
        axes: The bucket's axes, slowest first; one axis by default.
    """
    corner = tuple(slice(n) for n in shape or (probs.size,))

    def put(target: np.ndarray, values: np.ndarray | bool) -> None:
        room = target[slot].reshape(axes or -1)[corner]
        room[...] = np.reshape(values, room.shape) if np.ndim(values) else values

    batch.labels[slot] = batch.valid[slot] = False
    put(batch.probs, probs)
    put(batch.labels, labels)
    put(batch.valid, True if valid is None else valid)


def clear_slots(batch: Batch, start: int) -> None:
    """Empty the slots from `start` on."""
    batch.labels[start:] = False
    batch.valid[start:] = False
