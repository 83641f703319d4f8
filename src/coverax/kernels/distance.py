"""Exact Euclidean distance transforms, anisotropic, batched.

The squared distance separates over axes: the nearest site along one axis by two running
extremes, then along each further axis the lower envelope of parabolas,

    squared(i) = min_j  squared(j) + spacing^2 (i - j)^2.

An accelerator prefers regular work to little work, so the envelope runs over slabs of
source positions j, each broadcast to all i: no stack, no gather, and beside the volume
one copy of it. Slabs without a site (all that lie outside the box of a lesion) are
passed over.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from coverax.engine.spacing import Spacing, batched_spacing
from coverax.kernels.arrays import Mask, Valid, takes_arrays

# Source positions folded into one pass over the volume.
_SLAB = 16
# A volume is worked on in so many pieces, each in its place.
_PIECES = 8
# Axes up to this length are indexed in 16 bits, which halves the memory of a pass.
_SHORT_AXIS = 1 << 14


@takes_arrays
def signed_distance(
    mask: Mask,
    spacing_mm: Spacing | Float[Array, "..."],
    *,
    valid: Valid = None,
) -> Float[Array, "batch *spatial"]:
    """Signed Euclidean distance of every voxel to the other side of its mask.

    Inside it is the distance to the nearest background voxel, outside minus the
    distance to the nearest foreground voxel, between voxel centres: no voxel has 0.

    Args:
        mask: Masks of any number of axes.
        spacing_mm: Edge lengths of a voxel, `[axes]`, or `[batch, axes]` for one per
            case.
        valid: Voxels that count; all by default. Others are never a site and get 0.

    Returns:
        Millimetres, float32, positive inside; `-inf` everywhere for an empty mask and
        `inf` for a full one.

    Raises:
        ValueError: A spacing is not positive and finite, or the shapes do not fit.

    References:
        Felzenszwalb and Huttenlocher (2012), Distance Transforms of Sampled Functions.
    """
    spacing = traced_spacing(spacing_mm, mask.shape)
    _check_valid(mask, valid)
    return _signed_distance(mask, spacing, valid)


@jax.jit
def _signed_distance(mask, spacing_mm, valid):
    def one_side(side, signed):
        # Inside, side 1, the sites are the background.
        own = mask == (side == 1)
        sites = ~own if valid is None else ~own & valid
        distance = _distance(sites, spacing_mm)
        counted = own if valid is None else own & valid
        return jnp.where(counted, jnp.where(side == 1, distance, -distance), signed)

    # One side after the other, so that they share their memory.
    return lax.fori_loop(0, 2, one_side, jnp.zeros(mask.shape, jnp.float32))


def _distance(sites, spacing_mm):
    """Distance of every voxel to the nearest site of its case, `inf` without one."""
    # The cheap first pass goes along the longest axis: it needs no envelope there.
    first = 1 + int(np.argmax(sites.shape[1:]))
    edge = each_case(spacing_mm[:, first - 1], sites.ndim)

    def along_first(_, sites):
        return (_steps_to_site(sites, first) * edge) ** 2

    blank = jnp.zeros(sites.shape, jnp.float32)
    squared = in_pieces(along_first, first, blank, sites)
    for axis in range(1, sites.ndim):
        if axis != first:
            squared = lower_envelope(squared, spacing_mm[:, axis - 1], axis)
    return jnp.sqrt(squared)


def each_case(values: Float[Array, " batch"], ndim: int) -> Float[Array, "batch *_"]:
    """A number a case, to be taken times an array of so many axes."""
    return jnp.reshape(values, (-1, *[1] * (ndim - 1)))


def _steps_to_site(sites, axis):
    """Voxels to the nearest site along one axis, float32, `inf` where there is none."""
    n = sites.shape[axis]
    dtype, far = (jnp.int16, _SHORT_AXIS) if n < _SHORT_AXIS else (jnp.int32, 1 << 30)
    index = lax.broadcasted_iota(dtype, sites.shape, axis)
    last = lax.cummax(jnp.where(sites, index, dtype(-far)), axis)
    following = lax.cummin(jnp.where(sites, index, dtype(far)), axis, reverse=True)
    # index + far still fits the type, so neither difference overflows.
    steps = jnp.minimum(index - last, following - index).astype(jnp.float32)
    return jnp.where((last < 0) & (following >= n), jnp.inf, steps)


def lower_envelope(
    squared: Float[Array, "batch *spatial"],
    spacing_mm: Float[Array, " batch"],
    axis: int,
) -> Float[Array, "batch *spatial"]:
    """Lower envelope along an axis of the parabolas that rise from `squared`."""
    if squared.shape[axis] == 1:
        return squared
    envelope = jax.vmap(partial(_envelope, axis=axis - 1))
    return in_pieces(lambda own: envelope(own, spacing_mm), axis, squared)


def in_pieces(
    fn: Callable[..., Array],
    axis: int,
    result: Float[Array, "batch *spatial"],
    *arrays: Shaped[Array, "batch *spatial"],
) -> Float[Array, "batch *spatial"]:
    """`fn(result, *arrays)`, put into the place of `result` piece by piece.

    What `fn` needs beside its arrays is then needed of one piece at a time.

    Args:
        fn: Works on each line along `axis` by itself.
        axis: Pieces are cut across another one, the longest.
        result: Taken, and overwritten.
        arrays: What else `fn` takes.
    """
    others = [a for a in range(1, result.ndim) if a != axis]
    if not others:
        return fn(result, *arrays)
    across = max(others, key=result.shape.__getitem__)
    n = result.shape[across]
    width = -(-n // _PIECES)

    def put(start, width: int, result: Array) -> Array:
        pieces = [
            lax.dynamic_slice_in_dim(array, start, width, across)
            for array in (result, *arrays)
        ]
        return lax.dynamic_update_slice_in_dim(result, fn(*pieces), start, across)

    whole, rest = divmod(n, width)
    result = lax.fori_loop(0, whole, lambda k, own: put(k * width, width, own), result)
    return put(whole * width, rest, result) if rest else result


def _envelope(squared, spacing_mm, axis):
    """The envelope of a piece of one case, whole along the axis."""
    n = squared.shape[axis]
    width = min(_SLAB, n)
    index = lax.broadcasted_iota(jnp.float32, _along(n, axis, squared.ndim), axis)

    def fold(step, envelope):
        # The last slab overlaps its neighbour: a minimum may take a site twice.
        start = jnp.minimum(step * width, n - width)
        slab = lax.dynamic_slice_in_dim(squared, start, width, axis)

        def fold_slab(envelope):
            for k in range(width):
                rise = (index - (start + k).astype(jnp.float32)) * spacing_mm
                source = lax.slice_in_dim(slab, k, k + 1, axis=axis)
                envelope = jnp.minimum(envelope, source + rise * rise)
            return envelope

        has_site = jnp.isfinite(slab).any()
        return lax.cond(has_site, fold_slab, lambda kept: kept, envelope)

    return lax.fori_loop(0, -(-n // width), fold, squared)


def _along(n, axis, ndim):
    return tuple(n if a == axis else 1 for a in range(ndim))


def traced_spacing(spacing_mm, shape):
    """Spacing as `[batch, axes]`; one that is traced has no values to check yet."""
    if isinstance(spacing_mm, Tracer):
        wanted = (shape[0], len(shape) - 1)
        return jnp.broadcast_to(spacing_mm.astype(jnp.float32), wanted)
    return batched_spacing(spacing_mm, shape)


def _check_valid(mask, valid):
    if valid is not None and valid.shape != mask.shape:
        raise ValueError(f"valid has shape {valid.shape}, mask has {mask.shape}")
