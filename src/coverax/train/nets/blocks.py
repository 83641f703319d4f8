"""Blocks of convolutions that several nets share."""

import jax
from flax import nnx

from coverax.train.nets.conv import Conv
from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps
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
        bias: bool = True,
        linear: bool = False,
    ):
        # A bias before the norm has no effect, but nnU-Net's weights have one.
        self.conv = Conv(
            kit, in_channels, channels, size=size, stride=stride, bias=bias
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

    def __init__(self, kit: Kit, in_channels: int, channels: int, stride: Axes):
        self.first = ConvNorm(kit, in_channels, channels, stride=stride)
        self.second = ConvNorm(kit, channels, channels, linear=True)
        self.stride = stride
        self.shortcut = (
            ConvNorm(kit, in_channels, channels, size=1, bias=False, linear=True)
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
