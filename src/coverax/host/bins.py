"""Bin statistics on the host: exact tallies; soft bins by sorted blocks in float64."""

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.checks import takes_numpy
from coverax.engine.bins import bin_edges, join_digits, share_intervals
from coverax.engine.results import BinStatistics, SoftBinStatistics
from coverax.host.parts import case_parts
from coverax.host.sums import to_digits
from coverax.host.tally import (
    LEAST,
    MOST,
    Tally,
    sorted_blocks,
    sums_of_runs,
    tally_outcomes,
)


@takes_numpy
def bin_statistics(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    n_bins: int,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> BinStatistics:
    """Twin of `coverax.kernels.bin_statistics`: the same bits."""
    bin_edges(n_bins)
    return stack_bins(
        [tally_outcomes(p, n_bins, 0) for p in case_parts(probs, labels, valid)],
        n_bins,
    )


def stack_bins(tallies: list[tuple[Tally, Tally]], n_bins: int) -> BinStatistics:
    """Statistics of cases from their tallies, of all voxels and of the foreground."""

    def stacked(field: str, of: int, dtype: type = np.int64, width: int = n_bins):
        values = [getattr(pair[of], field) for pair in tallies]
        return np.array(values, dtype).reshape((len(tallies), width))

    # Each is rounded once: that of all voxels knows no reference.
    sum_p, sum_py = (
        join_digits(to_digits(stacked("sum_p", of, object), 4)) for of in (0, 1)
    )
    return BinStatistics(
        count=stacked("count", 0),
        sum_p=sum_p,
        sum_y=stacked("count", 1),
        sum_py=sum_py,
        zero_count=stacked("n_zero", 0, width=1)[:, 0],
        zero_sum_y=stacked("n_zero", 1, width=1)[:, 0],
        n_refused=stacked("n_refused", 0, width=1)[:, 0],
    )


@takes_numpy
def soft_bin_statistics(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    n_bins: int,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> SoftBinStatistics:
    """Twin of `coverax.kernels.soft_bin_statistics`, in float64."""
    bin_edges(n_bins)
    by_case, refused = [], []
    for parts in case_parts(probs, labels, valid):
        whole, n_bad = _interval_sums(parts.values, n_bins)
        few, _ = _interval_sums(parts.few, n_bins)
        by_case.append((whole, few if parts.few_is else whole - few))
        refused.append(n_bad)
    shape = (len(by_case), 2, 3, n_bins + 1)
    sums = np.array(by_case, np.float64).reshape(shape).transpose(1, 2, 0, 3)
    weight, sum_p = share_intervals(*sums[0], n_bins=n_bins)
    sum_y, _ = share_intervals(*sums[1], n_bins=n_bins)
    return SoftBinStatistics(weight, sum_p, sum_y, np.array(refused, np.int64))


def _interval_sums(values: np.ndarray, n_bins: int) -> tuple[np.ndarray, int]:
    """Sums of 1, t and t**2 between bin centres, and how many values were refused."""
    sums, n_bad = np.zeros((3, n_bins + 1)), 0
    inner = np.arange(1, n_bins + 1)
    for block in sorted_blocks(values):
        proper = block[(block >= LEAST) & (block <= MOST)]
        n_bad += block.size - proper.size
        position = np.clip(proper, 0, 1).astype(np.float64) * n_bins + 0.5
        ends = np.append(position.searchsorted(inner), proper.size)
        starts = np.concatenate(([0], ends[:-1]))
        t = position - np.floor(position)
        sums += ends - starts, *[sums_of_runs(x, starts, ends) for x in (t, t * t)]
    return sums, n_bad
