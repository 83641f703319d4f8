"""Losses of the log-probabilities: cross-entropy and its focal and penalised forms."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.losses._voxels import (
    Map,
    Targets,
    Valid,
    prepare,
    takes_arrays,
    voxel_mean,
)


@takes_arrays
def cross_entropy(
    logits: Map, targets: Targets, *, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Cross-entropy of the softmax, split by the class of the reference.

    Entry c is `-classes * mean over voxels of y_c log p_c`: the mean over classes is the
    usual cross-entropy.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class gives 0.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit.

    Examples:
        >>> logits = jnp.log(jnp.array([[[0.75, 0.25], [0.5, 0.5]]]))
        >>> targets = jnp.array([[[1, 0], [0, 1]]])
        >>> [round(float(x), 4) for x in cross_entropy(logits, targets)[0]]
        [0.2877, 0.6931]

    References:
        Good (1952), Rational Decisions.
    """
    logits, targets = prepare(logits, targets, valid)
    return voxel_mean(surprise(jax.nn.log_softmax(logits), targets), valid)


def surprise(log_probs: Map, targets: Map) -> Map:
    """Cross-entropy of each voxel and class, scaled so that its class mean is the whole.

    A class without target weight gives 0 even where its probability is exactly 0.
    """
    classes = log_probs.shape[-1]
    asked = targets > 0
    return -classes * targets * jnp.where(asked, log_probs, 0)


@takes_arrays
def binary_cross_entropy(
    logits: Map, targets: Targets, *, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Cross-entropy of independent sigmoids, for regions that may overlap.

    Entry c is `-mean over voxels of [y_c log p_c + (1 - y_c) log(1 - p_c)]`.

    Args:
        logits: Scores before the sigmoid.
        targets: Multi-label or soft references; an absent class counts like any other.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit.

    Examples:
        >>> logits = jnp.array([[[0.0], [100.0]]])
        >>> round(float(binary_cross_entropy(logits, jnp.ones((1, 2, 1)))[0, 0]), 4)
        0.3466

    References:
        Good (1952), Rational Decisions.
    """
    logits, targets = prepare(logits, targets, valid)
    yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return voxel_mean(-targets * yes - (1 - targets) * no, valid)


@takes_arrays
def focal(
    logits: Map, targets: Targets, *, gamma: float = 2.0, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Cross-entropy that passes over what is already right: `-(1 - p)^gamma log p`.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class gives 0.
        gamma: Exponent, at least 1 (below, the gradient has a pole at p = 1).
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or `gamma` is below 1.

    Examples:
        >>> logits = jnp.log(jnp.array([[[0.75, 0.25]]]))
        >>> round(float(focal(logits, jnp.array([[[1, 0]]])).mean()), 4)
        0.018

    References:
        Lin et al. (2017), Focal Loss for Dense Object Detection.
    """
    if gamma < 1:
        raise ValueError(f"gamma must be at least 1, got {gamma}")
    logits, targets = prepare(logits, targets, valid)
    log_probs = jax.nn.log_softmax(logits)
    # 1 - p without cancellation; clipped, since rounding may take p above 1.
    rest = jnp.maximum(-jnp.expm1(log_probs), 0)
    return voxel_mean(rest**gamma * surprise(log_probs, targets), valid)


@takes_arrays
def entropy_penalty(
    logits: Map, targets: Targets, *, weight: float = 0.1, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Cross-entropy minus `weight` times the entropy of the prediction.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class keeps its entropy term.
        weight: Reward of one nat of entropy.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit.

    Examples:
        >>> round(float(entropy_penalty(jnp.zeros((1, 1, 2)), jnp.eye(2)[None, :1]).mean()), 4)
        0.6238

    References:
        Pereyra et al. (2017), Regularizing Neural Networks by Penalizing Confident
        Output Distributions.
    """
    logits, targets = prepare(logits, targets, valid)
    log_probs = jax.nn.log_softmax(logits)
    negative_entropy = logits.shape[-1] * jnp.exp(log_probs) * log_probs
    loss = surprise(log_probs, targets) + weight * negative_entropy
    return voxel_mean(loss, valid)
