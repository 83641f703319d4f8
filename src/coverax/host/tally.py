"""One pass over voxels, in sorted blocks: exact counts at cuts, counts and sums of bins.

A sorted block answers everything at once: how many voxels lie below a cut or in a bin is
the place of a border among them, and a sum over a bin is a sum of neighbours. NumPy sorts
a block that stays in the cache at two nanoseconds a voxel, and threads do so side by side,
while counts by keys hold the interpreter. Everything is a whole number: what two sets of
voxels have adds up, and what one of them has is the difference, to the bit.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.checks import takes_numpy
from coverax.engine.bins import MARGIN, SMALLEST, bin_edges, low_scale
from coverax.host.parts import Parts

LEAST, MOST = np.float32(-MARGIN), np.float32(1 + MARGIN)
BLOCK = 1 << 16  # voxels that stay in the cache, with what is computed of them
# A float32 of at least 2**-12 is a whole number of 2**-35, and a block of them sums
# exactly in float64. No bin ends below 2**-12.
_COARSE, _FINEST = 35, 60
_CROWD = np.float32(2.0**-12)


class Tally(NamedTuple):
    """Whole numbers about some voxels of one case.

    Attributes:
        above: Voxels at or above each cut `k / n_cuts`.
        count: Voxels of each bin.
        sum_p: Sum of the probabilities of each bin in `2**-60`, Python integers.
        n_zero: Voxels whose probability is 0 (below 2**-126).
        n_refused: Voxels left out because they are NaN or no probability.
    """

    above: Int[np.ndarray, " cuts"]
    count: Int[np.ndarray, " bins"]
    sum_p: np.ndarray
    n_zero: int
    n_refused: int

    def without(self, part: "Tally") -> "Tally":
        """What is left when some of the voxels are taken away."""
        return Tally(
            self.above - part.above,
            self.count - part.count,
            self.sum_p - part.sum_p,
            self.n_zero - part.n_zero,
            self.n_refused - part.n_refused,
        )


@takes_numpy
def bin_index(
    probs: Float[np.ndarray, "*shape"], n_bins: int
) -> Int[np.ndarray, "*shape"]:
    """Twin of `coverax.kernels.bin_index`: the same bins, as `intp`."""
    edges = bin_edges(n_bins)
    values = np.clip(probs, 0, 1)
    k = (values * low_scale(n_bins)).astype(np.intp)
    k += values > edges[1:].take(k, mode="clip")
    return k


def tally_outcomes(parts: Parts, n_bins: int, n_cuts: int) -> tuple[Tally, Tally]:
    """Tallies of all voxels, and of the foreground among them."""
    whole, few = (tally(v, n_bins, n_cuts) for v in (parts.values, parts.few))
    return whole, few if parts.few_is else whole.without(few)


def tally(values: Float[np.ndarray, " voxels"], n_bins: int, n_cuts: int) -> Tally:
    """Tally voxels; no bins or no cuts for 0."""
    borders, cuts = _borders(n_bins, n_cuts)
    total, below = np.zeros(len(borders), np.int64), np.zeros(n_cuts, np.int64)
    high, low, finest = np.zeros(n_bins, np.int64), np.zeros(n_bins, np.int64), 0
    for block in sorted_blocks(values):
        places = block.searchsorted(borders)
        total += places
        if n_cuts:
            below += block.searchsorted(cuts)
        if n_bins:
            first, zero, normal, crowd, *_, last = places.tolist()
            finest += _finest_sum(block[first:zero], block[normal:crowd])
            # The first bin goes on behind its crowd.
            starts, ends = np.maximum(places[3:-1], crowd), places[4:]
            sums = sums_of_runs(block[:last], starts, ends)
            units = (sums * 2.0**_COARSE).astype(np.int64)
            high += units >> 32
            low += units & 2**32 - 1
    sum_p = ((high.astype(object) << 32) + low) << (_FINEST - _COARSE)
    sum_p[:1] += finest
    first, zero, normal, _, *ends = total.tolist()
    return Tally(
        above=ends[-1] - below,
        count=np.diff([first, *ends])[:n_bins],
        sum_p=sum_p,
        n_zero=normal - zero,
        n_refused=values.size - (ends[-1] - first),
    )


def sorted_blocks(
    values: Float[np.ndarray, " voxels"],
) -> Iterator[Float[np.ndarray, " block"]]:
    """Float32 values in sorted pieces; the next one takes the memory of the one before.

    A piece may hold what is no probability, below `LEAST`, beyond `MOST`, or NaN at last.
    """
    room = np.empty(min(values.size, BLOCK), np.float32)
    for start in range(0, values.size, BLOCK):
        piece = values[start : start + BLOCK]
        block = room[: piece.size]
        np.copyto(block, piece, casting="same_kind")
        block.sort()
        yield block


def sums_of_runs(
    values: Float[np.ndarray, " voxels"],
    starts: Int[np.ndarray, " runs"],
    ends: Int[np.ndarray, " runs"],
) -> Float[np.ndarray, " runs"]:
    """Sums in float64 of runs, some empty, one after the other up to the last value."""
    sums, taken = np.zeros(len(ends)), ends > starts
    if taken.any():
        sums[taken] = np.add.reduceat(values, starts[taken], dtype=np.float64)
    return sums


def _finest_sum(negative: np.ndarray, crowd: np.ndarray) -> int:
    """Sum of values below 0 and of some in [0, 2**-12), each rounded to 2**-60 towards 0."""
    units = (crowd * np.float32(2.0**_FINEST)).astype(np.int64)
    total = int(units.sum()) % 2**64  # less than 2**(48 + 16); int64 wraps at that
    if negative.size:
        units = (negative * np.float32(2.0**_FINEST)).astype(np.int64)
        total += (int((units >> 26).sum()) << 26) + int((units & 2**26 - 1).sum())
    return total


@lru_cache(maxsize=8)
def _borders(n_bins: int, n_cuts: int) -> tuple[np.ndarray, np.ndarray]:
    """Where a sorted block is divided, and the cuts of the grid.

    A value belongs to what lies above the border that it equals; the next float32 ends
    what holds its border: bins, the zeros, the probabilities.
    """
    edges = bin_edges(n_bins)[1:-1] if n_bins else np.zeros(0, np.float32)
    inside = np.nextafter(
        np.array([-SMALLEST, *edges, MOST], np.float32), np.float32(2)
    )
    borders = np.concatenate(([LEAST, inside[0], SMALLEST, _CROWD], inside[1:]))
    cuts = np.arange(n_cuts, dtype=np.float32) / np.float32(max(n_cuts, 1))
    cuts[:1] = inside[0]  # the cut 0 takes every zero
    return borders.astype(np.float32), cuts
