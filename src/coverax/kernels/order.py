# pyright: strict, reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Exact order statistics of masked voxels, all tolerances at once.

A float is a bit pattern whose order can be made that of a signed integer, so the k-th
smallest of any number of voxels is found bit by bit: 32 counts, no sort, no scatter, no
memory beside the keys. What comes out is an element of the map, to the bit.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from coverax.engine.bins import check_shapes
from coverax.kernels import tiles
from coverax.kernels.arrays import (
    Labels,
    Map,
    Valid,
    as_map,
    count_true,
    flat,
    takes_arrays,
)
from coverax.kernels.devices import per_device
from coverax.rational import Level, allowed_misses, tolerance_terms

# On CPU a case is compacted first when its foreground fits this share of the voxels.
_COMPACT_SHARE = 16
_COMPACT_LEAST = 4096


AnyArray = Array | np.ndarray


@takes_arrays
def critical_probability(
    probs: Map,
    labels: Labels,
    tolerances: Sequence[Level] | np.ndarray,
    *,
    valid: Valid = None,
) -> Float[Array, "batch tolerances"]:
    """Largest cut at which each case misses at most a tolerated share of its foreground.

    The cut is exact: with `allowed = floor(tolerance * n_foreground)` in rational
    arithmetic it is the `allowed + 1`-th smallest foreground probability, so that
    `{probs >= cut}` misses at most `allowed` voxels and any larger element misses more.
    Its negative is the score of Conformal Lesion Segmentation.

    Args:
        probs: Probability maps; no NaN. Taken as float32.
        labels: References; foreground is what is not 0.
        tolerances: Tolerated false-negative rates of one case, in [0, 1), static. Read
            as decimals: 0.29 of 100 voxels is 29.
        valid: Voxels that count; all by default. Padding is what is not valid.

    Returns:
        One cut per case and tolerance, float32; `inf` for a case without foreground.
        -0.0 counts as 0.

    Raises:
        ValueError: A tolerance lies outside [0, 1) or has a denominator beyond 46,340,
            or the shapes differ.

    References:
        Tan et al. (2025), Conformal Lesion Segmentation for 3D Medical Images.
    """
    numerators, denominators = tolerance_terms(tolerances)
    check_shapes(probs, labels, valid)
    return critical_by_terms(probs, labels, valid, numerators, denominators)


@per_device("numerators", "denominators")
@jax.jit
def critical_by_terms(
    probs: AnyArray,
    labels: AnyArray,
    valid: AnyArray | None,
    numerators: AnyArray,
    denominators: AnyArray,
) -> Array:
    """`critical_probability` at tolerances given as fractions, which are traced."""
    values, mask = flat(jnp.asarray(probs)), flat(jnp.asarray(labels))
    if valid is not None:
        mask &= flat(jnp.asarray(valid))
    n_foreground = count_true(mask)[:, None]
    ranks = allowed_misses(n_foreground, numerators[None], denominators[None]) + 1
    return order_statistics(values, mask, jnp.asarray(ranks))


@takes_arrays
def order_statistics(
    values: Float[Array, "batch voxels"] | Float[np.ndarray, "batch voxels"],
    mask: Bool[Array, "batch voxels"] | Bool[np.ndarray, "batch voxels"],
    ranks: Int[Array, "batch ranks"] | Int[np.ndarray, "batch ranks"],
) -> Float[Array, "batch ranks"]:
    """The rank-th smallest masked values of each case; `inf` beyond the last one."""
    values, mask, ranks = map(jnp.asarray, (as_map(values, "values"), mask, ranks))
    ways = {"cpu": _one_case_at_a_time, "default": jax.vmap(_select)}
    if tiles.fits(values.size) and values.dtype == jnp.float32:
        ways["cuda"] = by_digits
    found = lax.platform_dependent(values, mask, ranks, **ways)
    n_masked = count_true(mask)[:, None]
    return jnp.where(ranks <= n_masked, found, jnp.inf)


