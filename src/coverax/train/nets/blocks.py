"""Blocks of convolutions that several nets share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from coverax.train.nets.conv import Conv, Upconv
from coverax.train.nets.kit import Kit, Maps, NewMaps
from coverax.train.nets.norm import GroupNorm
from coverax.train.nets.resample import tile_mean

LEAK = 0.01


class ConvNorm(nnx.Module):
    """Convolution, instance norm and, unless `linear`, leaky rectifier."""

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        *,
        size: int = 3,
        stride: int | tuple[int, ...] = 1,
        linear: bool = False,
    ):
        # No bias: the norm takes the mean away.
        self.conv = Conv(
            kit, in_channels, channels, size=size, stride=stride, bias=False
        )
        self.norm = GroupNorm(kit, channels)
        self.linear = linear

    def __call__(self, x: Maps) -> NewMaps:
        """Apply the three in turn."""
        y = self.norm(self.conv(x))
        return y if self.linear else jax.nn.leaky_relu(y, LEAK)


class Residual(nnx.Module):
    """Two convolutions around a shortcut.

    Where the block makes a step the shortcut takes the mean of each tile, and where it
    changes channels a 1-voxel convolution follows.

    References:
        He et al. (2016), Deep Residual Learning for Image Recognition. He et al.
        (2019), Bag of Tricks for Image Classification with Convolutional Neural
        Networks (the shortcut, their variant D).
    """

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        *,
        stride: int | tuple[int, ...] = 1,
    ):
        self.first = ConvNorm(kit, in_channels, channels, stride=stride)
        self.second = ConvNorm(kit, channels, channels, linear=True)
        self.stride = kit.each(stride)
        self.shortcut = (
            ConvNorm(kit, in_channels, channels, size=1, linear=True)
            if in_channels != channels
            else None
        )

    def __call__(self, x: Maps) -> NewMaps:
        """Add the convolved map to the shortcut."""
        y = self.second(self.first(x))
        short = tile_mean(x, self.stride)
        if self.shortcut is not None:
            short = self.shortcut(short)
        return jax.nn.leaky_relu(y + short, LEAK)


class Stage(nnx.Module):
    """Residual blocks, of which the first makes the step into the stage."""

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        n_blocks: int,
        stride: int | tuple[int, ...],
    ):
        steps = [stride, *[1] * (n_blocks - 1)]
        widths = [in_channels, *[channels] * (n_blocks - 1)]
        self.blocks = nnx.List(
            [
                Residual(kit, width, channels, stride=step)
                for width, step in zip(widths, steps, strict=True)
            ]
        )

    def __call__(self, x: Maps) -> NewMaps:
        """Apply the blocks in turn."""
        for block in self.blocks:
            x = block(x)
        return x


class Rise(nnx.Module):
    """Stage of a decoder: enlarge, join the encoder's map, one block.

    `make(kit, in_channels, channels)` gives the block.
    """

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        *,
        make: Callable[..., nnx.Module] = Residual,
        stride: int | tuple[int, ...] = 2,
    ):
        self.up = Upconv(kit, in_channels, channels, stride=stride, bias=False)
        self.block = make(kit, 2 * channels, channels)

    def __call__(self, x: Maps, skip: NewMaps) -> NewMaps:
        """Rise to the size of `skip`."""
        return self.block(jnp.concatenate([self.up(x), skip], axis=-1))
