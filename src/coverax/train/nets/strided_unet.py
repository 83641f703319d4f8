"""Residual U-Net that steps in the first convolution of every stage.

MONAI's `UNet`, for weights trained there; `unet` trains faster.

References:
    Kerfoot et al. (2019), Left-Ventricle Quantification Using Residual U-Net.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from coverax.train.nets.conv import Conv, Upconv, together
from coverax.train.nets.kit import (
    Axes,
    Kit,
    Maps,
    NewMaps,
    apply,
    constant,
    require,
    steps_product,
)
from coverax.train.nets.norm import GroupNorm

Step = int | tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the U-Net.

    Attributes:
        channels: Channels of each stage, finest first.
        strides: Step into each stage but the last: one number, or one an axis.
        units: Convolutions of a stage of the encoder.
    """

    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    strides: tuple[Step, ...] = (2, 2, 2, 2)
    units: int = 2

    def __post_init__(self):
        require(len(self.channels) >= 2, "channels needs at least two stages")
        require(
            len(self.strides) == len(self.channels) - 1,
            "strides needs one a stage but the last",
        )

    @property
    def divisor(self) -> Axes:
        """Product of the steps along x, y and z."""
        return steps_product(self.strides)


class Net(nnx.Module):
    """The net.

    Shapes: `[batch, *spatial, in_channels]` to one `[batch, *spatial, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        widths, strides = sizes.channels, sizes.strides
        self.rematerialise = kit.rematerialise
        self.encoder = nnx.List(
            [
                Residual(kit, before, width, stride, sizes.units)
                for before, width, stride in zip(
                    (in_channels, *widths), widths, (*strides, 1), strict=False
                )
            ]
        )
        # A stage gives the one above as many channels as that one has.
        outs = (n_classes, *widths)
        below = (*widths[:-2], widths[-1])
        self.decoder = nnx.List(
            [
                Rise(kit, widths[i] + below[i], outs[i], strides[i], last=i == 0)
                for i in range(len(strides))
            ]
        )

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the finest stage."""
        again = self.rematerialise
        skips = []
        for stage in self.encoder:
            x = apply(stage, x, rematerialise=again)
            skips.append(x)
        for i in reversed(range(len(self.decoder))):
            x = apply(self.decoder[i], skips[i], x, rematerialise=again)
        return (x,)


class Unit(nnx.Module):
    """Norm without parameters and rectifier with a learned slope below zero.

    References:
        He et al. (2015), Delving Deep into Rectifiers.
    """

    def __init__(self, kit: Kit, channels: int):
        self.norm = GroupNorm(kit, channels, affine=False)
        self.slope = constant(0.25, ())

    def __call__(self, x: Maps) -> Maps:
        """Normalise and rectify."""
        y = self.norm(x)
        below = jnp.where(y > 0, 0, y)
        # A sum, so that the slope's gradient is a sum over `below` and no map.
        return jnp.where(y > 0, y, 0) + self.slope[...].astype(y.dtype) * below


class Residual(nnx.Module):
    """Convolutions, the first with the step, beside a convolved shortcut."""

    def __init__(
        self,
        kit: Kit,
        in_channels: int,
        channels: int,
        stride: Step,
        n_units: int,
        *,
        linear: bool = False,
    ):
        steps = [stride, *[1] * (n_units - 1)]
        widths = [in_channels, *[channels] * (n_units - 1)]
        self.convs = nnx.List(
            [
                Conv(kit, width, channels, stride=step)
                for width, step in zip(widths, steps, strict=True)
            ]
        )
        self.units = nnx.List(
            [Unit(kit, channels) for _ in range(n_units - 1 if linear else n_units)]
        )
        stepping = max(kit.each(stride)) > 1
        self.shortcut = (
            Conv(kit, in_channels, channels, size=3 if stepping else 1, stride=stride)
            if stepping or in_channels != channels
            else None
        )

    def __call__(self, x: Maps) -> NewMaps:
        """Add the convolved map to the shortcut."""
        first, *rest = self.convs
        if self.shortcut is None:
            y, beside = first(x), x
        elif self.shortcut.kernel.shape == first.kernel.shape:
            y, beside = together(x, first, self.shortcut)
        else:
            y, beside = first(x), self.shortcut(x)
        for i, unit in enumerate(self.units):
            y = unit(y)
            if i < len(rest):
                y = rest[i](y)
        return y + beside


class Rise(nnx.Module):
    """Join, enlarge by a transposed convolution of 3 voxels, one residual unit."""

    def __init__(
        self, kit: Kit, in_channels: int, channels: int, stride: Step, *, last: bool
    ):
        self.up = Upconv(kit, in_channels, channels, size=3, stride=stride)
        self.unit = Unit(kit, channels)
        self.residual = Residual(kit, channels, channels, 1, 1, linear=last)

    def __call__(self, skip: Maps, x: NewMaps) -> jax.Array:
        """Rise by one stage."""
        return self.residual(self.unit(self.up(jnp.concatenate([skip, x], axis=-1))))
