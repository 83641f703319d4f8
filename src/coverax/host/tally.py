"""One pass over voxels: exact counts of fine cells, exact counts and sums of bins.

The cells are 4,096ths of [0, 1]: with a power of two the cell of a float32 is one exact
product. A cut k / 1,024 is the end of a cell, so counts of cells are counts at every cut;
and a cell lies within one bin, but for those that an edge cuts, whose few voxels are
binned singly. Everything is a whole number: what two sets of voxels have adds up, and
what one of them has is the difference, to the bit.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.binning import MARGIN, SMALLEST, bin_edges, low_scale
from coverax.host.parts import Parts

CELLS = 1 << 12
BLOCK = 1 << 16  # voxels that stay in the cache, with what is computed of them
# A float32 of at least 1/4096 has no digit below 2**-35: a whole number of these, and a
# block of them sums exactly in float64.
_UNIT, _FINEST = 36, 60
_UNITS = np.float32(2.0**_UNIT)
_CROWD = np.float32(1 / CELLS)


class Tally(NamedTuple):
    """Whole numbers about some voxels of one case.

    Attributes:
        cells: Voxels of each cell; those below 0 are in the first, from 1 on in the last.
        count: Voxels of each bin.
        sum_p: Sum of the probabilities of each bin in `2**-60`, Python integers.
        n_negative: Voxels below 0.
        n_zero: Voxels whose probability is 0 (below 2**-126).
        n_refused: Voxels left out because they are NaN or no probability.
    """

    cells: Int[np.ndarray, " cells"]
    count: Int[np.ndarray, " bins"]
    sum_p: np.ndarray
    n_negative: int
    n_zero: int
    n_refused: int

    def without(self, part: "Tally") -> "Tally":
        """What is left when some of the voxels are taken away."""
        return Tally(
            self.cells - part.cells,
            self.count - part.count,
            self.sum_p - part.sum_p,
            self.n_negative - part.n_negative,
            self.n_zero - part.n_zero,
            self.n_refused - part.n_refused,
        )


def bin_index(
    probs: Float[np.ndarray, "*shape"], n_bins: int
) -> Int[np.ndarray, "*shape"]:
    """Twin of `coverax.kernels.bin_index`: the same bins, as `intp`."""
    edges = bin_edges(n_bins)
    values = np.clip(np.asarray(probs, np.float32), 0, 1)
    k = (values * low_scale(n_bins)).astype(np.intp)
    k += values > edges[1:].take(k, mode="clip")
    return k


def tally_outcomes(parts: Parts, n_bins: int) -> tuple[Tally, Tally]:
    """Tallies of all voxels, and of the foreground among them."""
    whole, few = tally(parts.values, n_bins), tally(parts.few, n_bins)
    return whole, few if parts.few_is else whole.without(few)


def tally(values: Float[np.ndarray, " voxels"], n_bins: int) -> Tally:
    """Tally voxels; no bins for 0."""
    scratch = _Scratch.of(min(values.size, BLOCK))
    cells = np.zeros(CELLS + 1, np.int64)
    binned = _Binned(n_bins)
    n_negative = n_zero = n_refused = 0
    for block, n_bad in blocks(values):
        n_refused += n_bad
        low, high = block.min(initial=1), block.max(initial=0)
        if low < SMALLEST:
            n_zero += int(np.count_nonzero(np.abs(block) < SMALLEST))
        if low < 0:
            below = block[block < 0]
            n_negative += below.size
            binned.add_negative(below)
            block = np.maximum(block, 0)
        if low < _CROWD:
            crowd = block < _CROWD
            n_crowd = int(np.count_nonzero(crowd))
            most = 2 * n_crowd > block.size
            binned.add_crowd(
                np.where(crowd, block, 0) if most else block.compress(crowd)
            )
            if most:
                cells[0] += n_crowd
                block = block.compress(~crowd)
        keys = scratch.keys_of(block, high)
        cells += np.bincount(keys, minlength=CELLS + 1)
        binned.add(block, keys, scratch)
    return Tally(
        cells, binned.count(cells), binned.sum_p, n_negative, n_zero, n_refused
    )


def blocks(
    values: Float[np.ndarray, " voxels"],
) -> Iterator[tuple[Float[np.ndarray, " block"], int]]:
    """Float32 values in pieces, without what is no probability, and how many that is."""
    for start in range(0, values.size, BLOCK):
        block = values[start : start + BLOCK].astype(np.float32, copy=False)
        n_bad = 0
        # NaN fails both comparisons.
        if not (block.min() >= -MARGIN and block.max() <= 1 + MARGIN):
            proper = (block >= -MARGIN) & (block <= 1 + MARGIN)
            n_bad = int(block.size - np.count_nonzero(proper))
            block = block[proper]
        yield block, n_bad


class _Binned:
    """Bins under way: sums of whole cells, and voxels of cut cells one by one."""

    def __init__(self, n_bins: int):
        self.n_bins = n_bins
        self.bin_of_cell, self.is_cut = _cells_of(n_bins)
        self.singles = np.zeros(n_bins, np.int64)
        self.sum_p = np.zeros(n_bins, object)

    def add_negative(self, values: np.ndarray) -> None:
        """Voxels below 0, each rounded down to 2**-60."""
        if self.n_bins:
            whole = np.floor(values.astype(np.float64) * 2.0**_FINEST)
            self.sum_p[0] += sum(map(int, whole.tolist()))

    def add_crowd(self, values: np.ndarray) -> None:
        """Voxels in [0, 1/4096), each rounded down to 2**-60."""
        if self.n_bins:
            whole = (values * np.float32(2.0**_FINEST)).astype(np.int64)
            # Below 2**(48 + 16); int64 wraps at that.
            self.sum_p[0] += int(whole.sum()) % 2**64

    def add(self, block: np.ndarray, keys: np.ndarray, scratch: "_Scratch") -> None:
        """A block, but for the sums of its crowd, by the cells of its voxels."""
        if not self.n_bins:
            return
        single = np.flatnonzero(scratch.look_up(self.is_cut, keys))
        few = block[single]
        bins = bin_index(few, self.n_bins)
        self.singles += np.bincount(bins, minlength=self.n_bins)
        sums = np.bincount(keys, scratch.in_units(block), minlength=CELLS + 1)
        sums[0] = 0
        sums[self.is_cut] = 0
        sums = np.bincount(self.bin_of_cell, sums, minlength=self.n_bins)
        sums += np.bincount(bins, few * _UNITS, minlength=self.n_bins)
        self.sum_p += sums.astype(np.int64).astype(object) << (_FINEST - _UNIT)

    def count(self, cells: np.ndarray) -> np.ndarray:
        """Voxels of each bin, from those of each cell."""
        if not self.n_bins:
            return self.singles
        uncut = np.where(self.is_cut, 0, cells)
        whole = np.bincount(self.bin_of_cell, uncut, minlength=self.n_bins)
        return self.singles + whole.astype(np.int64)


class _Scratch(NamedTuple):
    """Memory of one block, used again for the next: fresh pages cost more than sums."""

    floats: np.ndarray
    keys: np.ndarray
    weights: np.ndarray
    flags: np.ndarray

    @classmethod
    def of(cls, size: int) -> "_Scratch":
        """Room for so many voxels."""
        return cls(
            np.empty(size, np.float32),
            np.empty(size, np.intp),
            np.empty(size, np.float64),
            np.empty(size, bool),
        )

    def keys_of(self, block: np.ndarray, high: np.floating) -> np.ndarray:
        """Cell of each voxel."""
        floats, keys = self.floats[: block.size], self.keys[: block.size]
        np.multiply(block, np.float32(CELLS), out=floats)
        if high > 1:
            np.minimum(floats, CELLS, out=floats)
        np.copyto(keys, floats, casting="unsafe")
        return keys

    def look_up(self, table: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Entries of a boolean table."""
        return table.take(keys, out=self.flags[: keys.size], mode="clip")

    def in_units(self, block: np.ndarray) -> np.ndarray:
        """Values in whole numbers of 2**-36."""
        return np.multiply(block, _UNITS, out=self.weights[: block.size])


@lru_cache(maxsize=8)
def _cells_of(n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Bin of each cell, and whether it holds voxels of another bin too."""
    if not n_bins:
        return np.zeros(0, np.intp), np.zeros(0, bool)
    ends = np.arange(CELLS + 2, dtype=np.float32) / CELLS
    first = bin_index(ends[:-1], n_bins)
    last = bin_index(np.nextafter(ends[1:], np.float32(0)), n_bins)
    return last, first != last
