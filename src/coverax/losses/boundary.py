"""Signed distances of references, and the loss that integrates them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.engine.spacing import Spacing
from coverax.kernels import signed_distance
from coverax.losses._voxels import (
    Map,
    Targets,
    Valid,
    check_shapes,
    prepare,
    takes_arrays,
    voxel_mean,
)

SpacingMm = Spacing | Float[Array, "..."]


@takes_arrays
def boundary(
    probs: Map,
    targets: Targets,
    *,
    spacing_mm: SpacingMm | None = None,
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Boundary loss: mean of the probability times the distance outwards, in mm.

    Probability far outside the region costs, far inside it is rewarded; the loss is
    negative for a good map. Meant beside a region loss, with a rising weight.

    Args:
        probs: Probabilities of a softmax or of independent sigmoids.
        targets: One-hot or multi-label references, foreground above 0.5.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`; 1 mm by default.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Returns:
        Millimetres; 0 for a class that is absent or fills the image, since it has no
        boundary.

    Raises:
        ValueError: The shapes do not fit, or a spacing is not positive and finite.

    Examples:
        >>> targets = jnp.array([[[0], [1], [1], [0]]])
        >>> float(boundary(targets.astype(jnp.float32), targets)[0, 0])
        -0.5

    References:
        Kervadec et al. (2019), Boundary Loss for Highly Unbalanced Segmentation.
    """
    distances = class_distances(targets, spacing_mm=spacing_mm, valid=valid)
    outwards = jnp.where(jnp.isfinite(distances), -distances, 0)
    probs, _ = prepare(probs, targets, valid)
    return voxel_mean(probs * outwards.astype(probs.dtype), valid)


@takes_arrays
def signed_distance_target(
    targets: Targets,
    *,
    spacing_mm: SpacingMm | None = None,
    published_sign: bool = False,
    valid: Valid | None = None,
) -> Map:
    """Signed distance of each class, positive inside, over its largest modulus.

    Args:
        targets: One-hot or multi-label references, foreground above 0.5.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`; only their
            ratios matter. Equal by default.
        published_sign: Positive outside, as in the published code, whose distance term
            prefers the inverted mask.
        valid: Voxels that count; all by default. Others are never a site and get 0.

    Returns:
        Values in [-1, 1]: -1 everywhere for an absent class and 1 for one that fills the
        image.

    Raises:
        ValueError: The shapes do not fit, or a spacing is not positive and finite.

    Examples:
        >>> targets = jnp.array([[[0], [0], [1], [0]]])
        >>> signed_distance_target(targets)[0, :, 0].tolist()
        [-1.0, -0.5, 0.5, -0.5]

    References:
        Liang et al. (2025), We Care Each Pixel: Calibrating on Medical Segmentation
        Model.
    """
    distances = class_distances(targets, spacing_mm=spacing_mm, valid=valid)
    axes = tuple(range(1, distances.ndim - 1))
    largest = jnp.max(jnp.abs(distances), axis=axes, keepdims=True)
    boundless = jnp.isinf(largest)
    # Without a boundary every distance is infinite, or 0 where nothing counts.
    scale = jnp.where(boundless | (largest == 0), 1, largest)
    scaled = jnp.where(boundless, jnp.sign(distances), distances / scale)
    return -scaled if published_sign else scaled


@takes_arrays
def class_distances(
    targets: Targets,
    *,
    spacing_mm: SpacingMm | None = None,
    valid: Valid | None = None,
) -> Map:
    """Signed distance of each class in mm, positive inside; infinite without a boundary.

    Args:
        targets: One-hot or multi-label references, foreground above 0.5.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`; 1 mm by default.
        valid: Voxels that count; all by default. Others are never a site and get 0.
    """
    check_shapes(targets, targets, valid)
    spacing = (1.0,) * (targets.ndim - 2) if spacing_mm is None else spacing_mm
    by_class = [
        signed_distance(targets[..., c] > 0.5, spacing, valid=valid)
        for c in range(targets.shape[-1])
    ]
    return jnp.stack(by_class, axis=-1)
