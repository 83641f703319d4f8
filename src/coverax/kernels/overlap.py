"""Voxel counts of thresholded maps against references, exact integers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from coverax.engine.results import Overlap, Sizes
from coverax.kernels.arrays import count_true, takes_arrays
from coverax.kernels.devices import per_device
from coverax.kernels.order import sortable_bits


@takes_arrays
@per_device()
@jax.jit
def sizes(
    labels: Bool[Array, "batch voxels"],
    *,
    valid: Bool[Array, "batch voxels"] | None = None,
) -> Sizes:
    """Count the voxels and the foreground voxels of each case."""
    if valid is None:
        n_voxels = jnp.full(labels.shape[0], labels.shape[1], jnp.int32)
    else:
        n_voxels = count_true(valid)
        labels = labels & valid
    return Sizes(n_voxels, count_true(labels))


@takes_arrays
@per_device()
@jax.jit
def overlap_counts(
    probs: Float[Array, "batch voxels"],
    labels: Bool[Array, "batch voxels"],
    cuts: Float[Array, "batch cuts"],
    *,
    valid: Bool[Array, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= cut}` and its foreground for each case and each of its cuts.

    A cut of `-inf` takes every valid voxel, `inf` none. Cuts are float32, as maps are.
    """
    keys, least = sortable_bits(probs), sortable_bits(jnp.asarray(cuts, jnp.float32))
    predicted, hit = [], []
    for k in range(cuts.shape[1]):
        mask = keys >= least[:, k : k + 1]
        if valid is not None:
            mask &= valid
        predicted.append(count_true(mask))
        hit.append(count_true(mask & labels))
    return Overlap(jnp.stack(predicted, axis=1), jnp.stack(hit, axis=1))
