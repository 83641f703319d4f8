"""Proper scores on the host; twins of `coverax.kernels.proper`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.binning import LARGEST_LOSS, LEAST_PROBABILITY, join_digits
from coverax.host.bins import blocks
from coverax.host.sums import block_sum, to_digits


class ProperScores(NamedTuple):
    """Sums over background and foreground; as in `coverax.kernels.ProperScores`."""

    sum_squares: Float[np.ndarray, "batch 2"]
    sum_log_loss: Float[np.ndarray, "batch 2"]
    n_clipped: Int[np.ndarray, "batch 2"]


def proper_scores(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> ProperScores:
    """Twin of `coverax.kernels.proper_scores`; logarithms may differ in the last bit."""
    # In whole numbers of 2**-45, so that no order of voxels changes a bit.
    squares, losses, clipped = np.zeros((3, len(probs), 2), object)
    for i, values, mask, _ in blocks(probs, labels, valid):
        p = np.clip(values, 0, 1)
        q = 1 - p
        of_truth, miss = np.where(mask, p, q), np.where(mask, q, p)
        square = miss * miss
        loss = -np.log(np.maximum(of_truth, LEAST_PROBABILITY)) / LARGEST_LOSS
        # Everything, less the foreground, which is usually small.
        for k, part in ((0, slice(None)), (1, np.flatnonzero(mask))):
            squares[i, k] += block_sum(square[part])
            losses[i, k] += block_sum(loss[part])
            n_clipped = np.count_nonzero(of_truth[part] < LEAST_PROBABILITY)
            clipped[i, k] += int(n_clipped)
    for sums in (squares, losses, clipped):
        sums[:, 0] -= sums[:, 1]
    return ProperScores(
        join_digits(to_digits(squares, 3)),
        join_digits(to_digits(losses, 3)) * LARGEST_LOSS,
        clipped.astype(np.int64),
    )
