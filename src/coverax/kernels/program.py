"""One program for everything asked of a batch: one transfer, one trace a shape.

A part is a function of (probs, labels, valid, plan) that returns arrays and calls
kernels; all parts are traced together, so that they share the reading of the volumes,
and XLA may fuse them. A further family is one more entry of `PARTS`; what it needs to
know stands in the plan, which is static.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.kernels.arrays import Labels, Map, Valid
from coverax.kernels.bins import (
    BinStatistics,
    SoftBinStatistics,
    bin_statistics,
    soft_bin_statistics,
)
from coverax.kernels.order import critical_probability
from coverax.kernels.overlap import Sizes, sizes
from coverax.kernels.proper import ProperScores, proper_scores
from coverax.rational import Level


class ScorePlan(NamedTuple):
    """What is asked of every batch; hashable, a part of the compiled program.

    Attributes:
        tolerances: Tolerated false-negative rates; none for no order statistics.
        n_bins: Hard bins; 0 for none.
        n_soft_bins: Soft bins; 0 for none.
        proper: Whether squared error and log loss are summed.
    """

    tolerances: tuple[Level, ...] = ()
    n_bins: int = 0
    n_soft_bins: int = 0
    proper: bool = False


class BatchScores(NamedTuple):
    """Results of a batch; None for what was not asked.

    Attributes:
        sizes: Voxels and foreground voxels.
        critical_probability: `[batch, tolerances]`.
        bins: Hard bin statistics.
        soft_bins: Soft bin statistics.
        proper: Squared error and log loss.
    """

    sizes: Sizes
    critical_probability: Float[Array, "batch tolerances"] | None
    bins: BinStatistics | None
    soft_bins: SoftBinStatistics | None
    proper: ProperScores | None


Part = Callable[[Array, Array, Array | None, ScorePlan], Any]

# Field of `BatchScores` to the function that computes it; None where it is not asked.
PARTS: dict[str, Part] = {
    "sizes": lambda _, y, valid, __: sizes(y, valid=valid),
    "critical_probability": lambda p, y, valid, plan: (
        critical_probability(p, y, plan.tolerances, valid=valid)
        if plan.tolerances
        else None
    ),
    "bins": lambda p, y, valid, plan: (
        bin_statistics(p, y, plan.n_bins, valid=valid) if plan.n_bins else None
    ),
    "soft_bins": lambda p, y, valid, plan: (
        soft_bin_statistics(p, y, plan.n_soft_bins, valid=valid)
        if plan.n_soft_bins
        else None
    ),
    "proper": lambda p, y, valid, plan: (
        proper_scores(p, y, valid=valid) if plan.proper else None
    ),
}


def score_batch(
    probs: Map,
    labels: Labels,
    tolerances: Sequence[Level] = (0.1,),
    *,
    n_bins: int = 20,
    n_soft_bins: int = 0,
    proper: bool = True,
    valid: Valid = None,
) -> BatchScores:
    """Everything of a batch in one jitted program; inputs may never have left a device.

    The bits are those of the single kernels. Channels of a multi-class map are entries
    of the batch. A shape and a set of options are traced once.

    Args:
        probs: Probability maps; no NaN.
        labels: References; foreground is what is not 0.
        tolerances: Tolerated false-negative rates, static.
        n_bins: Hard bins; 0 for none.
        n_soft_bins: Soft bins; 0 for none.
        proper: Whether to sum squared error and log loss.
        valid: Voxels that count; all by default.
    """
    plan = ScorePlan(tuple(tolerances), n_bins, n_soft_bins, proper)
    return _program(probs, labels, valid, plan=plan)


@partial(jax.jit, static_argnames="plan")
def _program(probs, labels, valid, *, plan: ScorePlan) -> BatchScores:
    shape = (probs.shape[0], -1)
    values, mask = jnp.reshape(probs, shape), jnp.reshape(labels, shape) != 0
    counted = None if valid is None else jnp.reshape(valid, shape)
    return BatchScores(
        **{name: part(values, mask, counted, plan) for name, part in PARTS.items()}
    )
