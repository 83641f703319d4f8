"""U-Net with deep supervision, residual or plain, in the shape of nnU-Net's plans.

References:
    Ronneberger et al. (2015), U-Net: Convolutional Networks for Biomedical Image
    Segmentation. Isensee et al. (2021), nnU-Net: A Self-Configuring Method for Deep
    Learning-Based Biomedical Image Segmentation. Isensee et al. (2024), nnU-Net
    Revisited: A Call for Rigorous Validation in 3D Medical Image Segmentation.
"""

from dataclasses import dataclass
from functools import partial

from flax import nnx

from coverax.train.nets.blocks import ConvNorm, Rise, Stage
from coverax.train.nets.conv import Conv
from coverax.train.nets.kit import (
    Axes,
    Kit,
    Maps,
    NewMaps,
    apply,
    require,
    steps_product,
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the U-Net.

    Attributes:
        channels: Channels of each stage, finest first.
        blocks: Residual blocks, or convolutions, of each stage of the encoder.
        decoder_blocks: Convolutions of each stage of the decoder, finest first.
        strides: Step into each stage but the first: one number, or one an axis.
        supervised: Decoder stages with logits, from the finest on.
        residual: Whether the encoder's blocks have shortcuts; else its stages are
            convolutions in a row, of which the first makes the step, without a stem.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 320, 320)
    blocks: tuple[int, ...] = (1, 3, 4, 6, 6, 6)
    decoder_blocks: tuple[int, ...] = (1, 1, 1, 1, 1)
    strides: tuple[int | tuple[int, ...], ...] = (2, 2, 2, 2, 2)
    supervised: int = 4
    residual: bool = True

    def __post_init__(self):
        depth = len(self.channels)
        require(depth >= 2, "channels needs at least two stages")
        require(len(self.blocks) == depth, "blocks needs one number a stage")
        require(
            len(self.strides) == depth - 1, "strides needs one a stage but the first"
        )
        require(
            len(self.decoder_blocks) == depth - 1,
            "decoder_blocks needs one number a stage but the last",
        )
        require(self.supervised < depth, f"supervised must lie in 1..{depth - 1}")

    @property
    def divisor(self) -> Axes:
        """Product of the steps along x, y and z."""
        return steps_product(self.strides)


class Net(nnx.Module):
    """Encoder of blocks or convolutions, decoder of convolutions, logits at stages.

    Shapes: `[batch, *spatial, in_channels]` to a tuple of `[batch, *spatial_l,
    n_classes]`, finest first; stage l is smaller by the steps up to it.
    """

    def __init__(
        self,
        kit: Kit,
        sizes: Sizes,
        *,
        in_channels: int,
        n_classes: int,
    ):
        widths = sizes.channels
        self.rematerialise = kit.rematerialise
        self.stem = ConvNorm(kit, in_channels, widths[0]) if sizes.residual else None
        entry = widths[0] if sizes.residual else in_channels
        stage_of = Stage if sizes.residual else Convs
        self.encoder = nnx.List(
            [
                stage_of(kit, before, width, n_blocks, stride)
                for before, width, n_blocks, stride in zip(
                    (entry, *widths),
                    widths,
                    sizes.blocks,
                    (1, *sizes.strides),
                    strict=False,
                )
            ]
        )
        self.decoder = nnx.List(
            [
                Rise(
                    kit,
                    widths[i + 1],
                    widths[i],
                    make=partial(Convs, n_blocks=n_blocks, stride=1),
                    stride=sizes.strides[i],
                )
                for i, n_blocks in enumerate(sizes.decoder_blocks)
            ]
        )
        self.heads = nnx.List(
            [
                Conv(kit, width, n_classes, size=1)
                for width in widths[: sizes.supervised]
            ]
        )

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits, finest first."""
        again = self.rematerialise
        if self.stem is not None:
            x = apply(self.stem, x, rematerialise=again)
        skips = []
        for stage in self.encoder:
            x = apply(stage, x, rematerialise=again)
            skips.append(x)
        logits = []
        for i in reversed(range(len(self.decoder))):
            x = apply(self.decoder[i], x, skips[i], rematerialise=again)
            if i < len(self.heads):
                logits.append(self.heads[i](x))
        return tuple(reversed(logits))


class Convs(nnx.Module):
    """Convolutions in a row, of which the first makes the step."""

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        n_blocks: int,
        stride: int | tuple[int, ...],
    ):
        widths = [in_channels, *[channels] * (n_blocks - 1)]
        steps = [stride, *[1] * (n_blocks - 1)]
        self.blocks = nnx.List(
            [
                ConvNorm(kit, width, channels, stride=step)
                for width, step in zip(widths, steps, strict=True)
            ]
        )

    def __call__(self, x: Maps) -> NewMaps:
        """Apply them in turn."""
        for block in self.blocks:
            x = block(x)
        return x
