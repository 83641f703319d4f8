"""A vision transformer with a light mask decoder, in the manner of SAM-Med3D.

Every class has a learned token in the place of a user's prompt.

References:
    Wang et al. (2023), SAM-Med3D. Kirillov et al. (2023), Segment Anything.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx

from coverax.train.nets.attention import (
    Attention,
    Block,
    CrossAttention,
    NewTokens,
    Perceptron,
    Tokens,
    as_maps,
    as_tokens,
)
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
from coverax.train.nets.resample import enlarge

# Two transposed convolutions take the tokens this far, interpolation the rest.
LEARNED_RISE = 4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the encoder and the mask decoder.

    Attributes:
        token: Voxels along each side of a token, a multiple of 4.
        hidden: Channels of the encoder's tokens.
        perceptron: Channels inside the encoder's perceptrons.
        heads: Heads of the encoder.
        layers: Transformer blocks of the encoder.
        decoder: Channels of the mask decoder, a multiple of 8.
        decoder_heads: Heads of the mask decoder.
        decoder_layers: Two-way blocks of the mask decoder.
    """

    token: int = 16
    hidden: int = 768
    perceptron: int = 3072
    heads: int = 12
    layers: int = 12
    decoder: int = 384
    decoder_heads: int = 8
    decoder_layers: int = 2

    def __post_init__(self):
        require(self.token % LEARNED_RISE == 0, "token must be a multiple of 4")
        require(self.decoder % 8 == 0, "decoder must be a multiple of 8")
        require(
            self.hidden % self.heads == 0,
            f"hidden {self.hidden} must be a multiple of heads {self.heads}",
        )
        require(
            self.decoder % self.decoder_heads == 0,
            f"decoder {self.decoder} must be a multiple of decoder_heads",
        )

    @property
    def divisor(self) -> Axes:
        """The side of a token."""
        return (self.token,) * 3


class Net(nnx.Module):
    """The net; its positions belong to one patch size.

    Shapes: `[batch, *patch, in_channels]` to one `[batch, *patch, n_classes]`, which is
    interpolated from a quarter of a token's side.
    """

    def __init__(self, kit: Kit, sizes: Sizes, *, in_channels: int, n_classes: int):
        hidden, token = sizes.hidden, sizes.token
        self.rematerialise = kit.rematerialise
        self.grid = tuple(v // token for v in kit.patch)
        self.rise = kit.each(token // LEARNED_RISE)
        self.tokens = Conv(kit, in_channels, hidden, size=token, stride=token)
        self.positions = small_normal(kit.rngs, (1, math.prod(self.grid), hidden))
        self.transformer = nnx.List(
            [
                Block(kit, hidden, sizes.heads, sizes.perceptron, qkv_bias=True)
                for _ in range(sizes.layers)
            ]
        )
        self.neck = Neck(kit, hidden, sizes.decoder)
        self.decoder = MaskDecoder(kit, sizes, math.prod(self.grid), n_classes)

    def __call__(self, x: Maps) -> tuple[NewMaps, ...]:
        """Logits of the patch."""
        tokens = as_tokens(self.tokens(x))
        tokens = tokens + self.positions[...].astype(tokens.dtype).repeat(len(x), 0)
        for block in self.transformer:
            tokens = apply(block, tokens, rematerialise=self.rematerialise)
        image = self.neck(as_maps(tokens, self.grid))
        return (enlarge(self.decoder(image), self.rise),)


class Neck(nnx.Module):
    """From the encoder's channels to the decoder's, and a look at the neighbours."""

    def __init__(self, kit: Kit, hidden: int, channels: int):
        self.narrow = Conv(kit, hidden, channels, size=1, bias=False)
        self.norm1 = LayerNorm(kit, channels)
        self.mix = Conv(kit, channels, channels, bias=False)
        self.norm2 = LayerNorm(kit, channels)

    def __call__(self, x: Maps) -> NewMaps:
        """Narrow and mix."""
        return self.norm2(self.mix(self.norm1(self.narrow(x))))


class MaskDecoder(nnx.Module):
    """Class tokens and the image look at one another; their products are the logits.

    Shapes: `[batch, *grid, channels]` to `[batch, *4 grid, n_classes]`.
    """

    def __init__(self, kit: Kit, sizes: Sizes, n_tokens: int, n_classes: int):
        width = sizes.decoder
        self.dtype = kit.dtype
        self.classes = small_normal(kit.rngs, (1, n_classes, width))
        self.positions = small_normal(kit.rngs, (1, n_tokens, width))
        self.blocks = nnx.List(
            [
                TwoWay(kit, width, sizes.decoder_heads)
                for _ in range(sizes.decoder_layers)
            ]
        )
        self.up1 = Upconv(kit, width, width // 4)
        self.norm = LayerNorm(kit, width // 4)
        self.up2 = Upconv(kit, width // 4, width // 8)
        self.weights = Perceptron(kit, width, width, width // 8)

    def __call__(self, image: Maps) -> NewMaps:
        """Logits at four times the grid."""
        grid, batch = image.shape[1:-1], len(image)
        classes = self.classes[...].astype(self.dtype).repeat(batch, 0)
        tokens = as_tokens(image)
        positions = self.positions[...].astype(self.dtype).repeat(batch, 0)
        for block in self.blocks:
            classes, tokens = block(classes, tokens, positions)
        fine = jax.nn.gelu(self.norm(self.up1(as_maps(tokens, grid))))
        fine = jax.nn.gelu(self.up2(fine))
        return jnp.einsum("b...c,bkc->b...k", fine, self.weights(classes))


class TwoWay(nnx.Module):
    """Class tokens attend to themselves and the image, then the image to them."""

    def __init__(self, kit: Kit, channels: int, n_heads: int):
        self.own = Attention(kit, channels, n_heads, qkv_bias=True)
        self.norm1 = LayerNorm(kit, channels)
        self.look = CrossAttention(kit, channels, n_heads)
        self.norm2 = LayerNorm(kit, channels)
        self.perceptron = Perceptron(kit, channels, 4 * channels)
        self.norm3 = LayerNorm(kit, channels)
        self.back = CrossAttention(kit, channels, n_heads)
        self.norm4 = LayerNorm(kit, channels)

    def __call__(
        self, classes: NewTokens, tokens: Tokens, positions: Tokens
    ) -> tuple[NewTokens, Tokens]:
        """Both, changed; positions tell the image's tokens apart as keys."""
        classes = self.norm1(classes + self.own(classes))
        keys = tokens + positions
        classes = self.norm2(classes + self.look(classes, keys, tokens))
        classes = self.norm3(classes + self.perceptron(classes))
        tokens = self.norm4(tokens + self.back(keys, classes, classes))
        return classes, tokens
