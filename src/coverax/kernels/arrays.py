"""What kernels take, and what they do to it alike."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

Map = Float[Array, "batch *spatial"] | Float[np.ndarray, "batch *spatial"]
Mask = Bool[Array, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"]
Labels = Num[Array, "batch *spatial"] | Num[np.ndarray, "batch *spatial"] | Mask
Valid = Mask | None


def flat(
    array: Shaped[Array, "batch *spatial"] | Shaped[np.ndarray, "batch *spatial"],
) -> Shaped[Array, "batch voxels"]:
    """One axis of voxels a case."""
    return jnp.reshape(array, (array.shape[0], math.prod(array.shape[1:])))


def count_true(mask: Bool[Array, "batch voxels"]) -> Int[Array, " batch"]:
    """Voxels of each mask, an exact integer."""
    return jnp.count_nonzero(mask, axis=1).astype(jnp.int32)
