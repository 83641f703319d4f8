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
_AT_ONCE = 4  # chunks side by side
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
    """CPU: scans over several chunks at once, over single ones, and over the rest.

    Measured: rows scattered at once take twice as long as each of their numbers by
    itself, masks that let the last chunk overlap its neighbour doubled the whole, and
    the scatters of a single chunk leave cores idle.
    """
    batch, n_voxels, classes = flat[0].shape
    width = max(1, _CHUNK // classes)

    def chunk_sums(case, start, width):
        n_sums = -(-width // _RUN)
        # Neighbours go to different sums: key + n_keys * (class + classes * sum).
        place = jnp.arange(width, dtype=jnp.int32)[:, None] % n_sums
        lead = jnp.arange(classes, dtype=jnp.int32)[None, :] + classes * place
        key, row = values_of([_piece(x, case, start, width) for x in flat])
        keys = jnp.ravel(key + n_keys * lead)
        zeros = jnp.zeros(n_sums * classes * n_keys, dtype)
        sums = [zeros.at[keys].add(jnp.ravel(x), mode="promise_in_bounds") for x in row]
        shape = (n_sums, classes, n_keys)
        return jnp.stack([jnp.reshape(x, shape).sum(0) for x in sums], axis=-1)

    def scan(first, last, width, at_once):
        def one_step(_, step):
            case, start = step // n_steps, first + step % n_steps * (width * at_once)
            sums = [chunk_sums(case, start + k * width, width) for k in range(at_once)]
            return None, jnp.stack(sums).sum(axis=0)

        n_steps = (last - first) // (width * at_once)
        steps = jnp.arange(batch * n_steps, dtype=jnp.int32)
        _, sums = lax.scan(one_step, None, steps)
        return jnp.reshape(sums, (batch, n_steps, *sums.shape[1:])).sum(axis=1)

    several = n_voxels - n_voxels % (width * _AT_ONCE)
    whole = n_voxels - n_voxels % width
    pieces = (
        (0, several, width, _AT_ONCE),
        (several, whole, width, 1),
        (whole, n_voxels, n_voxels - whole, 1),
    )
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
