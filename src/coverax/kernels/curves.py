"""Voxel counts at many cuts at once, exact integers."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from coverax.engine.bins import MARGIN, check_cuts
from coverax.engine.results import Overlap
from coverax.kernels import tiles
from coverax.kernels.arrays import count_true, takes_arrays
from coverax.kernels.devices import per_device
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
    arrays = (probs, labels) if valid is None else (probs, labels, valid)
    ways = {"default": partial(scattered_grid, n_cuts)}
    if tiles.fits(probs.size):
        ways["cuda"] = partial(tiled_grid, n_cuts)
    counts = lax.platform_dependent(*arrays, **ways)
    above = jnp.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    return Overlap(above[:, 0] + above[:, 1], above[:, 1])


def _cell(n_cuts: int, probs: Array, *valid: Array) -> Array:
    """The last cut that takes each voxel; -1 for a voxel that none takes."""
    counted = (probs >= 0) & (probs <= 1 + MARGIN)
    for mask in valid:
        counted &= mask
    cell = jnp.minimum((probs * n_cuts).astype(jnp.int32), n_cuts - 1)
    return jnp.where(counted, cell, -1)


def scattered_grid(n_cuts: int, probs: Array, labels: Array, *valid: Array) -> Array:
    """Voxels of each last cut: `[batch, outcome, cuts]`."""
    cell = _cell(n_cuts, probs, *valid)

    def count(mask: Array) -> Array:
        # The crowded first cell is counted apart, so that few voxels meet in one place.
        where = jnp.where(mask & (cell > 0), cell, n_cuts)
        empty = jnp.zeros((probs.shape[0], n_cuts), jnp.int32)
        rows = jnp.arange(probs.shape[0])[:, None]
        counts = empty.at[rows, where].add(1, mode="drop")
        first = count_true(mask & (cell == 0))[:, None]
        return jnp.concatenate([first, counts[:, 1:]], axis=1)

    every, hit = count(jnp.ones_like(labels)), count(labels)
    return jnp.stack([every - hit, hit], axis=1)


def tiled_grid(
    n_cuts: int, probs: Array, labels: Array, *valid: Array, interpret: bool = False
) -> Array:
    """GPU: the same without a scatter, in one walk."""

    def keys(tile: tuple[Array, ...], _: tiles.Look) -> Array:
        cell = _cell(n_cuts, tile[0], *tile[2:])
        return jnp.where(cell < 0, -1, cell + jnp.where(tile[1], n_cuts, 0))

    arrays = (probs, labels, *valid)
    counts = tiles.tile_counts(arrays, keys, 2 * n_cuts, interpret=interpret)
    return jnp.reshape(counts, (-1, 2, n_cuts))


@takes_arrays
@per_device("cuts")
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
