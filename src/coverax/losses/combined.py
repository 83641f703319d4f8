"""One loss from several, by name, and the weights of deep supervision."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from coverax.losses._voxels import Map, Targets, Valid
from coverax.losses.ace import hard_l1_ace, soft_l1_ace
from coverax.losses.boundary import SpacingMm, boundary
from coverax.losses.entropy import (
    binary_cross_entropy,
    cross_entropy,
    entropy_penalty,
    focal,
)
from coverax.losses.margin import mbls, nacl
from coverax.losses.overlap import soft_dice
from coverax.losses.sdc import sdc
from coverax.losses.smoothing import label_smoothing, svls

OF_PROBS = {f.__name__: f for f in (hard_l1_ace, soft_l1_ace, soft_dice, boundary)}
OF_LOGITS = {
    f.__name__: f
    for f in (
        cross_entropy,
        binary_cross_entropy,
        focal,
        entropy_penalty,
        label_smoothing,
        svls,
        mbls,
        nacl,
        sdc,
    )
}
OF_DISTANCES = {f.__name__ for f in (boundary, sdc)}  # they take `spacing_mm`
Loss = Callable[..., Float[Array, "batch classes"]]


def combine(
    weights: Mapping[Any, float | int],
    *,
    options: Mapping[Any, Mapping[str, Any]] | None = None,
    activation: Callable[[Map], Map] = jax.nn.softmax,
) -> Loss:
    """Make the weighted sum of losses a function of logits and targets.

    Published runs of the calibration error weigh it, Dice and cross-entropy with 0.33
    each, against Dice plus cross-entropy with 1 each.

    Args:
        weights: Loss names of this package to their weights; or losses of one's own,
            `own(logits, targets, **options) -> [batch, classes]`, as functions or as
            `package.module:function`. They are given `valid=` where there is one.
        options: Keyword options of each loss.
        activation: From logits to probabilities, for the losses that take those; it is
            computed once.

    Returns:
        `loss(logits, targets, *, valid=None, spacing_mm=None) -> [batch, classes]`; the
        spacing goes to the losses that take one, where their options name none.

    Raises:
        ValueError: A name or an option is unknown, or options are given for a loss
            without weight.

    Examples:
        >>> loss = combine({"soft_dice": 1, "cross_entropy": 1})
        >>> logits, targets = jnp.zeros((1, 4, 2)), jax.nn.one_hot(jnp.array([[0, 0, 1, 1]]), 2)
        >>> round(float(loss(logits, targets).mean()), 4)
        1.0265
    """
    options = {} if options is None else options
    known = {name: _function(name) for name in weights}
    if not weights:
        raise ValueError(f"losses are {sorted(OF_PROBS | OF_LOGITS)}, got none")
    if set(options) - set(weights):
        raise ValueError(
            f"options for {sorted(set(options) - set(weights))}: no weight"
        )
    for name, own in options.items():
        _check_options(name, known[name], own)

    def loss(
        logits: Map,
        targets: Targets,
        *,
        valid: Valid | None = None,
        spacing_mm: SpacingMm | None = None,
    ):
        probs = activation(logits) if set(weights) & set(OF_PROBS) else logits
        terms = []
        for name, weight in weights.items():
            own = dict(options.get(name, {}))
            if name in OF_DISTANCES and spacing_mm is not None:
                own = {"spacing_mm": spacing_mm} | own
            if name in OF_PROBS or name in OF_LOGITS or valid is not None:
                own["valid"] = valid
            map_ = probs if name in OF_PROBS else logits
            value = known[name](map_, targets, **own)
            if value.shape != (logits.shape[0], logits.shape[-1]):
                raise ValueError(
                    f"the loss {name} gives {value.shape}, not [batch, classes]"
                )
            terms.append(weight * value)
        return jnp.sum(jnp.stack(terms), axis=0)

    return loss


def _function(name: Any) -> Callable[..., Any]:
    """A loss by its name here, by its import path, or itself."""
    if callable(name):
        return name
    known = OF_PROBS | OF_LOGITS
    if name in known:
        return known[name]
    module, _, attribute = name.partition(":")
    if not attribute:
        raise ValueError(f"losses are {sorted(known)}, got {[name]}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"losses: {name} cannot be imported: {error}") from None
    if not callable(found):
        raise ValueError(f"losses: {name} is no function")
    return found


def _check_options(name: Any, loss: Callable[..., Any], own: Mapping[str, Any]) -> None:
    """Refuse options that the loss does not have."""
    parameters = inspect.signature(loss).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    takes = [p for p in parameters if p != "valid"][2:]
    if unknown := sorted(set(own) - set(takes)):
        raise ValueError(
            f"loss_options.{name}: unknown option {unknown[0]}; it takes "
            f"{', '.join(takes) or 'none'}"
        )


def deep_supervision_weights(
    n_levels: int, *, drop_coarsest: bool = False
) -> Float[np.ndarray, " levels"]:
    """Weights of the outputs of a decoder, finest first: halved level by level, sum 1.

    Args:
        n_levels: Outputs.
        drop_coarsest: Give the last level the weight 0.

    Raises:
        ValueError: No level is left.

    Examples:
        >>> deep_supervision_weights(3, drop_coarsest=True).round(4).tolist()
        [0.6667, 0.3333, 0.0]

    References:
        Isensee et al. (2021), nnU-Net: A Self-Configuring Method for Deep Learning-Based
        Biomedical Image Segmentation.
    """
    if n_levels - drop_coarsest < 1:
        raise ValueError(f"{n_levels} levels leave none")
    weights = 0.5 ** np.arange(n_levels)
    if drop_coarsest:
        weights[-1] = 0
    return weights / weights.sum()
