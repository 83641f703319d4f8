"""Sums over bins, per example and class, in one pass and without copies.

The volume is read in chunks that stay in the cache; each chunk becomes keys and rows, and
the rows are added up by key. No running sum takes more than 256 voxels; their sums are
added in turn, so a bin of millions of voxels keeps its accuracy. Nothing as large as the
volume is stored.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from coverax.losses._voxels import Map, Valid

_CHUNK = 1 << 15  # values in one chunk; more leave the cache
_RUN = 256  # voxels in one running float32 sum
Rows = Callable[[Array, Array], tuple[Int[Array, "..."], list[Float[Array, "..."]]]]


def binned_sums(
    probs: Map, targets, valid: Valid | None, rows: Rows, n_keys: int, n_rows: int
) -> Float[Array, "batch classes keys rows"]:
    """Sum the rows of every voxel by its key, per example and class.

    Args:
        probs: Probability maps.
        targets: Targets of the same shape, any type.
        valid: Voxels that count; all by default.
        rows: From probabilities and targets to the key of each and its row of values.
        n_keys: Number of keys, static.
        n_rows: Values in a row, static.
    """
    batch, classes = probs.shape[0], probs.shape[-1]
    dtype = jnp.promote_types(probs.dtype, jnp.float32)
    flat = [jnp.reshape(x, (batch, -1, classes)) for x in (probs, targets)]
    if valid is not None:
        flat.append(jnp.reshape(valid, (batch, -1, 1)))
    if probs.size == 0:
        return jnp.zeros((batch, classes, n_keys, n_rows), dtype)

    def values_of(parts, counts):
        key, row = rows(parts[0].astype(dtype), parts[1].astype(dtype))
        for mask in [*parts[2:], counts]:
            row = [jnp.where(mask, x, 0) for x in row]
        return jnp.clip(key, 0, n_keys - 1), row

    def scattered(*flat):
        return _scatter(flat, values_of, n_keys, n_rows, dtype)

    def reduced(*flat):
        return _reduce(flat, values_of, n_keys)

    return lax.platform_dependent(*flat, cpu=scattered, default=reduced)


def _scatter(flat, values_of, n_keys, n_rows, dtype):
    """CPU: a scan over chunks, each scattered into a few numbers."""
    batch, n_voxels, classes = flat[0].shape
    width = min(n_voxels, max(1, _CHUNK // classes))
    n_chunks = -(-n_voxels // width)
    n_sums = -(-width // _RUN)
    # Neighbours go to different sums: key + n_keys * (class + classes * sum).
    place = jnp.arange(width, dtype=jnp.int32) % n_sums
    offset = n_keys * (
        jnp.arange(classes, dtype=jnp.int32)[None, :] + classes * place[:, None]
    )

    def one_chunk(_, step):
        case, chunk = step // n_chunks, step % n_chunks
        # The last chunk overlaps its neighbour and passes over what was counted there.
        start = jnp.minimum(chunk * width, n_voxels - width)
        parts = [_piece(x, case, start, width) for x in flat]
        fresh = start + jnp.arange(width, dtype=jnp.int32) >= chunk * width
        key, row = values_of(parts, fresh[:, None])
        values = jnp.stack([jnp.ravel(x) for x in row], axis=-1)
        zeros = jnp.zeros((n_sums * classes * n_keys, n_rows), dtype)
        keys = jnp.ravel(key + offset)
        sums = zeros.at[keys].add(values, mode="promise_in_bounds")
        return None, jnp.reshape(sums, (n_sums, -1, n_rows)).sum(axis=0)

    steps = jnp.arange(batch * n_chunks, dtype=jnp.int32)
    _, sums = lax.scan(one_chunk, None, steps)
    return jnp.reshape(sums, (batch, n_chunks, classes, n_keys, n_rows)).sum(axis=1)


def _piece(array, case, start, width):
    zero = jnp.zeros_like(start)
    return lax.dynamic_slice(array, (case, start, zero), (1, width, array.shape[2]))[0]


def _reduce(flat, values_of, n_keys):
    """Accelerator: masked reductions, which fuse; a scatter would contend."""
    key, row = values_of(flat, jnp.ones((1, 1, 1), bool))
    member = key[..., None] == jnp.arange(n_keys, dtype=key.dtype).reshape(1, 1, 1, -1)
    sums = [jnp.sum(jnp.where(member, x[..., None], 0), axis=1) for x in row]
    return jnp.stack(sums, axis=-1)


def looked_up(
    table: Float[Array, "batch classes keys"],
    keys: Int[Array, "batch *spatial classes"],
) -> Float[Array, "batch *spatial classes"]:
    """The table's entry for the key of each voxel and class."""
    batch, classes, n_keys = table.shape
    lead = jnp.arange(batch, dtype=jnp.int32) * (classes * n_keys)
    lead = lead.reshape(batch, *[1] * (keys.ndim - 1))
    inner = jnp.arange(classes, dtype=jnp.int32) * n_keys
    inner = inner.reshape(*[1] * (keys.ndim - 1), classes)
    place = jnp.clip(keys, 0, n_keys - 1) + lead + inner
    return jnp.ravel(table).at[place].get(mode="promise_in_bounds")
