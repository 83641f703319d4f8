"""What all layers of one net share, and how their parameters start."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

BLOCK = 1 << 14
Axes = tuple[int, ...]
Maps = Float[Array, "batch *spatial channels"]
NewMaps = Float[Array, "batch *new_spatial new_channels"]


@dataclass(frozen=True, kw_only=True)
class Kit:
    """Choices of a whole net, handed to every layer while it is built.

    Attributes:
        axes: Spatial axes, 2 or 3.
        dtype: Type of activations and products; parameters and norms are float32.
        rematerialise: Blocks recompute their activations in the backward pass.
        patch: Voxels of the net's input along each axis.
        rngs: Source of the first parameters.
    """

    axes: int
    dtype: Any
    rematerialise: bool
    patch: Axes
    rngs: nnx.Rngs

    def each(self, value: int | Sequence[int]) -> Axes:
        """One number for all axes, or one an axis (those beyond `axes` are left out).

        Raises:
            ValueError: There are fewer numbers than axes.
        """
        if isinstance(value, int):
            return (value,) * self.axes
        if len(value) < self.axes:
            raise ValueError(
                f"{list(value)} has no number for each of {self.axes} axes"
            )
        return tuple(value[: self.axes])


def require(holds: bool, message: str) -> None:
    """Refuse sizes that no net can have.

    Raises:
        ValueError: With the message, if the condition does not hold.
    """
    if not holds:
        raise ValueError(message)


def fan_uniform(rngs: nnx.Rngs, shape: Axes, fan: int) -> nnx.Param:
    """Weights or biases uniform in `[-1, 1] / sqrt(fan)`, as PyTorch's layers start.

    Their variance is `1 / (3 fan)`, a sixth of what keeps the size of rectified
    activations (He et al. 2015): norms do that here, and where none follows, at the
    logits above all, a smaller start is the better one (docs/training.md).

    Args:
        rngs: Source of the numbers.
        shape: Of the parameter.
        fan: Weights that meet in a voxel, as PyTorch counts them.
    """
    return nnx.Param(drawn(_uniform, rngs.params(), shape, fan**-0.5))


def small_normal(rngs: nnx.Rngs, shape: Axes) -> nnx.Param:
    """Weights of deviation 0.02, as transformers start."""
    return nnx.Param(normal(rngs.params(), shape, 0.02))


def constant(value: float, shape: Axes) -> nnx.Param:
    """Parameters that all start at one value."""
    return nnx.Param(jnp.asarray(np.full(shape, value, np.float32)))


def normal(key: jax.Array, shape: Axes, deviation: float) -> jax.Array:
    """Normal numbers."""
    return drawn(_normal, key, shape, deviation)


def drawn(
    block: Callable[..., jax.Array], key: jax.Array, shape: Axes, scale: float
) -> jax.Array:
    """Random numbers in blocks of one size: one compilation for all shapes of a net."""
    n = math.prod(shape)
    count = -(-n // BLOCK)
    if isinstance(key, jax.core.Tracer):
        flat = jax.lax.map(partial(block, key), jnp.arange(count)).reshape(-1)
    else:
        flat = np.concatenate([block(key, i) for i in range(count)])
    return jnp.asarray(flat[:n].reshape(shape) * np.float32(scale))


@jax.jit
def _normal(key: jax.Array, index: int | jax.Array) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(key, index), (BLOCK,), jnp.float32)


@jax.jit
def _uniform(key: jax.Array, index: int | jax.Array) -> jax.Array:
    key = jax.random.fold_in(key, index)
    return jax.random.uniform(key, (BLOCK,), jnp.float32, -1, 1)


def plus(y: jax.Array, bias: nnx.Param) -> jax.Array:
    """Add a number a channel."""
    return y + jnp.broadcast_to(bias[...].astype(y.dtype), y.shape)


def apply(block: Callable, *maps: jax.Array, rematerialise: bool) -> jax.Array:
    """Apply a block; rematerialised, its activations are computed again for gradients.

    References:
        Chen et al. (2016), Training Deep Nets with Sublinear Memory Cost.
    """
    return _again(block, *maps) if rematerialise else block(*maps)


@nnx.remat
def _again(block: Callable, *maps: jax.Array) -> jax.Array:
    return block(*maps)


def steps_product(strides: Sequence[int | Sequence[int]]) -> Axes:
    """Product of the steps along each of three axes."""
    steps = [(s,) * 3 if isinstance(s, int) else s for s in strides]
    return tuple(math.prod(axis) for axis in zip(*steps, strict=True))
