"""Tokens: linear maps, attention and the transformer block."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from coverax.train.nets.kit import Kit, Maps, NewMaps, constant, plus, small_normal
from coverax.train.nets.norm import LayerNorm

Tokens = Float[Array, "batch tokens channels"]
NewTokens = Float[Array, "batch new_tokens new_channels"]
Heads = Float[Array, "batch tokens heads width"]
NewHeads = Float[Array, "batch new_tokens heads width"]
Bias = Float[Array, "windows heads tokens tokens"]


class Linear(nnx.Module):
    """Affine map of every token's or voxel's channels."""

    def __init__(self, kit: Kit, in_channels: int, channels: int, *, bias: bool = True):
        self.dtype = kit.dtype
        self.kernel = small_normal(kit.rngs, (in_channels, channels))
        self.bias = constant(0.0, (channels,)) if bias else None

    def __call__(self, x: Array) -> Array:
        """Apply to the last axis."""
        y = x.astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        return y if self.bias is None else plus(y, self.bias)


class Attention(nnx.Module):
    """Self-attention of several heads over the tokens of each example.

    The softmax is taken in float32.

    References:
        Vaswani et al. (2017), Attention Is All You Need.
    """

    def __init__(
        self, kit: Kit, channels: int, n_heads: int, *, qkv_bias: bool = False
    ):
        if channels % n_heads:
            raise ValueError(f"{channels} channels do not divide into {n_heads} heads")
        self.n_heads = n_heads
        self.qkv = Linear(kit, channels, 3 * channels, bias=qkv_bias)
        self.out = Linear(kit, channels, channels)

    def __call__(self, x: Tokens, bias: Bias | None = None) -> Tokens:
        """Mix the tokens.

        Args:
            x: Tokens; with a bias of several windows, window is the fast axis of batch.
            bias: Added to the scaled products before the softmax.
        """
        batch, count, channels = x.shape
        heads = (batch, count, 3, self.n_heads, channels // self.n_heads)
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(heads), 2, 0)
        return self.out(attend(q, k, v, bias).reshape(x.shape))


class CrossAttention(nnx.Module):
    """Attention of some tokens to others, as many heads as `Attention`."""

    def __init__(self, kit: Kit, channels: int, n_heads: int):
        self.n_heads = n_heads
        self.queries = Linear(kit, channels, channels)
        self.keys = Linear(kit, channels, channels)
        self.values = Linear(kit, channels, channels)
        self.out = Linear(kit, channels, channels)

    def __call__(self, queries: Tokens, keys: Array, values: Array) -> Tokens:
        """Values of the keys that the queries match."""
        q, k, v = (
            y.reshape(*y.shape[:2], self.n_heads, -1)
            for y in (self.queries(queries), self.keys(keys), self.values(values))
        )
        return self.out(attend(q, k, v, None).reshape(queries.shape))


def attend(q: Heads, k: NewHeads, v: NewHeads, bias: Bias | None) -> Heads:
    """Mean of `v`, weighted by the softmax, in float32, of scaled products and bias."""
    scores = jnp.einsum("nqhc,nkhc->nhqk", q * q.shape[-1] ** -0.5, k)
    scores = scores.astype(jnp.float32)
    if bias is not None:
        windows = scores.reshape(-1, *bias.shape)
        windows = windows + jnp.broadcast_to(bias, windows.shape)
        scores = windows.reshape(scores.shape)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("nhqk,nkhc->nqhc", weights, v)


class Perceptron(nnx.Module):
    """Two linear maps with a Gaussian error linear unit between.

    References:
        Hendrycks and Gimpel (2016), Gaussian Error Linear Units.
    """

    def __init__(
        self, kit: Kit, channels: int, hidden: int, out_channels: int | None = None
    ):
        self.first = Linear(kit, channels, hidden)
        self.second = Linear(kit, hidden, out_channels or channels)

    def __call__(self, x: Array) -> Array:
        """Apply to the last axis."""
        return self.second(jax.nn.gelu(self.first(x), approximate=False))


class Block(nnx.Module):
    """Transformer block with norms first: attention, then perceptron, each added.

    References:
        Dosovitskiy et al. (2021), An Image is Worth 16x16 Words: Transformers for
        Image Recognition at Scale.
    """

    def __init__(
        self,
        kit: Kit,
        channels: int,
        n_heads: int,
        hidden: int,
        *,
        qkv_bias: bool = False,
    ):
        self.norm1 = LayerNorm(kit, channels)
        self.attention = Attention(kit, channels, n_heads, qkv_bias=qkv_bias)
        self.norm2 = LayerNorm(kit, channels)
        self.perceptron = Perceptron(kit, channels, hidden)

    def __call__(self, x: Tokens) -> Tokens:
        """Mix the tokens, then each token's channels."""
        x = x + self.attention(self.norm1(x))
        return x + self.perceptron(self.norm2(x))


def as_tokens(x: Maps) -> NewTokens:
    """Voxels in a row."""
    return x.reshape(x.shape[0], -1, x.shape[-1])


def as_maps(x: Tokens, grid: tuple[int, ...]) -> NewMaps:
    """Tokens back on their grid."""
    return x.reshape(x.shape[0], *grid, x.shape[-1])
