"""Cross-entropy with a penalty that keeps logits from running away."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.kernels import Operation, morphology, window_mean
from coverax.losses._voxels import (
    Border,
    Map,
    Targets,
    Valid,
    prepare,
    takes_arrays,
    voxel_mean,
)
from coverax.losses._windows import THIRDS, WIDE
from coverax.losses.entropy import surprise
from coverax.losses.sdc import Aggregation, adapt_targets
from coverax.losses.smoothing import svls_targets

Neighbours = Literal["mean", "gaussian", "wide", "max", "min", "median", "mode"]


@takes_arrays
def mbls(
    logits: Map,
    targets: Targets,
    *,
    margin: float = 10.0,
    weight: float = 0.1,
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Margin-based label smoothing: logits may differ by a margin, more is penalised.

    Cross-entropy plus `weight` times the mean of `relu(max_j l_j - l_c - margin)`. Where
    no logits differ by more than the margin it is the cross-entropy.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class keeps its penalty.
        margin: Distance from the largest logit that costs nothing.
        weight: Weight of the penalty.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit.

    Examples:
        >>> logits = jnp.array([[[16.0, 0.0]]])
        >>> round(float(mbls(logits, jnp.array([[[1, 0]]])).mean()), 4)
        0.3

    References:
        Liu et al. (2022), The Devil is in the Margin: Margin-Based Label Smoothing for
        Network Calibration.
    """
    logits, targets = prepare(logits, targets, valid)
    lead = jnp.max(logits, axis=-1, keepdims=True) - logits
    penalty = jax.nn.relu(lead - margin)
    entropy = surprise(jax.nn.log_softmax(logits), targets)
    return voxel_mean(entropy + weight * penalty, valid)


@takes_arrays
def nacl(
    logits: Map,
    targets: Targets,
    *,
    neighbours: Neighbours = "mean",
    weight: float = 0.1,
    adapted: Targets | None = None,
    operation: Operation | None = None,
    aggregation: Aggregation = "mean",
    slice_axis: int | None = None,
    border: Border = "replicate",
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Neighbour-aware calibration: logits are held to the classes of the neighbours.

    Cross-entropy plus `weight` times the mean of `|tau - logits|`, where `tau` is
    `neighbour_targets`, of the reference or of what morphology has made of it. With
    `neighbours="gaussian"` it is margin SVLS.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class keeps its penalty.
        neighbours: How the neighbours are summed up; see `neighbour_targets`.
        weight: Weight of the penalty; 0 leaves the cross-entropy.
        adapted: Targets of the penalty in place of `targets`.
        operation: Makes them by `adapt_targets`, with `aggregation` and `slice_axis`.
        aggregation: See `adapt_targets`.
        slice_axis: See `adapt_targets`.
        border: What windows see beyond the image; see `neighbour_targets`.
        valid: Voxels that count; all by default, and the border is that of their box.
            Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or `neighbours` is none of the above or needs
            two classes, or both `adapted` and `operation` are given.

    Examples:
        >>> targets = jax.nn.one_hot(jnp.array([[0, 0, 1, 1]]), 2)
        >>> round(float(nacl(4 * targets, targets).mean()), 4)
        0.1848

    References:
        Murugesan et al. (2023), Trust Your Neighbours: Penalty-Based Constraints for
        Model Calibration.
    """
    if operation is not None:
        if adapted is not None:
            raise ValueError("give adapted targets or an operation that makes them")
        adapted = adapt_targets(
            targets,
            operation=operation,
            aggregation=aggregation,
            slice_axis=slice_axis,
            valid=valid,
        )
    source = targets if adapted is None else adapted
    tau = neighbour_targets(source, neighbours, border=border, valid=valid)
    logits, targets = prepare(logits, targets, valid)
    entropy = surprise(jax.nn.log_softmax(logits), targets)
    penalty = jnp.abs(tau.astype(logits.dtype) - logits)
    return voxel_mean(entropy + weight * penalty, valid)


@takes_arrays
def neighbour_targets(
    targets: Targets,
    neighbours: Neighbours = "mean",
    *,
    border: Border = "replicate",
    valid: Valid | None = None,
) -> Map:
    """Class proportions around each voxel.

    The window has three voxels an axis. `mean` weights it equally and `gaussian` as
    `svls_targets` does. `max`, `min`, `median` and `mode` pick one class index of it; an
    order of classes means something for two only, where they are dilation, erosion and
    majority. `wide` is a Gaussian of one voxel's width over nine voxels an axis.

    Args:
        targets: One-hot references, or soft ones for `mean`, `gaussian` and `wide`.
        neighbours: How the window is summed up.
        border: What surrounds the image: its outermost voxels again (`replicate`, as
            published), or no class at all (`zeros`: proportions at the edge sum to less
            than 1). MONAI's NACL is `zeros` with `mean` or `wide`.
        valid: Voxels that count; their bounding box is where the image ends.

    Raises:
        ValueError: `neighbours` or `border` is none of the above, one that picks needs
            two classes, or is to pick among zeros.
    """
    if neighbours not in get_args(Neighbours):
        raise ValueError(
            f"neighbours must be one of {get_args(Neighbours)}, got {neighbours!r}"
        )
    if border not in get_args(Border):
        raise ValueError(f"border must be one of {get_args(Border)}, got {border!r}")
    if border == "zeros" and neighbours not in ("mean", "gaussian", "wide"):
        raise ValueError(f"{neighbours!r} picks a class: its border cannot be 'zeros'")
    if neighbours == "gaussian":
        return svls_targets(targets, border=border, valid=valid)
    _, targets = prepare(targets.astype(jnp.float32), targets, valid)

    def proportion(values):
        weights = WIDE if neighbours == "wide" else THIRDS
        return window_mean(values, weights, border=border, valid=valid)

    if neighbours in ("mean", "wide"):
        return jax.vmap(proportion, in_axes=-1, out_axes=-1)(targets)
    if targets.shape[-1] != 2:
        raise ValueError(
            f"{neighbours!r} orders class indices: it needs 2 classes, "
            f"got {targets.shape[-1]}"
        )
    second = targets[..., 1] > 0.5
    if neighbours == "max":
        picked = morphology(second, "dilation", valid=valid)
    elif neighbours == "min":
        picked = morphology(second, "erosion", valid=valid)
    else:  # the median of an odd number of zeros and ones is their mode
        picked = proportion(second.astype(targets.dtype)) > 0.5
    return jnp.stack([~picked, picked], axis=-1).astype(targets.dtype)
