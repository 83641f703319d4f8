"""Convolution and its transpose, channels last, in 2-D and 3-D."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, constant, he_normal, plus
from coverax.train.nets.slices import convolve_slices, pads, slices_are_faster


class Conv(nnx.Module):
    """Convolution whose padding keeps `ceil(size / stride)` for odd kernels.

    A kernel as long as its stride takes no padding and cuts the map into tiles.

    Shapes: `[batch, *spatial, in_channels]` to `[batch, *spatial / stride, channels]`.
    """

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        *,
        size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        bias: bool = True,
    ):
        size = kit.each(size)
        self.stride = kit.each(stride)
        self.dtype = kit.dtype
        self.kernel = he_normal(
            kit.rngs, (*size, in_channels, channels), math.prod(size) * in_channels
        )
        self.bias = constant(0.0, (channels,)) if bias else None

    def __call__(self, x: Maps) -> NewMaps:
        """Convolve."""
        kernel = self.kernel[...].astype(self.dtype)
        y = convolve(x.astype(self.dtype), kernel, self.stride)
        return y if self.bias is None else plus(y, self.bias)


class Upconv(nnx.Module):
    """Transposed convolution, the adjoint of `Conv` with the same size and stride.

    Shapes: `[batch, *spatial, in_channels]` to `[batch, *spatial * stride, channels]`.
    """

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        *,
        size: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 2,
        bias: bool = True,
    ):
        self.stride = kit.each(stride)
        size = self.stride if size is None else kit.each(size)
        self.dtype = kit.dtype
        taps = math.prod(size) / math.prod(self.stride)
        self.kernel = he_normal(
            kit.rngs, (*size, in_channels, channels), round(taps * in_channels)
        )
        self.bias = constant(0.0, (channels,)) if bias else None

    def __call__(self, x: Maps) -> NewMaps:
        """Spread every voxel over its taps."""
        kernel = self.kernel[...].astype(self.dtype)
        y = spread(x.astype(self.dtype), kernel, self.stride)
        return y if self.bias is None else plus(y, self.bias)


def convolve(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """Cross-correlation with symmetric zero padding, `(size - 1) // 2` each side.

    A kernel as long as its steps takes no padding: one product a tile.
    """
    if kernel.shape[:-2] == stride:
        return _cut(x, kernel)
    if slices_are_faster(kernel.shape):
        return convolve_slices(x, kernel, stride)
    return convolve_whole(x, kernel, stride)


def convolve_whole(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """The same by the compiler's convolution of all axes."""
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        [(p, p) for p in pads(kernel.shape[:-2])],
        dimension_numbers=_order(x, kernel),
    )


def spread(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """Transposed cross-correlation; the output has `size * stride` voxels an axis."""
    size = kernel.shape[:-2]
    if size == stride:
        return _tiles(x, kernel)
    low = [k - 1 - p for k, p in zip(size, pads(size), strict=True)]
    high = [low_ + s - 1 for low_, s in zip(low, stride, strict=True)]
    flipped = jnp.flip(kernel, tuple(range(len(size))))
    return lax.conv_general_dilated(
        x,
        flipped,
        (1,) * len(size),
        list(zip(low, high, strict=True)),
        lhs_dilation=stride,
        dimension_numbers=_order(x, kernel),
    )


def _cut(x: Maps, kernel: Array) -> NewMaps:
    """Every tile becomes a voxel: a change of axes and one product."""
    *size, n_in, n_out = kernel.shape
    n = len(size)
    shape = [v // s for v, s in zip(x.shape[1:-1], size, strict=True)]
    pairs = (side for pair in zip(shape, size, strict=True) for side in pair)
    tiles = x.reshape(x.shape[0], *pairs, n_in)
    order = [0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1]
    flat = tiles.transpose(order).reshape(x.shape[0], *shape, -1)
    return flat @ kernel.reshape(-1, n_out)


def _tiles(x: Maps, kernel: Array) -> NewMaps:
    """Every voxel becomes a tile of its own: one product and a change of axes."""
    *size, n_in, n_out = kernel.shape
    n = len(size)
    flat = jnp.moveaxis(kernel, -2, 0).reshape(n_in, -1)
    y = (x @ flat).reshape(*x.shape[:-1], *size, n_out)
    order = [0, *(i for a in range(n) for i in (1 + a, 1 + n + a)), 1 + 2 * n]
    shape = [v * s for v, s in zip(x.shape[1:-1], size, strict=True)]
    return y.transpose(order).reshape(x.shape[0], *shape, n_out)


def _order(x: Array, kernel: Array) -> lax.ConvDimensionNumbers:
    spatial = "XYZ"[: x.ndim - 2]
    return lax.conv_dimension_numbers(
        x.shape, kernel.shape, (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    )
