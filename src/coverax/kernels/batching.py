"""Bucket shapes: volumes of many sizes become a few compiled programs.

A volume is flattened and padded at the tail to the next bucket. Buckets have four steps
an octave, so that padding costs at most a quarter and a cohort meets a handful.
"""

from typing import NamedTuple

import numpy as np

SMALLEST_BUCKET = 1 << 12
BATCH_VOXELS = 1 << 23  # voxels of one device batch: 32 MB of float32
LARGEST_BATCH = 32


class Batch(NamedTuple):
    """Flat cases padded to one bucket; empty slots and tails are not valid."""

    probs: np.ndarray
    labels: np.ndarray
    valid: np.ndarray


def bucket_size(n_voxels: int) -> int:
    """Smallest bucket that holds `n_voxels`."""
    if n_voxels <= SMALLEST_BUCKET:
        return SMALLEST_BUCKET
    step = 1 << max(0, (n_voxels - 1).bit_length() - 3)
    return -(-n_voxels // step) * step


def batch_size(bucket: int) -> int:
    """How many cases of a bucket make one batch; depends on the bucket alone."""
    return int(np.clip(BATCH_VOXELS // bucket, 1, LARGEST_BATCH))


def empty_batch(bucket: int) -> Batch:
    """A batch of a bucket's shape in which nothing is valid."""
    shape = (batch_size(bucket), bucket)
    return Batch(
        np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
    )


def fill_slot(
    batch: Batch,
    slot: int,
    probs: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray | None,
) -> None:
    """Copy one flat case into a slot of a batch."""
    n = probs.size
    batch.probs[slot, :n] = probs
    batch.labels[slot, :n] = labels
    batch.labels[slot, n:] = False
    batch.valid[slot, :n] = True if valid is None else valid
    batch.valid[slot, n:] = False


def clear_slots(batch: Batch, start: int) -> None:
    """Empty the slots from `start` on."""
    batch.labels[start:] = False
    batch.valid[start:] = False
