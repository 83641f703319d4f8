"""Calibration error over bins of equal mass: exact from values, approximate from a table.

A table keeps equal-width bins and, for loss curves, voxel counts at 1,024 cuts. Equal-mass
bins made of these cells are not those of the values, so what comes out has a name of its
own, `adaptive_ce_grid`.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.checks import takes_numpy
from coverax.engine.results import BinStatistics
from coverax.scores import Curves


@takes_numpy
def adaptive_calibration_error(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    n_bins: int,
) -> Float[np.ndarray, " batch"]:
    """Mean gap over bins of equal mass, from the values themselves: exact.

    Voxels of equal probability share their outcomes evenly, so that their order changes
    nothing. Bins are as even as the number of voxels allows.

    References:
        Nixon et al. (2019), Measuring Calibration in Deep Learning.
    """
    out = np.full(len(probs), np.nan)
    for i, (p, y) in enumerate(zip(probs, labels, strict=True)):
        p, y = np.ravel(p).astype(np.float64), np.ravel(y)
        if p.size:
            _, block, size = np.unique(p, return_inverse=True, return_counts=True)
            shared = (np.bincount(block, y) / size)[block]
            order = np.argsort(p, kind="stable")
            parts = np.array_split(order, min(n_bins, p.size))
            out[i] = np.mean([abs(p[k].mean() - shared[k].mean()) for k in parts])
    return out


def adaptive_ce_grid(curves: Curves, statistics: BinStatistics, n_bins: int) -> float:
    """Equal-mass error of all rows together from their counts at a grid of cuts.

    Approximate in two ways: the voxels of a cell between two cuts count as ties, and
    their mean probability as its middle, half a cell off at most; only that of the first
    cell, where most voxels lie, comes from the exact sum of the first bin. Masses and
    frequencies of whole cells are exact, and so is the pooling over cases.

    Args:
        curves: Counts at cuts `k / n_cuts`, as a score table keeps them.
        statistics: Hard bins of the same rows.
        n_bins: Bins of equal mass.

    Returns:
        NaN without a voxel.
    """
    count, hits = _cells(curves.n_predicted), _cells(curves.n_true_positive)
    if not count.sum():
        return float("nan")
    width = 1 / len(count)
    mean_p = (np.arange(len(count)) + 0.5) * width
    mean_p[0] = _first_mean(count, mean_p, statistics)
    mass, sum_p, sum_y = (
        np.concatenate([[0], np.cumsum(x)]) for x in (count, count * mean_p, hits)
    )
    ends = np.linspace(0, mass[-1], n_bins + 1)
    # A cell is shared evenly between the bins it spans: linear between its ends.
    there = np.flatnonzero(np.diff(mass, prepend=-1) > 0)
    p, y = (np.diff(np.interp(ends, mass[there], x[there])) for x in (sum_p, sum_y))
    return float(np.mean(np.abs(p - y)) * n_bins / mass[-1])


def _cells(above: Int[np.ndarray, "rows cuts"]) -> Float[np.ndarray, " cuts"]:
    """Voxels between each cut and the next, of all rows."""
    total = np.asarray(above, np.int64).sum(axis=0)
    return (total - np.append(total[1:], 0)).astype(np.float64)


def _first_mean(count, mean_p, statistics: BinStatistics) -> float:
    """Mean probability of the first cell, by what the rest of the first bin leaves."""
    if not count[0]:
        return float(mean_p[0])
    end = len(count) / np.shape(statistics.count)[1]  # of the first bin, in cells
    share = np.clip(end - np.arange(len(count)), 0, 1)
    others = (share * count * mean_p)[1:].sum()
    left = float(np.sum(np.asarray(statistics.sum_p, np.float64)[:, 0])) - others
    return float(np.clip(left / count[0], 0, 1 / len(count)))
