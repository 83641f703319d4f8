"""Voxel counts at many cuts at once, exact integers."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from coverax.engine.bins import MARGIN, check_cuts
from coverax.engine.results import Overlap
from coverax.kernels.arrays import count_true, takes_arrays
from coverax.kernels.order import sortable_bits


@takes_arrays
@partial(jax.jit, static_argnames="n_cuts")
def grid_counts(
    probs: Float[Array, "batch voxels"],
    labels: Bool[Array, "batch voxels"],
    n_cuts: int,
    *,
    valid: Bool[Array, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= k / n_cuts}` and its foreground for k = 0..n_cuts - 1.

    Args:
        probs: Probability maps.
        labels: References.
        n_cuts: A power of two: then `probs * n_cuts` is exact, and so is each count.
        valid: Voxels that count; all by default.

    Returns:
        Counts; values that are NaN or below 0 or beyond 1.001 are in none.

    Raises:
        ValueError: `n_cuts` is no power of two, or above 4096.
    """
    check_cuts(n_cuts)
    counted = (probs >= 0) & (probs <= 1 + MARGIN)
    if valid is not None:
        counted &= valid
    bins = jnp.minimum((probs * n_cuts).astype(jnp.int32), n_cuts - 1)
    # The crowded first bin is counted apart, so that few voxels meet in one place.
    scattered = jnp.where(counted & (bins > 0), bins, n_cuts)

    def count(mask: Array) -> Array:
        where = jnp.where(mask, scattered, n_cuts)
        empty = jnp.zeros((probs.shape[0], n_cuts), jnp.int32)
        rows = jnp.arange(probs.shape[0])[:, None]
        counts = empty.at[rows, where].add(1, mode="drop")
        total = count_true(mask & counted)
        above = jnp.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        return above.at[:, 0].set(total)

    return Overlap(count(jnp.ones_like(labels)), count(labels))


@takes_arrays
@jax.jit
def cut_counts(
    probs: Float[Array, "batch voxels"],
    labels: Bool[Array, "batch voxels"],
    cuts: Float[Array, " cuts"],
    *,
    valid: Bool[Array, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= cut}` and its foreground for any number of common cuts.

    One sort a case; a cut of `inf` takes no voxel. Cuts are float32, as maps are.
    """
    counted = jnp.ones_like(labels) if valid is None else valid

    keys, least = sortable_bits(probs), sortable_bits(jnp.asarray(cuts, jnp.float32))

    def count(keys: Array, mask: Array) -> Array:
        # What does not count sorts below every cut.
        ascending = jnp.sort(jnp.where(mask, keys, jnp.iinfo(keys.dtype).min))
        below = jnp.searchsorted(ascending, least, side="left")
        return (keys.size - below).astype(jnp.int32)

    return Overlap(
        jax.vmap(count)(keys, counted), jax.vmap(count)(keys, counted & labels)
    )
