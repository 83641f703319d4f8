"""What kernels do to their inputs and masks alike."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Shaped


def flat(array: Shaped[Array, "batch *spatial"]) -> Shaped[Array, "batch voxels"]:
    """One axis of voxels a case."""
    return jnp.reshape(array, (array.shape[0], -1))


def count_true(mask: Bool[Array, "batch voxels"]) -> Int[Array, " batch"]:
    """Voxels of each mask, an exact integer."""
    return jnp.count_nonzero(mask, axis=1).astype(jnp.int32)
