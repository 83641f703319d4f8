"""Losses of the overlap of whole regions."""

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
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or `absent` is unknown.

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
    loss = 1 - (2 * shared + smooth) / (total + smooth)
    present = present_classes(targets, valid=valid)
    return loss * absent_factor(present, absent, loss.dtype)
