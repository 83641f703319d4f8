"""Gaussian smoothing on the host; twin of `coverax.kernels.smooth`."""

import math

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.spacing import Spacing, batched_spacing

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@takes_numpy
def smooth(
    probs: Float[np.ndarray, "batch *spatial"],
    fwhm_mm: float,
    spacing_mm: Spacing,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> Float[np.ndarray, "batch *spatial"]:
    """Twin of `coverax.kernels.smooth`, equal to 1e-5."""
    sigma = fwhm_mm / FWHM_PER_SIGMA
    out = np.empty(probs.shape, np.float32)
    for i, spacing in enumerate(batched_spacing(spacing_mm, probs.shape)):
        weight = np.ones(probs.shape[1:], np.float32)
        if valid is not None:
            weight = valid[i].astype(np.float32)
        total = _weighted_sums(probs[i] * weight, spacing / sigma)
        norm = _weighted_sums(weight, spacing / sigma)
        out[i] = np.where(weight > 0, total / np.where(norm > 0, norm, 1), 0)
    return out


def _weighted_sums(values, spacing_in_sigmas):
    for axis, step in enumerate(spacing_in_sigmas):
        index = np.arange(values.shape[axis], dtype=np.float32)
        weights = np.exp(-0.5 * (np.subtract.outer(index, index) * step) ** 2)
        product = np.tensordot(weights.astype(np.float32), values, axes=(1, axis))
        values = np.moveaxis(product, 0, axis)
    return values
