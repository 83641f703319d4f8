"""Average calibration error of one image as a loss, with hard or soft bins.

The gap of a bin is the mean of `p - y` over it, so two sums a bin suffice (four for soft
bins), and the gradient is one look-up: it depends on a voxel only through its bin.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from coverax.engine.bins import LEAST_WEIGHT
from coverax.kernels import bin_index
from coverax.losses._binned import behind_tables, binned_sums, looked_up
from coverax.losses._voxels import (
    Absent,
    Map,
    Targets,
    Valid,
    absent_factor,
    check_shapes,
    present_classes,
    takes_arrays,
)


@takes_arrays
def hard_l1_ace(
    probs: Map,
    targets: Targets,
    *,
    n_bins: int = 20,
    absent: Absent = "reference",
    ignored: Sequence[int] = (),
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Hard-binned marginal L1 average calibration error of each image and class.

    `mean over occupied bins of |mean p - mean y|`. The bin of a voxel is taken as a
    constant, so the gradient is `sign(gap_k) / (n_occupied * count_k)` for each voxel of
    bin k, and 0 where the gap is 0.

    Args:
        probs: Probabilities of a softmax or of independent sigmoids.
        targets: One-hot, multi-label or soft references; constants, no gradient.
        n_bins: Number of equal bins of [0, 1], each open on the left.
        absent: A class without a voxel in the reference of an example: `reference` gives
            0 and stays in a mean over classes; `skip` gives 0 and scales the others, so
            that the mean over classes is the mean over the present ones; `include` gives
            its calibration error like any other.
        ignored: Classes that give 0 and stay in a mean over classes, as MONAI's mean
            counts what it ignores (its background is class 0); under `skip` the others
            are scaled.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or an option is unknown.

    Examples:
        >>> probs = jnp.array([[[0.7], [0.3], [0.1], [0.9]]])
        >>> targets = jnp.array([[[1], [0], [0], [1]]])
        >>> round(float(hard_l1_ace(probs, targets, n_bins=5)[0, 0]), 4)
        0.2

    References:
        Barfoot et al. (2024), Average Calibration Error: A Differentiable Loss for
        Improved Reliability in Image Segmentation.
    """
    factor = _factor(probs, targets, absent, ignored, valid)
    return _hard(n_bins, probs, targets, factor, valid)


@takes_arrays
def soft_l1_ace(
    probs: Map,
    targets: Targets,
    *,
    n_bins: int = 20,
    absent: Absent = "reference",
    ignored: Sequence[int] = (),
    valid: Valid | None = None,
) -> Float[Array, "batch classes"]:
    """Soft-binned marginal L1 average calibration error of each image and class.

    Each voxel shares itself between the two nearest bin centres, linearly, and belongs
    wholly to the end bins beyond their centres. The loss is the mean of the weighted
    gaps over bins of weight 0.01 and more. Unlike with hard bins, the gradient also moves
    voxels between bins; at a bin centre it is the one from the right.

    Args:
        probs: Probabilities of a softmax or of independent sigmoids.
        targets: One-hot, multi-label or soft references; constants, no gradient.
        n_bins: Number of equal bins of [0, 1].
        absent: A class without a voxel in the reference of an example: `reference` gives
            0 and stays in a mean over classes; `skip` gives 0 and scales the others, so
            that the mean over classes is the mean over the present ones; `include` gives
            its calibration error like any other.
        ignored: Classes that give 0 and stay in a mean over classes, as MONAI's mean
            counts what it ignores (its background is class 0); under `skip` the others
            are scaled.
        valid: Voxels that count; all by default. Without any the loss is 0.

    Raises:
        ValueError: The shapes do not fit, or an option is unknown.

    Examples:
        >>> probs = jnp.array([[[0.65], [0.25], [0.15], [0.95]]])
        >>> targets = jnp.array([[[1], [0], [0], [1]]])
        >>> round(float(soft_l1_ace(probs, targets, n_bins=5)[0, 0]), 4)
        0.23

    References:
        Barfoot et al. (2025), Average Calibration Losses for Reliable Uncertainty in
        Medical Image Segmentation.
    """
    factor = _factor(probs, targets, absent, ignored, valid)
    return _soft(n_bins, probs, targets, factor, valid)


def _factor(probs, targets, absent, ignored, valid):
    check_shapes(probs, targets, valid)
    dtype = jnp.promote_types(probs.dtype, jnp.float32)
    n_classes = probs.shape[-1]
    if not set(ignored) <= set(range(n_classes)):
        raise ValueError(f"ignored takes classes 0 to {n_classes - 1}, got {ignored}")
    counts = np.isin(np.arange(n_classes), list(ignored), invert=True)[None, :]
    present = present_classes(targets, valid=valid) & counts
    return absent_factor(present, absent, dtype) * counts.astype(dtype)


