"""Sums over bins, per example and class, in one pass and without copies.

The volume is read in chunks that stay in the cache; each chunk becomes keys and rows, and
the rows are added up by key. No running sum takes more than 256 voxels; their sums are
added in turn, so a bin of millions of voxels keeps its accuracy. Nothing as large as the
volume is stored.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from coverax.losses._voxels import Map, Valid

_CHUNK = 1 << 16  # values in one chunk; more leave the cache
_RUN = 256  # voxels in one running float32 sum
_LONGEST = 2**31 - 1  # values in a run
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

    def values_of(parts):
        key, row = rows(parts[0].astype(dtype), parts[1].astype(dtype))
        for mask in parts[2:]:
            row = [jnp.where(mask, x, 0) for x in row]
        return jnp.clip(key, 0, n_keys - 1), row

    def scattered(*flat):
        return _scatter(flat, values_of, n_keys, dtype)

    def reduced(*flat):
        return _reduce(flat, values_of, n_keys)

    return lax.platform_dependent(*flat, cpu=scattered, default=reduced)


def _scatter(flat, values_of, n_keys, dtype):
    """CPU: a scan over whole chunks and one over the rest of each case.

    Measured: rows scattered at once take twice as long as each of their numbers by
    itself, and masks that let the last chunk overlap its neighbour doubled the whole.
    """
    batch, n_voxels, classes = flat[0].shape
    width = max(1, _CHUNK // classes)
    whole = n_voxels - n_voxels % width

    def scan(first, last, width):
        n_sums = -(-width // _RUN)
        # Neighbours go to different sums: key + n_keys * (class + classes * sum).
        place = jnp.arange(width, dtype=jnp.int32)[:, None] % n_sums
        lead = jnp.arange(classes, dtype=jnp.int32)[None, :] + classes * place

        def one_chunk(_, step):
            case, chunk = step // n_chunks, step % n_chunks
            parts = [_piece(x, case, first + chunk * width, width) for x in flat]
            key, row = values_of(parts)
            keys = jnp.ravel(key + n_keys * lead)
            zeros = jnp.zeros(n_sums * classes * n_keys, dtype)
            sums = [
                zeros.at[keys].add(jnp.ravel(x), mode="promise_in_bounds") for x in row
            ]
            shape = (n_sums, classes, n_keys)
            return None, jnp.stack([jnp.reshape(x, shape).sum(0) for x in sums], -1)

        n_chunks = (last - first) // width
        steps = jnp.arange(batch * n_chunks, dtype=jnp.int32)
        _, sums = lax.scan(one_chunk, None, steps)
        return jnp.reshape(sums, (batch, n_chunks, *sums.shape[1:])).sum(axis=1)

    pieces = ((0, whole, width), (whole, n_voxels, n_voxels - whole))
    found = [scan(*piece) for piece in pieces if piece[1] > piece[0]]
    return jnp.stack(found).sum(axis=0)


def _piece(array, case, start, width):
    """Voxels of one case; cut as one run of numbers, which is read twice as fast.

    Places in a run are int32 numbers, so that one of more values is cut by its axes.
    """
    batch, n_voxels, classes = array.shape
    if n_voxels * classes > _LONGEST:
        zero = jnp.zeros_like(start)
        return lax.dynamic_slice(array, (case, start, zero), (1, width, classes))[0]
    runs = jnp.reshape(array, (batch, -1))
    run = lax.dynamic_slice(runs, (case, start * classes), (1, width * classes))
    return jnp.reshape(run, (width, classes))


def _reduce(flat, values_of, n_keys):
    """Accelerator: masked reductions, which fuse; a scatter would contend."""
    key, row = values_of(flat)
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


def behind_tables(
    by_voxel: Callable[..., Map],
    tables: Sequence[Float[Array, "batch classes keys"]],
    n_used: Float[Array, "batch classes _"],
    probs: Map,
) -> Map:
    """`by_voxel(*tables)`; on the CPU behind a fence.

    XLA would compute the entry of a table anew at every voxel that looks it up, which
    takes four times as long. It does not reach into a condition: here that any bin is
    used, without which tables and gradient are 0 to every order. (A barrier is left out
    on the CPU. Under `vmap` a condition becomes a choice, and the fence falls.)
    """

    def zeros(*_):
        # Of the map, so that it varies over the same devices.
        return jnp.where(probs == probs, 0, 0).astype(tables[0].dtype)

    def fenced(*tables):
        return lax.cond(jnp.any(n_used > 0), by_voxel, zeros, *tables)

    return lax.platform_dependent(*tables, cpu=fenced, default=by_voxel)
