"""One pass over voxels, in sorted blocks: counts at cuts, sums of bins, proper scores.

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
from jaxtyping import Float, Int, Num

from coverax.checks import takes_numpy
from coverax.engine.bins import MARGIN, SMALLEST, bin_edges, low_scale
from coverax.host.losses import Room, block_losses
from coverax.host.parts import Parts
from coverax.host.sums import PIECE, whole_units

LEAST, MOST = np.float32(-MARGIN), np.float32(1 + MARGIN)
BLOCK = PIECE
# A float32 of at least 2**-12 is a whole number of 2**-35. No bin ends below 2**-12.
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
        losses: Sums of squares and log losses in `2**-LOSS_BITS`, Python integers, and
            clipped voxels, were all background (0) or all foreground (1); 0 for an
            outcome that was not asked for.
    """

    above: Int[np.ndarray, " cuts"]
    count: Int[np.ndarray, " bins"]
    sum_p: np.ndarray
    n_zero: int
    n_refused: int
    losses: np.ndarray

    def without(self, part: "Tally") -> "Tally":
        """What is left when some of the voxels are taken away."""
        return Tally(
            self.above - part.above,
            self.count - part.count,
            self.sum_p - part.sum_p,
            self.n_zero - part.n_zero,
            self.n_refused - part.n_refused,
            self.losses - part.losses,
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


def tally_outcomes(
    parts: Parts, n_bins: int, n_cuts: int, *, proper: bool = False
) -> tuple[Tally, Tally]:
    """Tallies of all voxels, and of the foreground among them.

    With `proper` the losses of the foreground are right for outcome 1, and what all voxels
    have more than it for outcome 0: those of the few are subtracted, never computed twice.
    """
    both, many = ((0, 1), (1 - parts.few_is,)) if proper else ((), ())
    whole = tally(parts.values, n_bins, n_cuts, many)
    few = tally(parts.few, n_bins, n_cuts, both)
    return whole, few if parts.few_is else whole.without(few)


def tally(
    values: Float[np.ndarray, " voxels"],
    n_bins: int,
    n_cuts: int,
    outcomes: tuple[int, ...] = (),
) -> Tally:
    """Tally voxels; no bins or no cuts for 0, and losses of these outcomes alone."""
    borders, cuts = _borders(n_bins, n_cuts)
    total, below = np.zeros(len(borders), np.int64), np.zeros(n_cuts, np.int64)
    high, low, finest = np.zeros(n_bins, np.int64), np.zeros(n_bins, np.int64), 0
    losses, room = np.zeros((2, 3), object), Room(values.size)
    for block in sorted_blocks(values):
        places = block.searchsorted(borders)
        total += places
        if n_cuts:
            below += block.searchsorted(cuts)
        first, zero, normal, crowd, *_, last = places.tolist()
        for outcome in outcomes:
            proper = _clipped(block[first:last])
            losses[outcome] += block_losses(proper, outcome, room)
        if n_bins:  # what follows changes the values
            finest += _finest_sum(block[first:zero], block[normal:crowd], room.units)
            # The first bin goes on behind its crowd.
            starts, ends = places[3:-1] - crowd, places[4:] - crowd
            units = whole_units(block[crowd:last], _COARSE, room.units)
            sums = sums_of_runs(units, np.maximum(starts, 0), ends)
            high += sums >> 32
            low += sums & 2**32 - 1
    sum_p = ((high.astype(object) << 32) + low) << (_FINEST - _COARSE)
    sum_p[:1] += finest
    first, zero, normal, _, *ends = total.tolist()
    return Tally(
        above=ends[-1] - below,
        count=np.diff([first, *ends])[:n_bins],
        sum_p=sum_p,
        n_zero=normal - zero,
        n_refused=values.size - (ends[-1] - first),
        losses=losses,
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
    values: Num[np.ndarray, " values"],
    starts: Int[np.ndarray, " runs"],
    ends: Int[np.ndarray, " runs"],
) -> Num[np.ndarray, " runs"]:
    """Sums, in the type of the values, of runs, some empty, on to the last value."""
    sums, taken = np.zeros(len(ends), values.dtype), ends > starts
    if taken.any():
        sums[taken] = np.add.reduceat(values, starts[taken])
    return sums


def _clipped(block: np.ndarray) -> np.ndarray:
    """Sorted probabilities in [0, 1]; a copy where some are not."""
    is_inside = not block.size or (block[0] >= 0 and block[-1] <= 1)
    return block if is_inside else np.clip(block, 0, 1)


def _finest_sum(negative: np.ndarray, crowd: np.ndarray, room: np.ndarray) -> int:
    """Sum of values below 0 and of some in [0, 2**-12), each rounded to 2**-60 towards 0."""
    total = int(whole_units(crowd, _FINEST, room).sum())
    total %= 2**64  # less than 2**(48 + 16); int64 wraps at that
    if negative.size:
        units = whole_units(negative, _FINEST, room)
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
