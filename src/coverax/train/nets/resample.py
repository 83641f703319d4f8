"""Changes of grid without parameters."""

import jax
import jax.numpy as jnp

from coverax.train.nets.kit import Axes, Maps, NewMaps


def tile_mean(x: Maps, stride: Axes) -> NewMaps:
    """Mean over tiles of `stride` voxels; every axis is a multiple of its stride."""
    if max(stride) == 1:
        return x
    sizes = [(v // s, s) for v, s in zip(x.shape[1:-1], stride, strict=True)]
    tiles = x.reshape(x.shape[0], *(n for pair in sizes for n in pair), x.shape[-1])
    return jnp.mean(tiles, tuple(range(2, 2 * len(stride) + 1, 2)))


def enlarge(x: Maps, stride: Axes) -> NewMaps:
    """Linear interpolation between voxel centres, constant beyond the outer ones.

    Voxels keep their extent: the corners of the volume stay where they are.
    """
    shape = [v * s for v, s in zip(x.shape[1:-1], stride, strict=True)]
    return jax.image.resize(x, (x.shape[0], *shape, x.shape[-1]), "linear")
