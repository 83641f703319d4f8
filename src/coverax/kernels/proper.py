"""Sums of proper scores: squared error and logarithmic loss of each case."""

import jax
import jax.numpy as jnp

from coverax.engine.bins import LARGEST_LOSS, LEAST_PROBABILITY
from coverax.engine.results import ProperScores
from coverax.kernels.arrays import Labels, Map, Valid, count_true, takes_arrays
from coverax.kernels.sums import keyed_sums, outcomes

_DIGITS = 3  # 45 bits


@takes_arrays
@jax.jit
def proper_scores(
    probs: Map,
    labels: Labels,
    *,
    valid: Valid = None,
) -> ProperScores:
    """Sum squared error and log loss over each case; sums add up across cases.

    The log loss of a probability below `2**-24` is that of `2**-24` (16.6), so that one
    impossible voxel does not make a cohort's mean infinite; such voxels are counted.

    Args:
        probs: Probability maps; NaN and what lies further than 1e-3 outside [0, 1] is
            left out, as in `bin_statistics`.
        labels: References; foreground is what is not 0.
        valid: Voxels that count; all by default.
    """
    values, outcome, _ = outcomes(probs, labels, valid)

    def terms(values, y, _):
        p = jnp.clip(values, 0, 1)
        of_truth, miss = jnp.where(y == 1, p, 1 - p), jnp.where(y == 1, 1 - p, p)
        loss = -jnp.log(jnp.maximum(of_truth, LEAST_PROBABILITY)) / LARGEST_LOSS
        # 38 bits, which the host can sum in one pass; a power of two: exact.
        return y, tuple(jnp.floor(v * 2.0**38) * 2.0**-38 for v in (miss * miss, loss))

    _, (squares, losses) = keyed_sums(values, outcome, terms, 2, (_DIGITS, _DIGITS))
    small = {0: 1 - values < LEAST_PROBABILITY, 1: values < LEAST_PROBABILITY}
    n_clipped = [count_true(small[k] & (outcome == k)) for k in (0, 1)]
    return ProperScores(squares, losses * LARGEST_LOSS, jnp.stack(n_clipped, axis=1))