def _mean_gap(weight, gap_sum, least):
    """Mean gap over bins of some weight; of each bin its mean gap and slope; their number.

    The slope of a bin is the derivative by its gap sum.
    """
    # Written so that NaN counts as used: a NaN in the map must not be passed over.
    used = ~(weight < least) & (weight != 0)
    n_used = used.sum(axis=-1, keepdims=True).astype(weight.dtype)
    n_shared = jnp.maximum(n_used, 1)
    safe = jnp.where(used, weight, 1)
    mean = jnp.where(used, gap_sum / safe, 0)
    loss = jnp.sum(jnp.abs(mean) / n_shared, axis=-1)
    slope = jnp.where(used, jnp.sign(gap_sum) / (safe * n_shared), 0)
    return loss, mean, slope, n_used


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _hard(n_bins, probs, targets, factor, valid):
    return _hard_forward(n_bins, probs, targets, factor, valid)[0]


def _hard_forward(n_bins, probs, targets, factor, valid):
    def rows(p, y):
        return bin_index(p, n_bins), [jnp.ones_like(p), p - y]

    sums = binned_sums(probs, targets, valid, rows, n_bins, 2)
    loss, _, slope, n_used = _mean_gap(sums[..., 0], sums[..., 1], 0)
    return factor * loss, (probs, slope * factor[..., None], n_used, valid)


def _hard_backward(n_bins, residuals, cotangent):
    probs, slope, n_used, valid = residuals
    table = slope * cotangent[..., None]

    def by_voxel(table):
        return looked_up(table, bin_index(probs, n_bins))

    grad = behind_tables(by_voxel, (table,), n_used, probs)
    return _cotangents(grad, probs, valid)


_hard.defvjp(_hard_forward, _hard_backward)


def _cotangents(grad, probs, valid):
    """Gradient for the map; the rest are constants."""
    if valid is not None:
        grad = jnp.where(valid[..., None], grad, 0)
    return grad.astype(probs.dtype), None, None, None


def _between_centres(probs, n_bins):
    """Interval j of 0..n_bins between centres j - 1 and j, and the place in it.

    In the end half-bins the place is the only neighbour's: 1 in the first, 0 in the last.
    """
    u = jnp.clip(probs, 0, 1) * n_bins + 0.5
    interval = jnp.clip(jnp.floor(u), 0, n_bins)
    t = jnp.where(interval == 0, 1, jnp.where(interval == n_bins, 0, u - interval))
    return interval.astype(jnp.int32), t


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _soft(n_bins, probs, targets, factor, valid):
    return _soft_forward(n_bins, probs, targets, factor, valid)[0]


def _soft_forward(n_bins, probs, targets, factor, valid):
    def rows(p, y):
        interval, t = _between_centres(p, n_bins)
        # Left and right shares apart: as differences they would lose small weights.
        return interval, [1 - t, t, (1 - t) * (p - y), t * (p - y)]

    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}")
    sums = binned_sums(probs, targets, valid, rows, n_bins + 1, 4)
    weight = sums[..., 1:, 0] + sums[..., :-1, 1]
    gap_sum = sums[..., 1:, 2] + sums[..., :-1, 3]
    loss, mean, slope, n_used = _mean_gap(weight, gap_sum, LEAST_WEIGHT)
    slope = slope * factor[..., None]
    return factor * loss, (probs, targets, slope, slope * mean, n_used, valid)


def _soft_backward(n_bins, residuals, cotangent):
    """Two numbers an interval and the place in it.

    With `g = slope`, `m = mean gap`, `d = p - y`, between the centres k and k + 1:
    `(1 - t) g_k + t g_k+1 + n_bins [g_k+1 (d - m_k+1) - g_k (d - m_k)]`,
    that is `base + rise (t + n_bins d)`.
    """
    probs, targets, slope, pull, n_used, valid = residuals
    slope, pull = slope * cotangent[..., None], pull * cotangent[..., None]
    inner = slope[..., :-1] + n_bins * (pull[..., :-1] - pull[..., 1:])
    base = jnp.concatenate([slope[..., :1], inner, slope[..., -1:]], axis=-1)
    rise = jnp.pad(jnp.diff(slope, axis=-1), ((0, 0), (0, 0), (1, 1)))

    def by_voxel(base, rise):
        p, y = probs.astype(slope.dtype), targets.astype(slope.dtype)
        interval, t = _between_centres(p, n_bins)
        steps = t + n_bins * (p - y)
        return looked_up(base, interval) + looked_up(rise, interval) * steps

    grad = behind_tables(by_voxel, (base, rise), n_used, probs)
    return _cotangents(grad, probs, valid)


_soft.defvjp(_soft_forward, _soft_backward)
