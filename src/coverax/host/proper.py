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
        # Everything, less the foreground, which is usually small.
        p = np.clip(values, 0, 1)
        miss, of_truth, foreground = p.copy(), 1 - p, p[mask]
        miss[mask], of_truth[mask] = 1 - foreground, foreground
        everything, of_mask = (miss, of_truth), (1 - foreground, foreground)
        for k, (miss, truth) in enumerate((everything, of_mask)):
            loss = -np.log(np.maximum(truth, LEAST_PROBABILITY)) / LARGEST_LOSS
            squares[i, k] += block_sum(miss * miss)
            losses[i, k] += block_sum(loss)
            clipped[i, k] += int(np.count_nonzero(truth < LEAST_PROBABILITY))
    for sums in (squares, losses, clipped):
        sums[:, 0] -= sums[:, 1]
    return ProperScores(
        join_digits(to_digits(squares, 3)),
        join_digits(to_digits(losses, 3)) * LARGEST_LOSS,
        clipped.astype(np.int64),
    )
