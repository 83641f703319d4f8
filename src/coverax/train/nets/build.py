"""From a config to a net: images `[batch, x, y, z, channels]` in, logits out."""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from coverax.train.config import NetConfig
from coverax.train.nets.kit import Kit
from coverax.train.nets.presets import resolve

Patch = tuple[int, int, int]
Images = Float[Array, "batch x y z in_channels"]
Logits = Float[Array, "batch x_l y_l z_l n_classes"]


class SegmentationNet(nnx.Module):
    """A net of patches; a net of slices sees patches of 1 voxel along z.

    It has parameters and nothing else: no running statistics, no random state.

    Shapes: `[batch, x, y, z, in_channels]` to a tuple of float32 logits
    `[batch, x_l, y_l, z_l, n_classes]`, finest first; the first has the patch's size.
    """

    def __init__(self, net: nnx.Module, axes: int):
        self.net = net
        self.axes = axes

    def __call__(self, images: Images) -> tuple[Logits, ...]:
        """Logits of every supervised level.

        Raises:
            ValueError: A net of slices is given more than 1 voxel along z.
        """
        if self.axes == 3:
            return tuple(level.astype(jnp.float32) for level in self.levels(images))
        if images.shape[3] != 1:
            raise ValueError(f"net.axes = 2 takes 1 voxel along z, got {images.shape}")
        levels = self.levels(jnp.squeeze(images, 3))
        return tuple(jnp.expand_dims(v, 3).astype(jnp.float32) for v in levels)

    def levels(self, images: Array) -> tuple[Array, ...]:
        """Of a net that gives several, or one alone."""
        found = self.net(images)
        return tuple(found) if isinstance(found, tuple | list) else (found,)


def build(
    config: NetConfig,
    *,
    in_channels: int,
    n_classes: int,
    patch: Patch,
    rngs: nnx.Rngs,
) -> SegmentationNet:
    """A net with its first parameters.

    Args:
        config: Preset and what is changed in it.
        in_channels: Channels of the images.
        n_classes: Channels of the logits.
        patch: Voxels of a patch along each axis.
        rngs: Its stream `params` gives the parameters.

    Raises:
        ValueError: The preset or a size is unknown or impossible, or a side of the
            patch is no multiple of the net's divisor.
    """
    preset = resolve(config)
    check_patch(config, patch)
    kit = Kit(
        axes=config.axes,
        dtype=jnp.dtype(config.compute),
        rematerialise=config.rematerialise,
        patch=tuple(patch[: config.axes]),
        rngs=rngs,
    )
    net = preset.net(kit, preset.sizes, in_channels=in_channels, n_classes=n_classes)
    return SegmentationNet(net, config.axes)


def divisor(config: NetConfig) -> Patch:
    """Voxels of which the sides of a patch are multiples; 1 along z for slices."""
    x, y, z = resolve(config).sizes.divisor
    return (x, y, z if config.axes == 3 else 1)


def check_patch(config: NetConfig, patch: Patch) -> None:
    """Refuse a patch whose sides are no multiples of the net's divisor.

    Raises:
        ValueError: One line with the patch, the divisor and the next larger patch.
    """
    unit = divisor(config)
    if any(side % step or side < step for side, step in zip(patch, unit, strict=True)):
        larger = [
            max(1, math.ceil(side / step)) * step
            for side, step in zip(patch, unit, strict=True)
        ]
        raise ValueError(
            f"patch.size {list(patch)} does not fit {config.preset}: sides must be "
            f"multiples of {list(unit)}; the next larger is {larger}"
        )


def count_parameters(net: nnx.Module) -> int:
    """Numbers that training may change; works on `nnx.eval_shape` of a net, too."""
    leaves = nnx.to_flat_state(nnx.state(net, nnx.Param))
    return sum(math.prod(param.shape) for _, param in leaves)
