"""Cross-entropy against softened references: uniform and spatially varying."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.kernels import window_mean
from coverax.losses._voxels import Border, Map, Targets, Valid, prepare, takes_arrays
from coverax.losses._windows import gaussian_weights
from coverax.losses.entropy import cross_entropy


@takes_arrays
def label_smoothing(
    logits: Map, targets: Targets, *, alpha: float = 0.1, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Cross-entropy against `(1 - alpha) y + alpha / classes`.

    Args:
        logits: Scores before the softmax.
        targets: One-hot or soft references; an absent class keeps its uniform part.
        alpha: Weight of the uniform distribution, in [0, 1].
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or `alpha` lies outside [0, 1].

    Examples:
        >>> logits = jnp.log(jnp.array([[[0.75, 0.25]]]))
        >>> targets = jnp.array([[[1, 0]]])
        >>> round(float(label_smoothing(logits, targets).mean()), 4)
        0.3426

    References:
        Szegedy et al. (2016), Rethinking the Inception Architecture.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must lie in [0, 1], got {alpha}")
    logits, targets = prepare(logits, targets, valid)
    smooth = (1 - alpha) * targets + alpha / targets.shape[-1]
    return cross_entropy(logits, smooth, valid=valid)


@takes_arrays
def svls(
    logits: Map, targets: Targets, *, sigma: float = 1.0, valid: Valid | None = None
) -> Float[Array, "batch classes"]:
    """Spatially varying label smoothing: cross-entropy against `svls_targets`.

    Inside a region nothing is smoothed; at a boundary the reference takes on the classes
    of the neighbours.

    Args:
        logits: Scores before the softmax.
        targets: One-hot references; an absent class gives 0.
        sigma: Width of the Gaussian, in voxels.
        valid: Voxels that count; all by default, and the border is that of their box.
            Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or `sigma` is not positive.

    Examples:
        >>> targets = jax.nn.one_hot(jnp.array([[0, 0, 1, 1]]), 2)
        >>> round(float(svls(4 * targets, targets).mean()), 4)
        0.5181

    References:
        Islam and Glocker (2021), Spatially Varying Label Smoothing: Capturing
        Uncertainty from Expert Annotations.
    """
    smooth = svls_targets(targets, sigma=sigma, valid=valid)
    return cross_entropy(logits, smooth, valid=valid)


@takes_arrays
def svls_targets(
    targets: Targets,
    *,
    sigma: float = 1.0,
    border: Border = "replicate",
    valid: Valid | None = None,
) -> Map:
    """Half of each voxel's reference, half the Gaussian mean of its neighbours.

    The window has three voxels an axis and its weights sum to 1.

    Args:
        targets: One-hot or soft references.
        sigma: Width of the Gaussian, in voxels.
        border: What surrounds the image: its outermost voxels again (`replicate`), or no
            class at all (`zeros`; the targets of its edge then sum to less than 1).
        valid: Voxels that count; their bounding box is where the image ends.

    Raises:
        ValueError: `sigma` is not positive.
    """
    if sigma <= 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    _, targets = prepare(targets.astype(jnp.float32), targets, valid)
    weights = gaussian_weights(sigma)

    def smooth(values):
        return window_mean(values, weights, border=border, valid=valid)

    whole = jax.vmap(smooth, in_axes=-1, out_axes=-1)(targets)
    own = weights[1] ** (targets.ndim - 2)
    return targets / 2 + (whole - own * targets) / (2 * (1 - own))
