"""Norms without running statistics: nothing leaks from one case into another."""

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Kit, Maps, constant


class GroupNorm(nnx.Module):
    """Mean 0 and variance 1 of each example over all voxels and a group of channels.

    Computed in float32. `groups = None` gives every channel its own group, which is
    the instance norm.

    References:
        Wu and He (2018), Group Normalization. Ulyanov et al. (2016), Instance
        Normalization.
    """

    def __init__(
        self,
        kit: Kit,
        channels: int,
        *,
        groups: int | None = None,
        affine: bool = True,
        epsilon: float = 1e-5,
    ):
        groups = channels if groups is None else groups
        if channels % groups:
            raise ValueError(f"{channels} channels do not divide into {groups} groups")
        self.groups = groups
        self.epsilon = epsilon
        self.dtype = kit.dtype
        self.scale = constant(1.0, (channels,)) if affine else None
        self.bias = constant(0.0, (channels,)) if affine else None

    def __call__(self, x: Maps) -> Maps:
        """Normalise."""
        grouped = x.astype(jnp.float32).reshape(
            x.shape[0], -1, self.groups, self.width(x)
        )
        y = _standard(grouped, (1, 3), self.epsilon).reshape(x.shape)
        return _affine(y, self.scale, self.bias).astype(self.dtype)

    def width(self, x: Maps) -> int:
        """Channels a group."""
        return x.shape[-1] // self.groups


class LayerNorm(nnx.Module):
    """Mean 0 and variance 1 of each voxel or token over its channels, in float32.

    References:
        Ba et al. (2016), Layer Normalization.
    """

    def __init__(
        self, kit: Kit, channels: int, *, affine: bool = True, epsilon: float = 1e-5
    ):
        self.epsilon = epsilon
        self.dtype = kit.dtype
        self.scale = constant(1.0, (channels,)) if affine else None
        self.bias = constant(0.0, (channels,)) if affine else None

    def __call__(self, x: Maps) -> Maps:
        """Normalise."""
        y = _standard(x.astype(jnp.float32), (x.ndim - 1,), self.epsilon)
        return _affine(y, self.scale, self.bias).astype(self.dtype)


def _standard(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    """Two passes: the variance of a large mean must not cancel."""
    centred = x - jnp.mean(x, axes, keepdims=True)
    variance = jnp.mean(jnp.square(centred), axes, keepdims=True)
    return centred * lax.rsqrt(variance + epsilon)


def _affine(y: Array, scale: nnx.Param | None, bias: nnx.Param | None) -> Array:
    if scale is None or bias is None:
        return y
    shape = (1,) * (y.ndim - 1) + (y.shape[-1],)
    return y * scale[...].reshape(shape) + bias[...].reshape(shape)
