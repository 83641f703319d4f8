"""Norms without running statistics: nothing leaks from one case into another."""

from collections.abc import Callable
from functools import partial

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
        y = _standard(x.astype(jnp.float32), self.mean, self.epsilon)
        return _affine(y, self.scale, self.bias).astype(self.dtype)

    def mean(self, x: Maps) -> Array:
        """Mean over voxels and a group, for each channel; the map keeps its axes.

        Voxels are not flattened: on a CPU that copies the map, and its gradient.
        """
        means = jnp.mean(x, tuple(range(1, x.ndim - 1)), keepdims=True)
        width = x.shape[-1] // self.groups
        if width == 1:
            return means
        of_group = jnp.mean(means.reshape(*means.shape[:-1], -1, width), -1)
        return jnp.repeat(of_group, width, -1)


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
        mean = partial(jnp.mean, axis=-1, keepdims=True)
        y = _standard(x.astype(jnp.float32), mean, self.epsilon)
        return _affine(y, self.scale, self.bias).astype(self.dtype)


def _standard(x: Array, mean: Callable[[Array], Array], epsilon: float) -> Array:
    """Two passes: the variance of a large mean must not cancel."""
    centred = x - mean(x)
    return centred * lax.rsqrt(mean(jnp.square(centred)) + epsilon)


def _affine(y: Array, scale: nnx.Param | None, bias: nnx.Param | None) -> Array:
    if scale is None or bias is None:
        return y
    shape = (1,) * (y.ndim - 1) + (y.shape[-1],)
    return y * scale[...].reshape(shape) + bias[...].reshape(shape)