def _one_case_at_a_time(values: Array, mask: Array, ranks: Array) -> Array:
    """CPU: gather the few masked voxels first where they are few; same answer."""
    n = values.shape[1]
    capacity = min(n, max(_COMPACT_LEAST, n // _COMPACT_SHARE))

    def compacted(values: Array, mask: Array, ranks: Array) -> Array:
        seen = jnp.cumsum(mask.astype(jnp.int32))
        slots = jnp.arange(capacity, dtype=jnp.int32)
        where = jnp.searchsorted(seen, slots + 1, side="left")
        return _select(values[jnp.clip(where, 0, n - 1)], slots < seen[-1], ranks)

    def one_case(case: tuple[Array, Array, Array]) -> Array:
        few = jnp.count_nonzero(case[1]) <= capacity
        return lax.cond(few, compacted, _select, *case)

    return lax.map(one_case, (values, mask, ranks))


def _select(values: Array, mask: Array, ranks: Array) -> Array:
    """Bitwise bisection: the largest key that fewer than `rank` keys lie below."""
    keys = sortable_bits(values)
    int_type = jnp.iinfo(keys.dtype)
    keys = jnp.where(mask, keys, int_type.max)
    top = jnp.array(1, keys.dtype)

    def add_bit(step: Array, answer: Array) -> Array:
        # XOR sets the bit; for the sign bit it turns the least key into 0.
        candidate = answer ^ lax.shift_left(
            top, (int_type.bits - 1 - step).astype(keys.dtype)
        )
        below = jnp.stack(
            [jnp.count_nonzero(keys < candidate[k]) for k in range(ranks.shape[0])]
        )
        return jnp.where(below < ranks, candidate, answer)

    start = jnp.full(ranks.shape, int_type.min, keys.dtype)
    answer = lax.fori_loop(0, int_type.bits, add_bit, start)
    return from_sortable_bits(answer, values.dtype)


def by_digits(
    values: Array, mask: Array, ranks: Array, interpret: bool = False
) -> Array:
    """GPU: the digits of the answer, first one for all ranks, then two for each.

    The voxels with the digits found so far are counted by their next one: 12, 12 and 8
    bits; `_select` would read the map 32 times.
    """

    def narrowed(shift: int, n_bits: int, found: Array, rank: Array):
        def next_digit(tile: tuple[Array, ...], look: tiles.Look) -> Array:
            key = sortable_bits(tile[0]) ^ jnp.int32(jnp.iinfo(jnp.int32).min)
            digit = lax.shift_right_logical(key, jnp.int32(shift)) & (2**n_bits - 1)
            same = tile[1]
            if shift + n_bits < 32:
                higher = lax.shift_right_logical(key, jnp.int32(shift + n_bits))
                same &= higher == look(jnp.int32(0))
            return jnp.where(same, digit, -1)

        counts = tiles.tile_counts(
            (values, mask),
            next_digit,
            2**n_bits,
            table=found[:, None],
            interpret=interpret,
        )
        upto = jnp.cumsum(counts, axis=1)
        digit = jnp.sum(upto < rank[:, None], axis=1, dtype=jnp.int32)
        before = jnp.sum(jnp.where(upto < rank[:, None], counts, 0), axis=1)
        return (found << n_bits) | digit, rank - before.astype(rank.dtype)

    def one_rank(rank: Array) -> Array:
        found = narrowed(20, 12, jnp.zeros_like(rank), rank)
        return narrowed(0, 8, *narrowed(8, 12, *found))[0]

    keys = lax.map(one_rank, ranks.T).T
    return from_sortable_bits(keys ^ jnp.int32(jnp.iinfo(jnp.int32).min), values.dtype)


def sortable_bits(values: Array) -> Array:
    """Signed integers in the order of the floats, -0.0 equal to 0.0.

    Floats themselves must not be compared where a subnormal one may decide: XLA flushes
    them to 0 on CPU and TPU.
    """
    int_dtype = jnp.int64 if values.dtype.itemsize == 8 else jnp.int32
    bits = lax.bitcast_convert_type(values, int_dtype)
    return _flip_negative(jnp.where(bits == jnp.iinfo(int_dtype).min, 0, bits))


def from_sortable_bits(keys: Array, dtype: jnp.dtype) -> Array:
    """The floats of `sortable_bits`."""
    return lax.bitcast_convert_type(_flip_negative(keys), dtype)


def positive_zero(values: Array) -> Array:
    """The same values, -0.0 as 0.0; adding 0 would flush subnormal ones."""
    return from_sortable_bits(sortable_bits(values), values.dtype)


def _flip_negative(bits: Array) -> Array:
    """Map negative float patterns to keys and back; its own inverse."""
    return jnp.where(bits < 0, bits ^ jnp.iinfo(bits.dtype).max, bits)
