"""Experimental: the size of a conformal mask, differentiable.

A threshold is an order statistic, which moves with one value only. Smoothed, it is the
root of a smooth count, and every value near it has a share in its gradient.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from coverax.losses._voxels import (
    Map,
    Targets,
    Valid,
    prepare,
    takes_arrays,
    voxel_mean,
)

_STEPS = 60  # halvings of a bracket: past float32 whatever the scale


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def smooth_order_statistic(
    values: Float[Array, "*batch values"],
    rank: Float[Array, "*batch"],
    temperature: float,
    where: Bool[Array, "*batch values"],
) -> Float[Array, "*batch"]:
    """Root q of `sum of sigmoid((q - value) / temperature) = rank - 1/2`.

    For a temperature below the gaps between values it is close to the rank-th smallest.
    The derivative is a mean of the values' tangents, weighted by nearness to q.

    Args:
        values: Finite numbers.
        rank: From 1 to the number of values that count; rounded into that range.
        temperature: Width of a step, positive.
        where: Values that count; with none the result is 0.

    References:
        Stutz et al. (2022), Learning Optimal Conformal Classifiers; the root with its
        implicit derivative in place of a sorting network is ours.
    """
    n = jnp.count_nonzero(where, axis=-1).astype(values.dtype)
    asked = jnp.clip(rank, 1, jnp.maximum(n, 1)) - 0.5
    reach = temperature * (2 + jnp.log1p(2 * jnp.maximum(n, 1)))
    low = jnp.min(jnp.where(where, values, jnp.inf), axis=-1) - reach
    high = jnp.max(jnp.where(where, values, -jnp.inf), axis=-1) + reach

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        step = jax.nn.sigmoid((middle[..., None] - values) / temperature)
        enough = jnp.sum(jnp.where(where, step, 0), axis=-1) >= asked
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    low, high = jax.lax.fori_loop(0, _STEPS, halve, (low, high))
    return jnp.where(n > 0, (low + high) / 2, 0)


@smooth_order_statistic.defjvp
def _smooth_order_statistic_jvp(temperature, primals, tangents):
    values, rank, where = primals
    root = smooth_order_statistic(values, rank, temperature, where)
    # Implicit function theorem: d root = sum of slope * d value / sum of slope.
    scaled = (root[..., None] - values) / temperature
    log_slope = jax.nn.log_sigmoid(scaled) + jax.nn.log_sigmoid(-scaled)
    shares = jax.nn.softmax(jnp.where(where, log_slope, -jnp.inf), axis=-1, where=where)
    moved = jnp.sum(jnp.where(where, shares * tangents[0], 0), axis=-1)
    return root, jnp.where(where.any(axis=-1), moved, 0)


@takes_arrays
def conformal_size(
    probs: Map,
    targets: Targets,
    *,
    alpha: float = 0.1,
    tolerance: float = 0.1,
    temperature: float = 0.05,
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Experimental: share of voxels in masks that a batch calibrates for itself.

    The first half of the batch calibrates: each case's critical probability, the smooth
    order statistic of its foreground probabilities at the tolerance, and over the cases
    the smooth one at rank `(n + 1)(1 - alpha)`, at most n. The second half is cut there,
    by a sigmoid in place of a step. This trains for small masks; it guarantees nothing:
    a threshold with a guarantee comes from `coverax.calibrate` on cases not trained on.

    Args:
        probs: Probabilities; at least two examples, better many.
        targets: One-hot or multi-label references, foreground above 0.5.
        alpha: Miscoverage to train for, in (0, 1).
        tolerance: False-negative rate of a case to train for, in [0, 1).
        temperature: Width of the steps, in probability.
        valid: Voxels that count; all by default.

    Returns:
        Size of each mask over the number of voxels; 0 in the first half of the batch, and
        doubled in the second, so that the mean is the mean size of what was cut. A class
        absent from a calibrating example is left out of the threshold; absent from all,
        it gives 0.

    Raises:
        ValueError: The batch has fewer than two examples, a level is out of range, or the
            shapes do not fit.

    Examples:
        >>> probs = jnp.array([[[0.9], [0.8], [0.1]], [[0.9], [0.2], [0.1]]])
        >>> targets = jnp.array([[[1], [1], [0]], [[1], [0], [0]]])
        >>> round(float(conformal_size(probs, targets, temperature=0.01).mean()), 2)
        0.33

    References:
        Stutz et al. (2022), Learning Optimal Conformal Classifiers.
    """
    if not (0 < alpha < 1 and 0 <= tolerance < 1 and temperature > 0):
        raise ValueError(
            f"alpha {alpha}, tolerance {tolerance} or temperature {temperature} is out of range"
        )
    if probs.shape[0] < 2:
        raise ValueError("conformal_size needs two examples or more")
    probs, targets = prepare(probs, targets, valid)
    half = probs.shape[0] // 2
    threshold, known = _smooth_threshold(
        probs[:half],
        targets[:half] > 0.5,
        None if valid is None else valid[:half],
        (alpha, tolerance, temperature),
    )
    cut = threshold.reshape(*[1] * (probs.ndim - 1), -1)
    member = jax.nn.sigmoid((probs[half:] - cut) / temperature)
    size = voxel_mean(member, None if valid is None else valid[half:])
    size = jnp.where(known, size, 0) * (probs.shape[0] / size.shape[0])
    return jnp.concatenate([jnp.zeros_like(size, shape=(half, size.shape[1])), size])


def _smooth_threshold(probs, mask, valid, levels):
    """Cut of each class that enough calibrating cases allow; whether there is one."""
    alpha, tolerance, temperature = levels
    if valid is not None:
        mask = mask & valid[..., None]
    values, mask = (
        jnp.reshape(jnp.moveaxis(x, -1, 1), (x.shape[0], x.shape[-1], -1))
        for x in (probs, mask)
    )
    n_foreground = jnp.count_nonzero(mask, axis=-1).astype(values.dtype)
    allowed = jnp.floor(tolerance * n_foreground)
    critical = smooth_order_statistic(values, allowed + 1, temperature, mask)
    present = mask.any(axis=-1).T
    n = jnp.count_nonzero(present, axis=-1).astype(values.dtype)
    # Larger scores are worse, and a score is minus a critical probability.
    rank = jnp.ceil((n + 1) * (1 - alpha))
    threshold = -smooth_order_statistic(-critical.T, rank, temperature, present)
    return threshold, n > 0
