"""Proper scores on the host; twins of `coverax.kernels.proper`."""

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.checks import takes_numpy
from coverax.engine.bins import DIGIT_BITS, LARGEST_LOSS, join_digits
from coverax.engine.results import ProperScores
from coverax.host.losses import LOSS_BITS
from coverax.host.parts import case_parts
from coverax.host.sums import to_digits
from coverax.host.tally import Tally, tally_outcomes

_DIGITS = 3


@takes_numpy
def proper_scores(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> ProperScores:
    """Twin of `coverax.kernels.proper_scores`; logarithms may differ in the last bit."""
    parts = case_parts(probs, labels, valid)
    return stack_proper([tally_outcomes(p, 0, 0, proper=True) for p in parts])


def stack_proper(tallies: list[tuple[Tally, Tally]]) -> ProperScores:
    """Scores of cases from their tallies, of all voxels and of the foreground."""
    sums = np.zeros((3, len(tallies), 2), object)
    for i, (whole, foreground) in enumerate(tallies):
        sums[:, i, 0] = (whole.losses - foreground.losses)[0]
        sums[:, i, 1] = foreground.losses[1]
    squares, losses = sums[:2] << (DIGIT_BITS * _DIGITS - LOSS_BITS)
    return ProperScores(
        join_digits(to_digits(squares, _DIGITS)),
        join_digits(to_digits(losses, _DIGITS)) * LARGEST_LOSS,
        sums[2].astype(np.int64),
    )
