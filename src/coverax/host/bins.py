"""Bin statistics on the host: blocks that stay in cache, `np.bincount` in float64."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.binning import (
    MARGIN,
    SMALLEST,
    bin_edges,
    check_shapes,
    low_scale,
    share_intervals,
)

_BLOCK = 1 << 15
# Most voxels fall into one bin; four counters each keep additions from waiting for the
# one before.
_LANES = 4
_LANE_OF_VOXEL = np.arange(_BLOCK) % _LANES


class BinStatistics(NamedTuple):
    """Sums over the voxels of each bin; fields as in `coverax.kernels.BinStatistics`."""

    count: Int[np.ndarray, "batch bins"]
    sum_p: Float[np.ndarray, "batch bins"]
    sum_y: Int[np.ndarray, "batch bins"]
    sum_py: Float[np.ndarray, "batch bins"]
    zero_count: Int[np.ndarray, " batch"]
    zero_sum_y: Int[np.ndarray, " batch"]
    n_refused: Int[np.ndarray, " batch"]


class SoftBinStatistics(NamedTuple):
    """Weighted sums of soft bins; as in `coverax.kernels.SoftBinStatistics`."""

    weight: Float[np.ndarray, "batch bins"]
    sum_p: Float[np.ndarray, "batch bins"]
    sum_y: Float[np.ndarray, "batch bins"]
    n_refused: Int[np.ndarray, " batch"]


def bin_index(
    probs: Float[np.ndarray, "*shape"], n_bins: int
) -> Int[np.ndarray, "*shape"]:
    """Twin of `coverax.kernels.bin_index`: the same bins, as `intp`."""
    edges = bin_edges(n_bins)
    values = np.clip(np.asarray(probs, np.float32), 0, 1)
    k = (values * low_scale(n_bins)).astype(np.intp)
    k += values > edges[1:].take(k, mode="clip")
    return k


def bin_statistics(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    n_bins: int,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> BinStatistics:
    """Twin of `coverax.kernels.bin_statistics`: the same counts, sums in float64."""
    n_keys = 2 * n_bins
    counts = np.zeros((len(probs), _LANES, n_keys), np.int64)
    sums = np.zeros((len(probs), _LANES, n_keys))
    zeros = np.zeros((len(probs), 2), np.int64)
    refused = np.zeros(len(probs), np.int64)
    for i, values, mask, n_bad in _blocks(probs, labels, valid):
        refused[i] += n_bad
        keys = bin_index(values, n_bins) + mask * np.intp(n_bins)
        _tally(keys, n_keys, counts[i], [(values, sums[i])])
        zero = values < SMALLEST
        if zero.any():
            zeros[i] += np.count_nonzero(zero), np.count_nonzero(zero & mask)
    count, sum_p = counts.sum(1), sums.sum(1)
    return BinStatistics(
        count=count[:, :n_bins] + count[:, n_bins:],
        sum_p=sum_p[:, :n_bins] + sum_p[:, n_bins:],
        sum_y=count[:, n_bins:],
        sum_py=sum_p[:, n_bins:],
        zero_count=zeros[:, 0],
        zero_sum_y=zeros[:, 1],
        n_refused=refused,
    )


def soft_bin_statistics(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    n_bins: int,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> SoftBinStatistics:
    """Twin of `coverax.kernels.soft_bin_statistics`, in float64."""
    bin_edges(n_bins)
    n_keys = 2 * (n_bins + 1)
    sums = np.zeros((3, len(probs), _LANES, n_keys))
    refused = np.zeros(len(probs), np.int64)
    for i, values, mask, n_bad in _blocks(probs, labels, valid):
        refused[i] += n_bad
        position = np.clip(values, 0, 1).astype(np.float64) * n_bins + 0.5
        interval = position.astype(np.intp)
        t = position - interval
        keys = interval + mask * np.intp(n_bins + 1)
        _tally(keys, n_keys, sums[0, i], [(t, sums[1, i]), (t * t, sums[2, i])])
    by_outcome = sums.sum(2).reshape(3, len(probs), 2, n_bins + 1)
    weight, sum_p = share_intervals(*by_outcome.sum(2), n_bins=n_bins)
    sum_y, _ = share_intervals(*by_outcome[:, :, 1], n_bins=n_bins)
    return SoftBinStatistics(weight, sum_p, sum_y, refused)


def _tally(keys, n_keys, counts, weighted) -> None:
    """Add a block's counts and weighted sums, by key, to `[lanes, n_keys]` arrays."""
    n_slots = _LANES * n_keys
    keys += _LANE_OF_VOXEL[: keys.size] * n_keys
    counts += np.bincount(keys, minlength=n_slots).reshape(counts.shape)
    for weights, sums in weighted:
        sums += np.bincount(keys, weights, minlength=n_slots).reshape(sums.shape)


def _blocks(probs, labels, valid) -> Iterator[tuple[int, np.ndarray, np.ndarray, int]]:
    """Case number, proper float32 values, reference, and how many were refused."""
    check_shapes(probs, labels, valid)
    shape = (len(probs), -1)
    probs, labels = probs.reshape(shape), labels.reshape(shape)
    valid = None if valid is None else valid.reshape(shape)
    for i in range(len(probs)):
        for start in range(0, probs.shape[1], _BLOCK):
            part = slice(start, start + _BLOCK)
            values = probs[i, part].astype(np.float32, copy=False)
            mask = labels[i, part]
            mask = mask if mask.dtype == bool else mask != 0
            if valid is not None:
                values, mask = values[valid[i, part]], mask[valid[i, part]]
            n_bad = 0
            # NaN fails both comparisons.
            if values.size and not (
                values.min() >= -MARGIN and values.max() <= 1 + MARGIN
            ):
                proper = (values >= -MARGIN) & (values <= 1 + MARGIN)
                n_bad = int(values.size - np.count_nonzero(proper))
                values, mask = values[proper], mask[proper]
            yield i, values, mask, n_bad
