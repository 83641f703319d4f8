"""Attention within windows of a map, and the merging of tokens.

References:
    Liu et al. (2021), Swin Transformer: Hierarchical Vision Transformer Using Shifted
    Windows.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from coverax.train.nets.attention import (
    Attention,
    Bias,
    Linear,
    Perceptron,
)
from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, small_normal
from coverax.train.nets.norm import LayerNorm

Windows = Float[Array, "windows tokens channels"]
Apart = Float[Array, "windows tokens tokens"]
# Added where two tokens of a window were not neighbours before the shift.
APART = -100.0


class WindowBlock(nnx.Module):
    """Transformer block whose attention stays within windows.

    Shifted, the windows lie half a side further, around the volume's borders; tokens
    that meet only there do not see one another. A side that fits into one window is
    neither cut nor shifted.

    Shapes: `[batch, *spatial, channels]` to the same.
    """

    def __init__(
        self,
        kit: Kit,
        channels: int,
        n_heads: int,
        *,
        window: int,
        hidden: int,
        shifted: bool,
    ):
        self.window = kit.each(window)
        self.shifted = shifted
        self.norm1 = LayerNorm(kit, channels)
        self.attention = Attention(kit, channels, n_heads, qkv_bias=True)
        # A bias for every offset of two tokens of a window.
        offsets = math.prod(2 * side - 1 for side in self.window)
        self.offsets = small_normal(kit.rngs, (offsets, n_heads))
        self.norm2 = LayerNorm(kit, channels)
        self.perceptron = Perceptron(kit, channels, hidden)

    def __call__(self, x: Maps) -> Maps:
        """Mix within windows, then each token's channels."""
        x = x + self.mixed(self.norm1(x))
        return x + self.perceptron(self.norm2(x))

    def mixed(self, x: Maps) -> Maps:
        """Cut, attend, put together."""
        sides = x.shape[1:-1]
        window = tuple(map(min, sides, self.window))
        shift = tuple(
            w // 2 if self.shifted and w < side else 0
            for side, w in zip(sides, window, strict=True)
        )
        axes = tuple(range(1, x.ndim - 1))
        ends = [-side % w for side, w in zip(sides, window, strict=True)]
        y = jnp.pad(x, ((0, 0), *((0, end) for end in ends), (0, 0)))
        y = jnp.roll(y, tuple(-s for s in shift), axes)
        tokens = cut(y, window)
        tokens = self.attention(tokens, self.bias(y.shape[1:-1], window, shift))
        y = jnp.roll(join(tokens, y.shape, window), shift, axes)
        return jax.lax.slice(y, (0,) * y.ndim, x.shape)

    def bias(self, sides: Axes, window: Axes, shift: Axes) -> Bias:
        """What is added to the scores: by offset, and apart where a border lies between."""
        count = math.prod(window)
        # A window that the map cuts short takes the first rows of the whole one's
        # index, as the published code does: its weights were trained so.
        index = offset_index(self.window)[:count, :count]
        by_offset = jnp.moveaxis(self.offsets[...][index], -1, 0)[None]
        if not any(shift):
            return by_offset
        apart = apart_after_shift(sides, window, shift)[:, None]
        shape = (len(apart), *by_offset.shape[1:])
        return jnp.broadcast_to(by_offset, shape) + jnp.broadcast_to(apart, shape)


class Merge(nnx.Module):
    """Tiles of two tokens a side become one token of twice the channels."""

    def __init__(self, kit: Kit, channels: int):
        self.axes = kit.axes
        tile = 2**kit.axes * channels
        self.norm = LayerNorm(kit, tile)
        self.reduce = Linear(kit, tile, 2 * channels, bias=False)

    def __call__(self, x: Maps) -> NewMaps:
        """Halve every side."""
        tiles = cut(x, (2,) * self.axes)
        halves = [side // 2 for side in x.shape[1:-1]]
        return self.reduce(self.norm(tiles.reshape(x.shape[0], *halves, -1)))


def cut(x: Maps, window: Axes) -> Windows:
    """Windows as examples of their own, the window being the fast axis of the batch."""
    n = len(window)
    pairs = [(side // w, w) for side, w in zip(x.shape[1:-1], window, strict=True)]
    y = x.reshape(x.shape[0], *itertools.chain(*pairs), x.shape[-1])
    order = [0, *range(1, 2 * n, 2), *range(2, 2 * n + 1, 2), 2 * n + 1]
    return y.transpose(order).reshape(-1, math.prod(window), x.shape[-1])


def join(tokens: Windows, shape: Axes, window: Axes) -> NewMaps:
    """The map of `shape` whose windows are `tokens`."""
    n = len(window)
    counts = [side // w for side, w in zip(shape[1:-1], window, strict=True)]
    y = tokens.reshape(shape[0], *counts, *window, shape[-1])
    order = [0, *itertools.chain(*((1 + a, 1 + n + a) for a in range(n))), 2 * n + 1]
    return y.transpose(order).reshape(shape)


def offset_index(window: Axes) -> np.ndarray:
    """Number of the offset of every pair of tokens, `[tokens, tokens]`."""
    where = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"))
    where = where.reshape(len(window), -1)
    offsets = where[:, :, None] - where[:, None, :]
    sides = [2 * w - 1 for w in window]
    lowest = np.array(window)[:, None, None] - 1
    return np.asarray(np.ravel_multi_index(tuple(offsets + lowest), sides))


def apart_after_shift(sides: Axes, window: Axes, shift: Axes) -> Apart:
    """`APART` for two tokens of a window with a border of the volume between."""
    region = np.zeros(sides, np.float32)
    for axis, (side, w, s) in enumerate(zip(sides, window, shift, strict=True)):
        part = np.searchsorted([side - w, side - s], np.arange(side), side="right")
        shape = [-1 if a == axis else 1 for a in range(len(sides))]
        region = region * 3 + part.reshape(shape).astype(np.float32)
    tokens = cut(jnp.asarray(region)[None, ..., None], window)
    return jnp.where(tokens == tokens.swapaxes(1, 2), 0.0, APART)
