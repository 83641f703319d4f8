"""Losses of the overlap of whole regions."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.losses._voxels import (
    Absent,
    Map,
    Targets,
    Valid,
    absent_factor,
    prepare,
    present_classes,
    takes_arrays,
    voxel_sum,
)


@takes_arrays
def soft_dice(
    probs: Map,
    targets: Targets,
    *,
    absent: Absent = "include",
    squared: bool = True,
    smooth: float = 1e-5,
    batch: bool = False,
    background: bool = True,
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Soft Dice loss `1 - (2 sum p y + smooth) / (sum p^2 + sum y^2 + smooth)`.

    Args:
        probs: Probabilities of a softmax or of independent sigmoids.
        targets: One-hot, multi-label or soft references.
        absent: A class without a voxel in the reference of an example: `include` gives
            nearly 1 wherever any probability is left, and 0 without any; `reference`
            gives 0; `skip` gives 0 and scales the others, so that the mean over classes
            is the mean over the present ones.
        squared: Squares in the denominator, as first published and in the published
            runs with the calibration error; else plain sums.
        smooth: Keeps the quotient finite for an empty class.
        batch: Sums run over the voxels of all examples, which then share one value a
            class (of the examples of one device, where several share a batch).
        background: Whether class 0 counts; without, its loss is 0 and the others grow,
            so that the mean over classes is the mean over the others.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, `absent` is unknown, or the background is the
            only class and does not count.

    Examples:
        >>> import jax.numpy as jnp
        >>> probs = jnp.array([[[0.5], [0.5]]])
        >>> round(float(soft_dice(probs, jnp.array([[[1], [0]]]))[0, 0]), 4)
        0.3333

    References:
        Milletari et al. (2016), V-Net: Fully Convolutional Neural Networks for
        Volumetric Medical Image Segmentation.
    """
    probs, targets = prepare(probs, targets, valid)
    shared = voxel_sum(probs * targets, valid)
    power = 2 if squared else 1
    total = voxel_sum(probs**power + targets**power, valid)
    present = present_classes(targets, valid=valid)
    if batch:
        shared, total = (
            jnp.broadcast_to(sums.sum(axis=0), sums.shape) for sums in (shared, total)
        )
        present = jnp.broadcast_to(present.any(axis=0), present.shape)
    loss = 1 - (2 * shared + smooth) / (total + smooth)
    if background:
        return loss * absent_factor(present, absent, loss.dtype)
    n_classes = loss.shape[1]
    if n_classes < 2:
        raise ValueError("background=False needs a class beside the background")
    others = loss[:, 1:] * absent_factor(present[:, 1:], absent, loss.dtype)
    return jnp.pad(others * n_classes / (n_classes - 1), ((0, 0), (1, 0)))
