"""Signed-distance calibration loss, and the adaptation of targets by morphology."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.kernels import Operation, morphology, window_mean
from coverax.losses._voxels import (
    Map,
    Targets,
    Valid,
    check_shapes,
    prepare,
    takes_arrays,
    voxel_mean,
)
from coverax.losses._windows import THIRDS, gaussian_weights
from coverax.losses.boundary import SpacingMm, signed_distance_target
from coverax.losses.entropy import surprise

Aggregation = Literal["mean", "max", "min", "mode", "gaussian"]
Norm = Literal["l1", "l2"]


@takes_arrays
def sdc(
    logits: Map,
    targets: Targets,
    *,
    operation: Operation = "gradient",
    aggregation: Aggregation = "mean",
    slice_axis: int | None = None,
    spacing_mm: SpacingMm | None = None,
    adapted_weight: float = 0.1,
    distance_weight: float = 0.1,
    distance_scale: float = 100.0,
    norm: Norm = "l1",
    published_sign: bool = False,
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Signed-distance calibration loss: cross-entropy, adapted targets and distances.

    `CE + adapted_weight * mean|T - p| + distance_weight * mean|(2p - 1) - D| /
    distance_scale`, with T of `adapt_targets` and D of `signed_distance_target`.

    Args:
        logits: Scores before the softmax.
        targets: One-hot references. An absent class has T = 0 and D = -1: both terms ask
            for p = 0.
        operation: Morphology of the targets.
        aggregation: Local mean of what it gives.
        slice_axis: Spatial axis that the windows do not cross; the published volumes were
            adapted slice by slice.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`; only their
            ratios matter. Equal by default.
        adapted_weight: Weight of the term of T.
        distance_weight: Weight of the term of D.
        distance_scale: Divisor of the term of D.
        norm: `l1` for moduli, `l2` for squares.
        published_sign: D positive outside, as in the published code, whose distance term
            prefers the inverted mask.
        valid: Voxels that count; all by default, and the border is that of their box.
            Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or an option is unknown.

    Examples:
        >>> targets = jax.nn.one_hot(jnp.array([[0, 0, 1, 1, 0, 0]]), 2)
        >>> round(float(sdc(4 * targets, targets).mean()), 4)
        0.0667

    References:
        Liang et al. (2025), We Care Each Pixel: Calibrating on Medical Segmentation
        Model.
    """
    if norm not in get_args(Norm):
        raise ValueError(f"norm must be one of {get_args(Norm)}, got {norm!r}")
    adapted = adapt_targets(
        targets,
        operation=operation,
        aggregation=aggregation,
        slice_axis=slice_axis,
        valid=valid,
    )
    distances = signed_distance_target(
        targets, spacing_mm=spacing_mm, published_sign=published_sign, valid=valid
    )
    logits, targets = prepare(logits, targets, valid)
    power = jnp.abs if norm == "l1" else jnp.square
    log_probs = jax.nn.log_softmax(logits)
    probs = jnp.exp(log_probs)
    loss = surprise(log_probs, targets)
    loss += adapted_weight * power(adapted.astype(probs.dtype) - probs)
    gap = 2 * probs - 1 - distances.astype(probs.dtype)
    loss += distance_weight / distance_scale * power(gap)
    return voxel_mean(loss, valid)


@takes_arrays
def adapt_targets(
    targets: Targets,
    *,
    operation: Operation = "gradient",
    aggregation: Aggregation = "mean",
    slice_axis: int | None = None,
    valid: Valid | None = None,
) -> Map:
    """Targets after morphology and a local mean, renormalised over classes.

    Args:
        targets: One-hot references, foreground above 0.5.
        operation: Morphology of each class, with a full window of three voxels an axis;
            `none` leaves the mask.
        aggregation: Sums up the same window of the result: `mean` and `gaussian` (sigma 1)
            mirror the border, `mode` replicates it, `max` and `min` ignore what lies
            outside.
        slice_axis: Spatial axis that the windows do not cross.
        valid: Voxels that count; their bounding box is where the image ends. Others get 0.

    Returns:
        Distributions over classes, and 0 for all classes where none is left.

    Raises:
        ValueError: The shapes do not fit, or an option is unknown.

    Examples:
        >>> targets = jax.nn.one_hot(jnp.array([[0, 0, 0, 1, 1, 1]]), 2)
        >>> adapt_targets(targets, operation="erosion", aggregation="max")[0, :, 1].tolist()
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]

    References:
        Liang et al. (2025), We Care Each Pixel: Calibrating on Medical Segmentation
        Model.
    """
    if aggregation not in get_args(Aggregation):
        raise ValueError(
            f"aggregation must be one of {get_args(Aggregation)}, got {aggregation!r}"
        )
    check_shapes(targets, targets, valid)

    def adapt(mask):
        changed = morphology(mask, operation, slice_axis=slice_axis, valid=valid)
        return _aggregated(changed, aggregation, slice_axis, valid)

    weight = jax.vmap(adapt, in_axes=-1, out_axes=-1)(targets > 0.5)
    if valid is not None:
        weight = jnp.where(valid[..., None], weight, 0)
    total = weight.sum(axis=-1, keepdims=True)
    return weight / jnp.where(total > 0, total, 1)


def _aggregated(mask, aggregation, slice_axis, valid):
    window = {"slice_axis": slice_axis, "valid": valid}
    if aggregation in ("max", "min"):
        operation = "dilation" if aggregation == "max" else "erosion"
        return morphology(mask, operation, **window).astype(jnp.float32)
    values = mask.astype(jnp.float32)
    if aggregation == "mode":
        share = window_mean(values, THIRDS, border="replicate", **window)
        return (share > 0.5).astype(jnp.float32)
    weights = THIRDS if aggregation == "mean" else gaussian_weights(1.0)
    return window_mean(values, weights, border="mirror", **window)
