"""Convolution and its transpose, channels last, in 2-D and 3-D."""

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, fan_uniform, plus
from coverax.train.nets.slices import (
    Sides,
    both_sides,
    convolve_packed,
    convolve_slices,
    packing_is_faster,
    pads,
    slices_are_faster,
)


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
        fan = math.prod(size) * in_channels
        self.kernel = fan_uniform(kit.rngs, (*size, in_channels, channels), fan)
        self.bias = fan_uniform(kit.rngs, (channels,), fan) if bias else None

    def __call__(self, x: Maps) -> NewMaps:
        """Convolve."""
        return together(x, self)[0]


def together(x: Maps, *convs: Conv) -> list[NewMaps]:
    """What each of these convolutions makes of one map, as one convolution.

    Kernels of one size and one step, the channels side by side: the map is gathered once.
    """
    kernel = jnp.concatenate([c.kernel[...] for c in convs], axis=-1)
    y = convolve(
        x.astype(convs[0].dtype), kernel.astype(convs[0].dtype), convs[0].stride
    )
    ends = list(accumulate(c.kernel.shape[-1] for c in convs))
    parts = jnp.split(y, ends[:-1], axis=-1)
    return [
        part if conv.bias is None else plus(part, conv.bias)
        for part, conv in zip(parts, convs, strict=True)
    ]


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
        fan = math.prod(size) * channels  # what PyTorch counts: the outputs of a voxel
        self.kernel = fan_uniform(kit.rngs, (*size, in_channels, channels), fan)
        self.bias = fan_uniform(kit.rngs, (channels,), fan) if bias else None

    def __call__(self, x: Maps) -> NewMaps:
        """Spread every voxel over its taps."""
        kernel = self.kernel[...].astype(self.dtype)
        y = spread(x.astype(self.dtype), kernel, self.stride)
        return y if self.bias is None else plus(y, self.bias)


def convolve(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """Cross-correlation with symmetric zero padding, `(size - 1) // 2` each side.

    A kernel as long as its steps takes no padding: one product a tile. Off the CPU
    kernels of 1 voxel are no product, which would ask for channels last in memory.
    """
    on_cpu = jax.default_backend() == "cpu"
    if kernel.shape[:-2] == stride and (on_cpu or max(stride) > 1):
        return _cut(x, kernel)
    if slices_are_faster(kernel.shape):
        if packing_is_faster(x.shape, kernel.shape, stride):
            return convolve_packed(x, kernel)
        return convolve_slices(x, kernel, stride)
    return convolve_whole(x, kernel, stride)


def convolve_whole(
    x: Maps, kernel: Array, stride: Axes, padding: Sides | None = None
) -> NewMaps:
    """The same by the compiler's convolution of all axes."""
    return lax.conv_general_dilated(
        x,
        kernel,
        stride,
        both_sides(kernel.shape[:-2]) if padding is None else padding,
        dimension_numbers=_order(x, kernel),
    )


def spread(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """Transposed cross-correlation; the output has `size * stride` voxels an axis.

    Voxel `i` adds its tap `t` to the voxel `stride * i + t - (size - 1) // 2`.
    """
    if jax.default_backend() != "cpu":
        return spread_whole(x, kernel, stride)
    if kernel.shape[:-2] == stride:
        return _tiles(x, kernel)
    return spread_phases(x, kernel, stride)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def spread_whole(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """The same by the compiler: zeros between the voxels, then a convolution.

    Its gradients are those of the convolution whose adjoint it is, in the form that a
    GPU's library knows; else the kernel's would begin with changes of axes of both maps.
    """
    size = kernel.shape[:-2]
    pad = _spread_pads(size, stride)
    return lax.conv_general_dilated(
        x,
        jnp.flip(kernel, tuple(range(len(size)))),
        (1,) * len(size),
        [(k - 1 - p, s - 1 + p) for k, p, s in zip(size, pad, stride, strict=True)],
        lhs_dilation=stride,
        dimension_numbers=_order(x, kernel),
    )


def _spread_forward(x, kernel, stride):
    return spread_whole(x, kernel, stride), (x, kernel)


def _spread_backward(stride, inputs, slope):
    x, kernel = inputs
    size = kernel.shape[:-2]
    pad = _spread_pads(size, stride)
    # As many zeros behind as before, which libraries want, unless a voxel lacks some.
    sides = tuple(
        (p, max(p, k - s - p)) for k, p, s in zip(size, pad, stride, strict=True)
    )

    def gathered(kernel):
        return convolve_whole(slope, kernel.swapaxes(-1, -2), stride, sides)

    slope_of_x, of_kernel = jax.vjp(gathered, kernel)
    return slope_of_x, *of_kernel(x)


spread_whole.defvjp(_spread_forward, _spread_backward)


def _spread_pads(size: Axes, stride: Axes) -> Axes:
    """Zeros of the convolution whose adjoint it is: none where it cuts tiles."""
    return (0,) * len(size) if size == stride else pads(size)


def spread_phases(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """The same without the zeros: for CPUs, where the compiler multiplies by them.

    An output voxel `stride * q + r` has the phase `r`. Each phase is a convolution of
    the voxels around `q` with every `stride`-th tap, so all phases are one convolution
    to `prod(stride)` times the channels, and then a change of axes.
    """
    *size, n_in, n_out = kernel.shape
    n = len(size)
    steps = list(zip(size, pads(tuple(size)), stride, strict=True))
    # Neighbours of `q` that reach its tile: up to `after` later, `before` earlier.
    after = [(p + s - 1) // s for _, p, s in steps]
    before = [(k - 1 - p) // s for k, p, s in steps]
    room = [
        (a * s - p, b * s + p + s - k)
        for (k, p, s), a, b in zip(steps, after, before, strict=True)
    ]
    taps = jnp.pad(kernel, (*room, (0, 0), (0, 0)))
    counts = [a + b + 1 for a, b in zip(after, before, strict=True)]
    pairs = (side for pair in zip(counts, stride, strict=True) for side in pair)
    taps = jnp.flip(taps.reshape(*pairs, n_in, n_out), tuple(range(0, 2 * n, 2)))
    order = (*range(0, 2 * n, 2), 2 * n, *range(1, 2 * n, 2), 2 * n + 1)
    phases = taps.transpose(order).reshape(*counts, n_in, -1)
    form = convolve_slices if slices_are_faster(phases.shape) else convolve_whole
    y = form(x, phases, (1,) * n, tuple(zip(before, after, strict=True)))
    return _to_tiles(y, stride)


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
    *size, n_in, _ = kernel.shape
    flat = jnp.moveaxis(kernel, -2, 0).reshape(n_in, -1)
    return _to_tiles(x @ flat, tuple(size))


def _to_tiles(x: Maps, size: Axes) -> NewMaps:
    """The channels of a voxel, a tile's places first, become its tile."""
    n = len(size)
    y = x.reshape(*x.shape[:-1], *size, -1)
    order = [0, *(i for a in range(n) for i in (1 + a, 1 + n + a)), 1 + 2 * n]
    shape = [v * s for v, s in zip(x.shape[1:-1], size, strict=True)]
    return y.transpose(order).reshape(x.shape[0], *shape, -1)


def _order(x: Array, kernel: Array) -> lax.ConvDimensionNumbers:
    spatial = "XYZ"[: x.ndim - 2]
    return lax.conv_dimension_numbers(
        x.shape, kernel.shape, (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    )
