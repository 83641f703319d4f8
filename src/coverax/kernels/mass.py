"""Masses above cuts: exact sums of probabilities, fixed point, integers only."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from coverax.engine.mass import MASS_DIGITS
from coverax.kernels.arrays import Map, flat, takes_arrays
from coverax.kernels.devices import per_device
from coverax.kernels.order import sortable_bits
from coverax.kernels.sums import carried, chunked, digits_of


@takes_arrays
def mass_above(
    probs: Map, cuts: Float[Array, "batch cuts"] | Float[np.ndarray, "batch cuts"]
) -> Int[Array, "batch masses digits"]:
    """Sum the probabilities of each map, and those above each of its cuts.

    Every voxel weighs, whatever a reference says of it: a new map has none. So padding
    holds 0, which weighs nothing.

    Args:
        probs: Probability maps; no NaN. A negative value weighs nothing.
        cuts: Of each map; what equals a cut is not above it.

    Returns:
        The mass of the whole map and then one a cut, exact sums of probabilities that are
        cut off below `2**-45`: digits of 15 bits, the whole part first.
    """
    return _mass_above(probs, cuts)


@per_device()
@jax.jit
def _mass_above(probs: Array | np.ndarray, cuts: Array | np.ndarray) -> Array:
    maps = flat(jnp.asarray(probs))
    values, _ = chunked(maps, jnp.zeros_like(maps, jnp.int8))
    keys = sortable_bits(values)
    above = sortable_bits(jnp.asarray(cuts, jnp.float32))
    weights = digits_of([jnp.maximum(values, 0)], [MASS_DIGITS])

    def sums(counted: Array) -> Array:
        each = [jnp.sum(jnp.where(counted, w, 0), -1, jnp.int32) for w in weights]
        return jnp.stack(each, axis=-1)

    own = lax.map(lambda cut: sums(keys > cut[:, None, None]), above.T)
    every = jnp.concatenate([sums(jnp.ones_like(keys, bool))[None], own])
    return jnp.stack(carried(jnp.moveaxis(every, 0, 2)), axis=-1)
