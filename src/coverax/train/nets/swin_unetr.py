"""Swin UNETR: attention within shifted windows as encoder, convolutions as decoder.

References:
    Hatamizadeh et al. (2022), Swin UNETR: Swin Transformers for Semantic Segmentation
    of Brain Tumors in MRI Images. Liu et al. (2021), Swin Transformer: Hierarchical
    Vision Transformer Using Shifted Windows.
"""

from dataclasses import dataclass

from flax import nnx

from coverax.train.nets.blocks import Residual, Rise
from coverax.train.nets.conv import Conv
from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, apply, require
from coverax.train.nets.norm import LayerNorm
from coverax.train.nets.windows import Merge, WindowBlock


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of Swin UNETR.

    Attributes:
        channels: Channels of the finest stage; each coarser one has twice as many.
        blocks: Transformer blocks of each stage, finest first.
        heads: Heads of each stage.
        window: Tokens along each side of a window.
        ratio: Channels inside the perceptrons, as a multiple of the stage's.
    """

    channels: int = 24
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    ratio: int = 4

    def __post_init__(self):
        require(len(self.blocks) >= 2, "blocks needs at least two stages")
        require(len(self.heads) == len(self.blocks), "heads needs one number a stage")
        for i, heads in enumerate(self.heads):
            width = self.channels << i
            require(
                width % heads == 0,
                f"{width} channels of stage {i} must be a multiple of {heads} heads",
            )

    @property
    def divisor(self) -> Axes:
        """Tokens of 2 voxels, halved by every stage."""
        return (2 ** (len(self.blocks) + 1),) * 3


class Net(nnx.Module):
    """The net.

    Shapes: `[batch, *spatial, in_channels]` to one `[batch, *spatial, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        n, width = len(sizes.blocks), sizes.channels
        widths = [width << i for i in range(n + 1)]
        self.rematerialise = kit.rematerialise
        self.tokens = Conv(kit, in_channels, width, size=2, stride=2)
        self.stages = nnx.List(
            [
                Stage(kit, widths[i], sizes, sizes.blocks[i], sizes.heads[i])
                for i in range(n)
            ]
        )
        self.plain = LayerNorm(kit, width, affine=False)
        self.entry = Residual(kit, in_channels, width)
        # The map above the coarsest passes as it is.
        self.skips = nnx.List([Residual(kit, w, w) for w in widths[: n - 1]])
        self.bottom = Residual(kit, widths[n], widths[n])
        self.decoder = nnx.List(
            [
                Rise(kit, before, after)
                for before, after in zip(widths, (width, *widths), strict=False)
            ]
        )
        self.head = Conv(kit, width, n_classes, size=1)

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the finest stage."""
        again = self.rematerialise
        maps = [apply(self.entry, x, rematerialise=again)]
        y = self.tokens(x)
        skips = [*self.skips, None]
        for stage, skip in zip(self.stages, skips, strict=True):
            kept = self.plain(y)
            maps.append(
                kept if skip is None else apply(skip, kept, rematerialise=again)
            )
            y = stage(y, rematerialise=again)
        y = apply(self.bottom, self.plain(y), rematerialise=again)
        for i in reversed(range(len(self.decoder))):
            y = apply(self.decoder[i], y, maps[i], rematerialise=again)
        return (self.head(y),)


class Stage(nnx.Module):
    """Blocks whose windows are shifted in every second one, then a halving."""

    def __init__(
        self, kit: Kit, channels: int, sizes: Sizes, n_blocks: int, n_heads: int
    ):
        self.blocks = nnx.List(
            [
                WindowBlock(
                    kit,
                    channels,
                    n_heads,
                    window=sizes.window,
                    hidden=sizes.ratio * channels,
                    shifted=i % 2 == 1,
                )
                for i in range(n_blocks)
            ]
        )
        self.merge = Merge(kit, channels)

    def __call__(self, x: Maps, *, rematerialise: bool) -> NewMaps:
        """Mix, then halve."""
        for block in self.blocks:
            x = apply(block, x, rematerialise=rematerialise)
        return self.merge(x)
