"""SegResNet: residual encoder with norms first, light decoder by interpolation.

References:
    Myronenko (2018), 3D MRI Brain Tumor Segmentation Using Autoencoder Regularization
    (without its autoencoder branch).
"""

from dataclasses import dataclass

import jax
from flax import nnx

from coverax.train.nets.conv import Conv
from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, apply, require
from coverax.train.nets.norm import GroupNorm
from coverax.train.nets.resample import enlarge


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of SegResNet.

    Attributes:
        channels: Channels of the finest stage; each coarser one has twice as many.
        blocks_down: Residual blocks of each stage of the encoder, finest first.
        blocks_up: Residual blocks of each stage of the decoder, coarsest first.
        groups: Groups of the norms.
    """

    channels: int = 32
    blocks_down: tuple[int, ...] = (1, 2, 2, 4)
    blocks_up: tuple[int, ...] = (1, 1, 1)
    groups: int = 8

    def __post_init__(self):
        require(
            len(self.blocks_up) == len(self.blocks_down) - 1,
            "blocks_up needs one number a stage but the coarsest",
        )
        require(
            self.channels % self.groups == 0,
            f"channels {self.channels} must be a multiple of groups {self.groups}",
        )

    @property
    def divisor(self) -> Axes:
        """A step of 2 into each stage but the first."""
        return (2 ** len(self.blocks_up),) * 3


class Net(nnx.Module):
    """The net.

    Shapes: `[batch, *spatial, in_channels]` to one `[batch, *spatial, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        widths = [sizes.channels << i for i in range(len(sizes.blocks_down))]
        groups = sizes.groups
        self.rematerialise = kit.rematerialise
        self.stem = Conv(kit, in_channels, widths[0], bias=False)
        self.encoder = nnx.List(
            [
                Stage(kit, width, n_blocks, groups, step_from=before)
                for before, width, n_blocks in zip(
                    (None, *widths), widths, sizes.blocks_down, strict=False
                )
            ]
        )
        self.decoder = nnx.List(
            [
                Rise(kit, width, n_blocks, groups)
                for width, n_blocks in zip(widths, sizes.blocks_up[::-1], strict=False)
            ]
        )
        self.norm = GroupNorm(kit, widths[0], groups=groups)
        self.head = Conv(kit, widths[0], n_classes, size=1)

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the finest stage."""
        again = self.rematerialise
        x = self.stem(x)
        skips = []
        for stage in self.encoder:
            x = apply(stage, x, rematerialise=again)
            skips.append(x)
        for i in reversed(range(len(self.decoder))):
            x = apply(self.decoder[i], x, skips[i], rematerialise=again)
        return (self.head(jax.nn.relu(self.norm(x))),)


class Block(nnx.Module):
    """Norm, rectifier, convolution, twice, around the identity.

    References:
        He et al. (2016), Identity Mappings in Deep Residual Networks.
    """

    def __init__(self, kit: Kit, channels: int, groups: int):
        self.norm1 = GroupNorm(kit, channels, groups=groups)
        self.conv1 = Conv(kit, channels, channels, bias=False)
        self.norm2 = GroupNorm(kit, channels, groups=groups)
        self.conv2 = Conv(kit, channels, channels, bias=False)

    def __call__(self, x: Maps) -> Maps:
        """Add the convolved map."""
        y = self.conv1(jax.nn.relu(self.norm1(x)))
        return x + self.conv2(jax.nn.relu(self.norm2(y)))


class Stage(nnx.Module):
    """A step into the stage, but for the finest, then its blocks."""

    def __init__(
        self, kit: Kit, channels: int, n_blocks: int, groups: int, step_from: int | None
    ):
        self.step = (
            None
            if step_from is None
            else Conv(kit, step_from, channels, stride=2, bias=False)
        )
        self.blocks = nnx.List([Block(kit, channels, groups) for _ in range(n_blocks)])

    def __call__(self, x: Maps) -> NewMaps:
        """Apply the blocks in turn."""
        if self.step is not None:
            x = self.step(x)
        for block in self.blocks:
            x = block(x)
        return x


class Rise(nnx.Module):
    """Halve the channels, enlarge, add the encoder's map, then the blocks."""

    def __init__(self, kit: Kit, channels: int, n_blocks: int, groups: int):
        self.stride = kit.each(2)
        self.halve = Conv(kit, 2 * channels, channels, size=1, bias=False)
        self.blocks = nnx.List([Block(kit, channels, groups) for _ in range(n_blocks)])

    def __call__(self, x: Maps, skip: NewMaps) -> NewMaps:
        """Rise to the size of `skip`."""
        y = enlarge(self.halve(x), self.stride) + skip
        for block in self.blocks:
            y = block(y)
        return y
