"""What voxels lose in a proper score, from sorted blocks of them."""

import numpy as np
from jaxtyping import Float, Int

from coverax.engine.bins import LARGEST_LOSS, LEAST_PROBABILITY
from coverax.host.sums import PIECE, whole_units

LOSS_BITS = 38  # of each square and each loss, which is rounded down
# Below these 1 - p is 1 in float32, and p * p is nothing in 38 bits.
_NO_LOSS, _NO_SQUARE = np.float32(2.0**-25), np.float32(2.0**-19)
_ONE = np.float32(1)


class Room:
    """Memory for what is computed of one block; the next one takes it again."""

    def __init__(self, n_voxels: int):
        n = min(n_voxels, PIECE)
        self.units = np.empty(n, np.int64)
        self.floats = np.empty((2, n), np.float32)


def block_losses(
    block: Float[np.ndarray, " voxels"], outcome: int, room: Room
) -> Int[np.ndarray, "3"]:
    """Sums of squares and log losses, and clipped voxels, were this the outcome of all.

    The first two in whole numbers of `2**-LOSS_BITS`, so that no order of voxels changes a
    bit.

    Args:
        block: Sorted probabilities in [0, 1].
        outcome: 1 foreground, 0 background.
        room: Memory.
    """
    # What is as sure as float32 can be loses nothing; of most maps that is much.
    if outcome:
        p = block[: block.searchsorted(_ONE)]
    else:
        p = block[block.searchsorted(_NO_LOSS) :]
    other, result = room.floats[:, : p.size]
    np.subtract(_ONE, p, out=other)
    n_clipped = 0
    if outcome:
        of_truth, miss = p, other
        n_clipped = int(p.searchsorted(LEAST_PROBABILITY))
    else:
        of_truth, miss = other, p[p.searchsorted(_NO_SQUARE) :]
        n_clipped = p.size - int(p.searchsorted(_ONE - LEAST_PROBABILITY, "right"))
    if n_clipped:
        of_truth = np.maximum(of_truth, LEAST_PROBABILITY)
    squares = np.multiply(miss, miss, out=result[: miss.size])
    sum_squares = whole_units(squares, LOSS_BITS, room.units).sum()
    losses = np.divide(np.log(of_truth, out=result), -LARGEST_LOSS, out=result)
    sum_losses = whole_units(losses, LOSS_BITS, room.units).sum()
    return np.array((sum_squares, sum_losses, n_clipped))
