"""Counts of many cuts at once on the host; twins of `coverax.kernels.curves`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.host.overlap import Overlap

_BLOCK = 1 << 16  # voxels that stay in the cache


class _Case(NamedTuple):
    values: np.ndarray
    foreground: np.ndarray


def grid_counts(
    probs: Float[np.ndarray, "batch voxels"],
    labels: Bool[np.ndarray, "batch voxels"],
    n_cuts: int,
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= k / n_cuts}` and its foreground for k = 0..n_cuts - 1."""
    counts = [
        [_grid(values, n_cuts) for values in case]
        for case in _cases(probs, labels, valid)
    ]
    n_predicted, n_true_positive = np.swapaxes(np.array(counts), 0, 1)
    return Overlap(n_predicted, n_true_positive)


def cut_counts(
    probs: Float[np.ndarray, "batch voxels"],
    labels: Bool[np.ndarray, "batch voxels"],
    cuts: Float[np.ndarray, " cuts"],
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= cut}` and its foreground for any number of common cuts."""
    counts = [
        [values.size - np.searchsorted(np.sort(values), cuts) for values in case]
        for case in _cases(probs, labels, valid)
    ]
    n_predicted, n_true_positive = np.swapaxes(np.array(counts), 0, 1)
    return Overlap(n_predicted, n_true_positive)


def _cases(probs, labels, valid) -> list[_Case]:
    out = []
    for i, (values, mask) in enumerate(zip(probs, labels, strict=True)):
        if valid is not None:
            values, mask = values[valid[i]], mask[valid[i]]
        out.append(_Case(values, values[mask]))
    return out


def _grid(values: np.ndarray, n_cuts: int) -> np.ndarray:
    """Most voxels lie below the first cut: only the others are binned.

    A float times a power of two is exact, so the bin is the exact comparison. Block by
    block, so that no second map is held.
    """
    counts = np.zeros(n_cuts, np.int64)
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        some = block[block >= block.dtype.type(1 / n_cuts)]
        bins = np.minimum((some * some.dtype.type(n_cuts)).astype(np.intp), n_cuts - 1)
        counts += np.bincount(bins, minlength=n_cuts)
        counts[0] += np.count_nonzero(block >= 0) - some.size
    return np.cumsum(counts[::-1])[::-1]
