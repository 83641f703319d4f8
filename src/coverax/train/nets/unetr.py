"""UNETR: a vision transformer as encoder, convolutions as decoder.

References:
    Hatamizadeh et al. (2022), UNETR: Transformers for 3D Medical Image Segmentation.
"""

import math
from dataclasses import dataclass

from flax import nnx

from coverax.train.nets.attention import Block, as_maps, as_tokens
from coverax.train.nets.blocks import Residual, Rise
from coverax.train.nets.conv import Conv, Upconv
from coverax.train.nets.kit import (
    Axes,
    Kit,
    Maps,
    NewMaps,
    apply,
    require,
    small_normal,
)
from coverax.train.nets.norm import LayerNorm

TOKEN = 16
N_SKIPS = 3


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of UNETR.

    Attributes:
        channels: Channels of the decoder's finest stage; each coarser has twice them.
        hidden: Channels of the tokens, of 16 voxels along each axis.
        perceptron: Channels inside the transformer's perceptrons.
        heads: Heads of the attention.
        layers: Transformer blocks, a multiple of 4; a quarter lies below each skip.
    """

    channels: int = 16
    hidden: int = 768
    perceptron: int = 3072
    heads: int = 12
    layers: int = 12

    def __post_init__(self):
        require(
            self.hidden % self.heads == 0,
            f"hidden {self.hidden} must be a multiple of heads {self.heads}",
        )
        require(self.layers % 4 == 0, "layers must be a multiple of 4")

    @property
    def divisor(self) -> Axes:
        """The side of a token."""
        return (TOKEN,) * 3


class Net(nnx.Module):
    """The net; its positions belong to one patch size.

    Shapes: `[batch, *patch, in_channels]` to one `[batch, *patch, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        width, hidden = sizes.channels, sizes.hidden
        self.rematerialise = kit.rematerialise
        self.grid = tuple(v // TOKEN for v in kit.patch)
        self.tokens = Conv(kit, in_channels, hidden, size=TOKEN, stride=TOKEN)
        self.positions = small_normal(kit.rngs, (1, math.prod(self.grid), hidden))
        self.transformer = nnx.List(
            [
                Block(kit, hidden, sizes.heads, sizes.perceptron)
                for _ in range(sizes.layers)
            ]
        )
        self.norm = LayerNorm(kit, hidden)
        self.entry = Residual(kit, in_channels, width)
        self.skips = nnx.List(
            [Skip(kit, hidden, width << i, N_SKIPS - i) for i in range(1, N_SKIPS + 1)]
        )
        coarser = [*(width << i for i in range(1, N_SKIPS + 1)), hidden]
        self.decoder = nnx.List(
            [Rise(kit, before, width << i) for i, before in enumerate(coarser)]
        )
        self.head = Conv(kit, width, n_classes, size=1)

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the finest stage."""
        again = self.rematerialise
        tokens = as_tokens(self.tokens(x))
        tokens = tokens + self.positions[...].astype(tokens.dtype).repeat(len(x), 0)
        maps = [apply(self.entry, x, rematerialise=again)]
        skips = iter(self.skips)
        quarter = len(self.transformer) // (N_SKIPS + 1)
        for i, block in enumerate(self.transformer):
            # The block after a quarter of the depth is the one that is passed on.
            tokens = apply(block, tokens, rematerialise=again)
            if i in (quarter, 2 * quarter, 3 * quarter):
                grid = as_maps(tokens, self.grid)
                maps.append(apply(next(skips), grid, rematerialise=again))
        y = as_maps(self.norm(tokens), self.grid)
        for i in reversed(range(len(self.decoder))):
            y = apply(self.decoder[i], y, maps[i], rematerialise=again)
        return (self.head(y),)


class Skip(nnx.Module):
    """Tokens enlarged by 2, and `n_more` times by 2 with a residual block each."""

    def __init__(self, kit: Kit, hidden: int, channels: int, n_more: int):
        self.first = Upconv(kit, hidden, channels, bias=False)
        self.ups = nnx.List(
            [Upconv(kit, channels, channels, bias=False) for _ in range(n_more)]
        )
        self.blocks = nnx.List(
            [Residual(kit, channels, channels) for _ in range(n_more)]
        )

    def __call__(self, x: Maps) -> NewMaps:
        """Rise to the skip's size."""
        y = self.first(x)
        for up, block in zip(self.ups, self.blocks, strict=True):
            y = block(up(y))
        return y
