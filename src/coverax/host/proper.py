"""Proper scores on the host; twins of `coverax.kernels.proper`."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.binning import LEAST_PROBABILITY
from coverax.host.bins import blocks


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
    """Twin of `coverax.kernels.proper_scores`, summed in float64."""
    squares, losses = np.zeros((2, len(probs), 2))
    clipped = np.zeros((len(probs), 2), np.int64)
    for i, values, mask, _ in blocks(probs, labels, valid):
        # 1 - p for the background; the foreground, usually few, is put right after.
        of_truth = np.clip(1 - values, 0, 1)
        foreground = np.clip(values[mask], 0, 1)
        of_truth[mask] = foreground
        for k, part in ((0, of_truth), (1, foreground)):
            miss = 1 - part
            squares[i, k] += np.einsum("i,i->", miss, miss, dtype=np.float64)
            losses[i, k] -= np.log(np.maximum(part, LEAST_PROBABILITY)).sum(
                dtype=np.float64
            )
            clipped[i, k] += np.count_nonzero(part < LEAST_PROBABILITY)
    for sums in (squares, losses, clipped):
        sums[:, 0] -= sums[:, 1]  # everything less the foreground
    return ProperScores(squares, losses, clipped)
