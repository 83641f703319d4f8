"""Proper scores on the host; twins of `coverax.kernels.proper`."""

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.checks import takes_numpy
from coverax.engine.bins import LARGEST_LOSS, LEAST_PROBABILITY, join_digits
from coverax.engine.results import ProperScores
from coverax.host.parts import Parts, case_parts
from coverax.host.sums import PIECE, piece_sum, to_digits
from coverax.host.tally import LEAST, MOST


@takes_numpy
def proper_scores(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> ProperScores:
    """Twin of `coverax.kernels.proper_scores`; logarithms may differ in the last bit."""
    return stack_proper([case_losses(p) for p in case_parts(probs, labels, valid)])


def case_losses(parts: Parts) -> np.ndarray:
    """Sums of squares and log losses, and clipped voxels, by outcome: `[3, 2]`.

    In whole numbers of 2**-45, so that no order of voxels changes a bit.
    """
    sums = np.zeros((3, 2), object)
    few, many = parts.few_is, 1 - parts.few_is
    # What all voxels would lose with one outcome, less those of the other.
    sums[:, many] = _losses(parts.values, many) - _losses(parts.few, many)
    sums[:, few] = _losses(parts.few, few)
    return sums


def stack_proper(cases: list[np.ndarray]) -> ProperScores:
    """Scores of a batch from the sums of its cases."""
    sums = np.array(cases, object).reshape(-1, 3, 2).swapaxes(0, 1)
    return ProperScores(
        join_digits(to_digits(sums[0], 3)),
        join_digits(to_digits(sums[1], 3)) * LARGEST_LOSS,
        sums[2].astype(np.int64),
    )


def _losses(values: np.ndarray, outcome: int) -> np.ndarray:
    """Sums of squares and log losses, and clipped voxels, were this the outcome of all."""
    total = np.zeros(3, object)
    for start in range(0, values.size, PIECE):
        p = values[start : start + PIECE].astype(np.float32, copy=False)
        low, high = p.min(), p.max()
        if not (low >= 0 and high <= 1):  # NaN neither
            p = np.clip(p[(p >= LEAST) & (p <= MOST)], 0, 1)
            low, high = p.min(initial=1), p.max(initial=0)
        of_truth, miss, least = (p, 1 - p, low) if outcome else (1 - p, p, 1 - high)
        n_clipped = 0
        if least < LEAST_PROBABILITY:
            n_clipped = int(np.count_nonzero(of_truth < LEAST_PROBABILITY))
            of_truth = np.maximum(of_truth, LEAST_PROBABILITY)
        loss = np.log(of_truth)
        np.divide(loss, -LARGEST_LOSS, out=loss)
        total += (piece_sum(miss * miss), piece_sum(loss), n_clipped)
    return total
