"""A GPU's keyed sums: each voxel is read once, and nothing as large as a map is written.

Written as masked reductions the compiler stores keys and digits of every voxel first, as
it will not make them anew for each key. Here a program of the GPU walks a span of voxels
in tiles; in a tile, keys stand as rows of zeros and ones, and one matrix product sums the
columns of all keys. Columns are whole numbers of at most 8 bits, which bfloat16 holds,
and a span is so short that float32 holds the sums: the answer is exact and has no order.

On other devices these functions run in the interpreter, for tests.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

try:
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    HAS_TRITON = True
except ImportError:  # a jaxlib without the dialect: the reductions of others stand in
    HAS_TRITON = False

_TILE = 256  # voxels of one matrix product
SPAN = 1 << 15  # voxels of one program; times 255 below 2**24
_LEAST = 16  # rows and columns of the smallest product
MOST_KEYS = 512  # rows that registers hold
_LARGEST = (1 << 31) - 1  # places are int32

# From the values of a tile, one array each, to its keys and to columns that are whole
# numbers of at most 8 bits, both of the tile's shape. A key that is none counts nowhere.
# The second argument looks up the table at int32 places.
Look = Callable[[Array], Array]
Columns = Callable[[tuple[Array, ...], Look], tuple[Array, list[Array]]]


def fits(n_values: int, n_keys: int = 1) -> bool:
    """Whether there are programs of a GPU, and one can take so many values and keys."""
    return HAS_TRITON and 0 < n_values <= _LARGEST - SPAN and n_keys <= MOST_KEYS


def tile_sums(
    values: tuple[Array, ...],
    columns_fn: Columns,
    n_keys: int,
    n_columns: int,
    *,
    table: Array | None = None,
    interpret: bool = False,
) -> Int[Array, "batch spans keys columns"]:
    """Sum columns by key over spans of `SPAN` voxels.

    Args:
        values: Arrays `[batch, voxels]`, read in place.
        columns_fn: Pointwise function to keys and columns.
        n_keys: Number of keys, static.
        n_columns: Number of columns, static.
        table: Numbers that `columns_fn` looks up, `[batch, entries]`.
        interpret: Run without a GPU.
    """

    def product(keys: Array, columns: list[Array]) -> Array:
        hot = _rows(keys, _power(n_keys))
        place = lax.broadcasted_iota(jnp.int32, (_TILE, _power(n_columns)), 1)
        stack = jnp.zeros(place.shape, jnp.float32)
        for k, column in enumerate(columns):
            stack = jnp.where(place == k, column.astype(jnp.float32)[:, None], stack)
        return _dot(hot, stack.astype(jnp.bfloat16))

    shape = (_power(n_keys), _power(n_columns))
    found = _walk(values, table, columns_fn, product, shape, interpret)
    return found[..., :n_keys, :n_columns]


def tile_counts(
    values: tuple[Array, ...],
    keys_fn: Callable[[tuple[Array, ...], Look], Array],
    n_keys: int,
    *,
    table: Array | None = None,
    interpret: bool = False,
) -> Int[Array, "batch keys"]:
    """Count voxels by key: the digits of a key are the row and the column of a product.

    Args:
        values: Arrays `[batch, voxels]`, read in place.
        keys_fn: Pointwise function to keys; one that is none counts nowhere.
        n_keys: Number of keys, a power of two, static.
        table: Numbers that `keys_fn` looks up, `[batch, entries]`.
        interpret: Run without a GPU.
    """
    wide = max(_LEAST, 1 << (n_keys.bit_length() // 2))
    high = max(_LEAST, -(-n_keys // wide))

    def product(keys: Array, _: list[Array]) -> Array:
        known = (keys >= 0) & (keys < n_keys)
        rows = jnp.where(known, keys // wide, -1)
        columns = _rows(jnp.where(known, keys % wide, -1), wide)
        return _dot(_rows(rows, high), columns.T)

    def keys_only(tile: tuple[Array, ...], look: Look) -> tuple[Array, list[Array]]:
        return keys_fn(tile, look), []

    found = _walk(values, table, keys_only, product, (high, wide), interpret)
    total = jnp.sum(found, axis=1, dtype=jnp.int32)
    return jnp.reshape(total, (total.shape[0], high * wide))[:, :n_keys]


def _dot(rows: Array, columns: Array) -> Array:
    """A product of small whole numbers, exact in float32."""
    return lax.dot(rows, columns, preferred_element_type=jnp.float32)


def _walk(values, table, columns_fn, product, shape, interpret):
    """The sums of each span of each case."""
    batch, n_voxels = values[0].shape
    n_spans = max(1, -(-n_voxels // SPAN))
    tables = () if table is None else (table,)

    def program(*refs):
        *inputs, out = refs
        case, span = pl.program_id(0), pl.program_id(1)
        own = inputs[: len(values)]
        looked = inputs[len(values) :]

        def look(places: Array) -> Array:
            return triton.load(looked[0].at[case, places])

        def tile(k, sums):
            place = span * SPAN + k * _TILE + jnp.arange(_TILE, dtype=jnp.int32)
            inside = place < n_voxels
            at = jnp.minimum(place, n_voxels - 1)
            found = tuple(triton.load(ref.at[case, at]) for ref in own)
            keys, columns = columns_fn(found, look)
            return sums + product(jnp.where(inside, keys, -1), columns)

        sums = lax.fori_loop(0, SPAN // _TILE, tile, jnp.zeros(shape, jnp.float32))
        out[...] = sums.astype(jnp.int32)

    return pl.pallas_call(
        program,
        grid=(batch, n_spans),
        out_specs=pl.BlockSpec((None, None, *shape), lambda b, s: (b, s, 0, 0)),
        out_shape=jax.ShapeDtypeStruct((batch, n_spans, *shape), jnp.int32),
        compiler_params=triton.CompilerParams(num_warps=4),
        interpret=interpret,
    )(*values, *tables)


def _rows(keys: Int[Array, " tile"], n: int) -> Float[Array, "keys tile"]:
    """1 where a voxel has the key of the row."""
    names = lax.broadcasted_iota(jnp.int32, (n, keys.shape[0]), 0)
    return (keys[None, :] == names).astype(jnp.bfloat16)


def _power(n: int) -> int:
    return max(_LEAST, 1 << (n - 1).bit_length())
