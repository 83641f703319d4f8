"""ResNet encoder with a decoder, in the manner of Med3D.

References:
    Chen et al. (2019), Med3D: Transfer Learning for 3D Medical Image Analysis. He et
    al. (2016), Deep Residual Learning for Image Recognition.
"""

from dataclasses import dataclass

from flax import nnx

from coverax.train.nets.blocks import ConvNorm, Residual, Rise, Stage
from coverax.train.nets.conv import Conv, Upconv
from coverax.train.nets.kit import Axes, Kit, Maps, NewMaps, apply, require


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the ResNet; the default is ResNet-18, (3, 4, 6, 3) ResNet-34.

    Attributes:
        channels: Channels of the first stage; each further one has twice as many.
        blocks: Residual blocks of each stage of the encoder, finest first.
        stem: Voxels along each side of the first kernel, odd.
    """

    channels: int = 64
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    stem: int = 7

    def __post_init__(self):
        require(len(self.blocks) >= 2, "blocks needs at least two stages")
        require(self.stem % 2 == 1, f"stem must be odd, not {self.stem}")
        require(self.channels % 2 == 0, f"channels must be even, not {self.channels}")

    @property
    def divisor(self) -> Axes:
        """A step of 2 in the stem and into each stage but the first."""
        return (2 ** len(self.blocks),) * 3


class Net(nnx.Module):
    """The net.

    The finest map of the encoder has half the patch's sides; the last rise has no map
    of the encoder to join, as in Med3D.

    Shapes: `[batch, *spatial, in_channels]` to one `[batch, *spatial, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        widths = [sizes.channels << i for i in range(len(sizes.blocks))]
        fine = sizes.channels // 2
        self.rematerialise = kit.rematerialise
        self.stem = ConvNorm(kit, in_channels, widths[0], size=sizes.stem, stride=2)
        self.encoder = nnx.List(
            [
                Stage(kit, before, width, n_blocks, stride)
                for before, width, n_blocks, stride in zip(
                    (widths[0], *widths),
                    widths,
                    sizes.blocks,
                    (1, *[2] * (len(widths) - 1)),
                    strict=False,
                )
            ]
        )
        self.decoder = nnx.List(
            [
                Rise(kit, before, after)
                for before, after in zip(widths[1:], widths, strict=False)
            ]
        )
        self.up = Upconv(kit, widths[0], fine, bias=False)
        self.last = Residual(kit, fine, fine)
        self.head = Conv(kit, fine, n_classes, size=1)

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the finest stage."""
        again = self.rematerialise
        x = apply(self.stem, x, rematerialise=again)
        skips = []
        for stage in self.encoder:
            x = apply(stage, x, rematerialise=again)
            skips.append(x)
        for i in reversed(range(len(self.decoder))):
            x = apply(self.decoder[i], x, skips[i], rematerialise=again)
        x = apply(self.last, self.up(x), rematerialise=again)
        return (self.head(x),)
