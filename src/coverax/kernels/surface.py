"""Exact distance to the surface where a map crosses a cut, between voxel centres.

Along every lattice edge whose ends lie on different sides of the cut, linear
interpolation places one crossing. The distance to crossings on edges of one direction
is a distance transform whose first pass measures to crossings instead of voxels; the
distance to the surface is the least over the directions. Lattice distances take few
values and tie from case to case; these do not.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from coverax.engine.spacing import Spacing
from coverax.kernels.arrays import Map, Valid, takes_arrays
from coverax.kernels.distance import (
    each_case,
    in_pieces,
    lower_envelope,
    traced_spacing,
)


@takes_arrays
def surface_distance(
    probs: Map,
    cut: float,
    spacing_mm: Spacing | Float[Array, "..."],
    *,
    valid: Valid = None,
) -> Float[Array, "batch *spatial"]:
    """Signed distance of every voxel centre to the surface `{probs = cut}`.

    The surface is known by its crossings of lattice edges, so a distance is at most the
    lattice distance of `signed_distance` to the same mask.

    Args:
        probs: Maps of any number of axes; no NaN.
        cut: Level of the surface; `{probs >= cut}` is inside.
        spacing_mm: Edge lengths of a voxel, `[axes]` or `[batch, axes]`.
        valid: Voxels that count; an edge counts with both its ends. Others get 0.

    Returns:
        Millimetres, float32, positive inside; without a crossing `-inf` outside and
        `inf` inside.

    Raises:
        ValueError: A spacing is not positive and finite, or does not fit the shape.
    """
    spacing = traced_spacing(spacing_mm, probs.shape)
    return _surface_distance(probs, cut, spacing, valid)


@jax.jit
def _surface_distance(probs, cut, spacing_mm, valid):
    level = jnp.asarray(cut, jnp.float32)
    arrays = (probs,) if valid is None else (probs, valid)
    least = jnp.full(probs.shape, jnp.inf, jnp.float32)
    for direction in range(1, probs.ndim):
        squared = _squared_to_crossings(level, direction, spacing_mm, *arrays)
        least = jnp.minimum(least, squared)
    distance = jnp.sqrt(least)
    signed = jnp.where(probs >= level, distance, -distance)
    return signed if valid is None else jnp.where(valid, signed, 0.0)


def _squared_to_crossings(level, direction, spacing_mm, *arrays):
    """Squared distance of every voxel to crossings on edges of one direction."""
    edge = each_case(spacing_mm[:, direction - 1], arrays[0].ndim)

    def along(_, values, counted=None):
        return (_steps_to_crossing(values, level, counted, direction) * edge) ** 2

    blank = jnp.zeros(arrays[0].shape, jnp.float32)
    squared = in_pieces(along, direction, blank, *arrays)
    for axis in range(1, squared.ndim):
        if axis != direction:
            squared = lower_envelope(squared, spacing_mm[:, axis - 1], axis)
    return squared


def _steps_to_crossing(values, level, counted, axis):
    """Voxels to the nearest crossing along one axis, `inf` where there is none."""
    n = values.shape[axis]
    if n == 1:
        return jnp.full(values.shape, jnp.inf, jnp.float32)

    def ends(array):
        return (
            lax.slice_in_dim(array, 0, n - 1, axis=axis),
            lax.slice_in_dim(array, 1, n, axis=axis),
        )

    low, high = ends(values)
    crosses = (low >= level) != (high >= level)
    if counted is not None:
        low_counts, high_counts = ends(counted)
        crosses &= low_counts & high_counts
    rise = jnp.where(crosses, high - low, 1.0)
    position = lax.broadcasted_iota(jnp.float32, low.shape, axis) + (level - low) / rise

    def beside(array, before, after, fill):
        pads = [(0, 0)] * array.ndim
        pads[axis] = (before, after)
        return jnp.pad(array, pads, constant_values=fill)

    last = beside(jnp.where(crosses, position, -jnp.inf), 1, 0, -jnp.inf)
    following = beside(jnp.where(crosses, position, jnp.inf), 0, 1, jnp.inf)
    index = lax.broadcasted_iota(jnp.float32, values.shape, axis)
    return jnp.minimum(
        index - lax.cummax(last, axis),
        lax.cummin(following, axis, reverse=True) - index,
    )
