"""The optimiser of a run: one optax chain, and the learning rate as a formula."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from coverax.train.config import OptimiserConfig


def learning_rate(config: OptimiserConfig, n_steps: int, step: Any) -> Float[Array, ""]:
    """Rate of a step (from 0): linear to the highest, then by the schedule to zero.

    The schedule is half a cosine, or the share of steps that are left to a power.

    Args:
        config: The highest rate, the steps of the warm-up and the schedule.
        n_steps: Steps of the whole run.
        step: Which step; a number or an array.
    """
    warmup = config.warmup_steps
    rising = (step + 1) / max(warmup, 1)
    share = jnp.clip((step - warmup) / max(n_steps - warmup, 1), 0, 1)
    if config.schedule == "polynomial":
        falling = (1 - share) ** config.power
    else:
        falling = (1 + jnp.cos(math.pi * share)) / 2
    return config.learning_rate * jnp.where(step < warmup, rising, falling)


def make_optimiser(
    config: OptimiserConfig, n_steps: int
) -> optax.GradientTransformation:
    """AdamW or SGD with clipped gradients; weights decay, biases and norms do not.

    Decay is decoupled, or, if the config says so, joins the clipped gradient before the
    momentum of SGD.

    References:
        Loshchilov and Hutter (2019), Decoupled Weight Decay Regularization.
    """
    direction = (
        optax.scale_by_adam()
        if config.name == "adamw"
        else optax.trace(decay=config.momentum, nesterov=True)
    )
    decay = optax.add_decayed_weights(config.weight_decay, mask=_is_weight)
    moves = (decay, direction) if config.coupled_decay else (direction, decay)
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        *moves,
        optax.scale_by_learning_rate(lambda step: learning_rate(config, n_steps, step)),
    )


def _is_weight(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


def moved_average(average, params, step: Int[Array, ""], decay: float):
    """Exponential moving average of the parameters after a step (from 0).

    The decay rises as `(1 + step) / (10 + step)` to its value, so that the parameters of
    the start are soon forgotten.
    """
    kept = jnp.minimum(decay, (1 + step) / (10 + step))
    return jax.tree.map(lambda a, p: kept * a + (1 - kept) * p, average, params)
