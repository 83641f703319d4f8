"""3-voxel windows over batched volumes: morphology and local averages.

A window spans three voxels along each axis that it crosses (`slice_axis` names one that
it does not: slice-wise 2-D work on volumes). The edge of the image, or the box of its
valid voxels, is treated as each operation needs: morphology ignores what lies outside,
averages extend the image by replicating it, by mirroring it or by zeros.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from coverax.kernels.arrays import Map, Mask, Valid, takes_arrays

Operation = Literal[
    "none",
    "erosion",
    "dilation",
    "opening",
    "closing",
    "internal",
    "external",
    "gradient",
]
Border = Literal["replicate", "mirror", "zeros"]


@takes_arrays
def morphology(
    mask: Mask,
    operation: Operation,
    *,
    slice_axis: int | None = None,
    valid: Valid = None,
) -> Bool[Array, "batch *spatial"]:
    """Binary morphology with a full window of three voxels an axis.

    `internal` is the mask without its erosion, `external` its dilation without the mask,
    `gradient` both boundaries together.

    Args:
        mask: Masks of any number of axes.
        operation: What to do; `none` returns the mask.
        slice_axis: Spatial axis that the window does not cross.
        valid: Voxels that count; others are foreground to no dilation and background to
            no erosion, and are background in the result.

    Raises:
        ValueError: The operation is unknown, or there is no such axis.
    """
    if operation not in get_args(Operation):
        raise ValueError(
            f"operation must be one of {get_args(Operation)}, got {operation!r}"
        )
    axes = window_axes(mask.ndim - 1, slice_axis)

    def eroded(x):
        return ~_spread(~_within(x, valid, outside=True), axes)

    def dilated(x):
        return _spread(_within(x, valid, outside=False), axes)

    results = {
        "none": lambda x: x,
        "erosion": eroded,
        "dilation": dilated,
        "opening": lambda x: dilated(eroded(x)),
        "closing": lambda x: eroded(dilated(x)),
        "internal": lambda x: x & ~eroded(x),
        "external": lambda x: dilated(x) & ~x,
        "gradient": lambda x: dilated(x) & ~eroded(x),
    }
    return _within(results[operation](mask), valid, outside=False)


@takes_arrays
def window_mean(
    values: Map,
    weights: tuple[float, ...],
    *,
    border: Border,
    slice_axis: int | None = None,
    valid: Valid = None,
) -> Float[Array, "batch *spatial"]:
    """Separable weighted mean of the window: the same weights along each axis.

    Args:
        values: Volumes; what lies outside `valid` is not looked at, but inside the box of
            the valid voxels it is.
        weights: From left to right, an odd number: mostly left, centre, right.
        border: `replicate` repeats the outermost voxel of the box, `mirror` reflects the
            box about it (once; a longer window meets its end again), `zeros` puts
            nothing around it.
        slice_axis: Spatial axis that the window does not cross.
        valid: Voxels that count; their bounding box is where the image ends.
    """
    for axis in window_axes(values.ndim - 1, slice_axis):
        n = values.shape[axis]
        wide = _extended(values, axis, len(weights) // 2, border, valid)
        parts = [
            weight * jax.lax.slice_in_dim(wide, k, k + n, axis=axis)
            for k, weight in enumerate(weights)
        ]
        values = sum(parts[1:], start=parts[0])
    return jnp.asarray(values)


def window_axes(n_spatial: int, slice_axis: int | None) -> tuple[int, ...]:
    """Array axes that a window crosses, after the batch axis."""
    if slice_axis is None:
        return tuple(range(1, n_spatial + 1))
    if not -n_spatial <= slice_axis < n_spatial:
        raise ValueError(f"slice_axis {slice_axis} of {n_spatial} spatial axes")
    return tuple(a + 1 for a in range(n_spatial) if a != slice_axis % n_spatial)


def _within(mask, valid, *, outside):
    if valid is None:
        return mask
    return mask | ~valid if outside else mask & valid


def _spread(mask, axes):
    """Every voxel with a true one in its window; beyond the edge nothing is true."""
    for axis in axes:
        n = mask.shape[axis]
        pads = [(1, 1) if a == axis else (0, 0) for a in range(mask.ndim)]
        wide = jnp.pad(mask, pads)
        before = jax.lax.slice_in_dim(wide, 0, n, axis=axis)
        after = jax.lax.slice_in_dim(wide, 2, n + 2, axis=axis)
        mask = mask | before | after
    return mask


def _extended(values, axis, reach, border, valid):
    """More voxels at both ends of an axis, or of the box of valid voxels."""
    if border not in get_args(Border):
        raise ValueError(f"border must be one of {get_args(Border)}, got {border!r}")
    n = values.shape[axis]
    places = np.arange(-reach, n + reach)
    if valid is None:
        return _taken(values, places, 0, n - 1, axis, border, np)
    others = tuple(a for a in range(1, valid.ndim) if a != axis)
    occupied = valid.any(axis=others)
    first = jnp.argmax(occupied, axis=1).astype(jnp.int32)
    last = n - 1 - jnp.argmax(occupied[:, ::-1], axis=1).astype(jnp.int32)

    def one_case(values, first, last):
        index = jnp.asarray(places, jnp.int32)
        return _taken(values, index, first, last, axis - 1, border, jnp)

    return jax.vmap(one_case)(values, first, last)


def _taken(values, places, first, last, axis, border, xp):
    """Values at places of an axis; what lies outside [first, last] is of the border."""
    inner = places
    if border == "mirror":
        inner = first + abs(inner - first)
        inner = last - abs(last - inner)
    taken = jnp.take(values, xp.clip(inner, first, last), axis=axis)
    if border != "zeros":
        return taken
    inside = (places >= first) & (places <= last)
    along = [-1 if a == axis else 1 for a in range(values.ndim)]
    return jnp.where(inside.reshape(along), taken, 0)
