"""What kernels take, and what they do to it alike."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Num, Shaped

from coverax import checks

Map = Float[Array, "batch *spatial"] | Float[np.ndarray, "batch *spatial"]
Labels = (
    Bool[Array, "batch *spatial"]
    | Bool[np.ndarray, "batch *spatial"]
    | Num[Array, "batch *spatial"]
    | Num[np.ndarray, "batch *spatial"]
)
Mask = Labels
Valid = Mask | None


def as_map(values: Any, name: str) -> Array | np.ndarray:
    """A map as it is scored: float32, rounded once; what lies on a device stays there.

    Raises:
        TypeError: It is not of a float type.
    """
    if not isinstance(values, Array):
        return checks.as_map(values, name)
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{name} must be floating point, got {values.dtype}")
    return values.astype(jnp.float32)


def as_mask(values: Any, name: str) -> Array | np.ndarray:
    """A mask as booleans: true where it is not 0.

    Raises:
        TypeError: It holds no numbers.
        ValueError: It holds negative numbers, fractions or NaN; a traced one has no
            values to check yet.
    """
    if not isinstance(values, Array):
        return checks.as_mask(values, name)
    if values.dtype == bool:
        return values
    unsigned = jnp.issubdtype(values.dtype, jnp.unsignedinteger)
    if not (unsigned or isinstance(values, Tracer)):
        _check_whole(values, name)
    return values != 0


takes_arrays = checks.takes_arrays(as_map, as_mask)


def _check_whole(values: Array, name: str) -> None:
    bad = values < 0
    if jnp.issubdtype(values.dtype, jnp.floating):
        bad = ~((values >= 0) & (values == jnp.rint(values)) & (values < jnp.inf))
    if bad.any():
        found = np.asarray(values.astype(jnp.float32)).flat[int(jnp.argmax(bad))]
        raise ValueError(checks.not_whole(name, found))


def flat(
    array: Shaped[Array, "batch *spatial"] | Shaped[np.ndarray, "batch *spatial"],
) -> Shaped[Array, "batch voxels"]:
    """One axis of voxels a case."""
    return jnp.reshape(array, (array.shape[0], math.prod(array.shape[1:])))


def count_true(mask: Bool[Array, "batch voxels"]) -> Int[Array, " batch"]:
    """Voxels of each mask, an exact integer."""
    return jnp.count_nonzero(mask, axis=1).astype(jnp.int32)
