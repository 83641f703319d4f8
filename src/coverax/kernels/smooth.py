"""Separable Gaussian smoothing by its width in millimetres.

Each axis is one product with a matrix of weights: the whole kernel, not truncated, and
the fast path of any accelerator. Weights are normalised over the voxels that count, so
that a constant map stays constant up to its border.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from coverax.engine.spacing import Spacing
from coverax.kernels.arrays import Map, Valid, takes_arrays
from coverax.kernels.distance import traced_spacing

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@takes_arrays
def smooth(
    probs: Map,
    fwhm_mm: float,
    spacing_mm: Spacing | Float[Array, "..."],
    *,
    valid: Valid = None,
) -> Float[Array, "batch *spatial"]:
    """Smooth maps with a normalised Gaussian.

    Args:
        probs: Maps of any number of axes.
        fwhm_mm: Full width of the kernel at half of its maximum.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`.
        valid: Voxels that count; others carry no weight and get 0.

    Returns:
        float32 maps, within the range of what they average, to rounding.

    Raises:
        ValueError: A spacing is not positive and finite, or does not fit the shape.
    """
    return _smooth(probs, fwhm_mm, traced_spacing(spacing_mm, probs.shape), valid)


@jax.jit
def _smooth(probs, fwhm_mm, spacing_mm, valid):
    sigma = jnp.asarray(fwhm_mm / FWHM_PER_SIGMA, jnp.float32)
    values = probs
    weight = jnp.ones_like(values) if valid is None else valid.astype(jnp.float32)

    def one_case(values, spacing_mm):
        for axis in range(values.ndim):
            index = jnp.arange(values.shape[axis], dtype=jnp.float32)
            steps = (index[:, None] - index[None]) * (spacing_mm[axis] / sigma)
            product = jnp.tensordot(
                jnp.exp(-0.5 * steps**2),
                values,
                axes=(1, axis),
                precision=lax.Precision.HIGHEST,
            )
            values = jnp.moveaxis(product, 0, axis)
        return values

    total = jax.vmap(one_case)(values * weight, spacing_mm)
    norm = jax.vmap(one_case)(weight, spacing_mm)
    return jnp.where(weight > 0, total / jnp.where(norm > 0, norm, 1.0), 0.0)
