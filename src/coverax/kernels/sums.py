"""Exact keyed sums of values in [0, 1]: fixed point, integers only.

A float32 sum over millions of voxels loses digits, and which ones depends on the order.
Here each value is cut, exactly, into digits of 15 bits; digits are added as int32 over
chunks so short that nothing overflows, and carried once at the end. So the answer has no
order: batch, padding, device and vectorisation cannot change its bits.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from coverax.engine.bins import DIGIT_BITS, MARGIN, check_shapes, join_digits
from coverax.kernels import tiles
from coverax.kernels.arrays import Labels, Map, Valid, count_true, flat

# Voxels, of every way to sum: digits of 15 bits times 2**15 voxels stay below 2**31.
_CHUNK = tiles.SPAN
LEFT_OUT = 2  # an outcome that is none
_MASK = (1 << DIGIT_BITS) - 1
MAX_VOXELS = 1 << 29  # of one case; carried digits stay below 2**31


# The third argument looks up the table.
Terms = Callable[[Array, Array, tiles.Look], tuple[Array, tuple[Array, ...]]]


def outcomes(
    probs: Map, labels: Labels, valid: Valid
) -> tuple[
    Float[Array, "batch voxels"], Int[Array, "batch voxels"], Int[Array, " batch"]
]:
    """Flat float32 values, the outcome of each voxel, and how many were refused.

    A voxel is left out where `valid` says so, and refused where its value is NaN or
    further than `MARGIN` outside [0, 1].

    Raises:
        ValueError: The shapes differ.
    """
    check_shapes(probs, labels, valid)
    values, mask = flat(probs), flat(labels)
    proper = (values >= -MARGIN) & (values <= 1 + MARGIN)
    asked = jnp.ones_like(proper) if valid is None else flat(valid)
    outcome = jnp.where(proper & asked, mask.astype(jnp.int8), jnp.int8(LEFT_OUT))
    return values, outcome, count_true(asked & ~proper)


def keyed_sums(
    probs: Float[Array, "batch voxels"],
    outcome: Int[Array, "batch voxels"],
    terms_fn: Terms,
    n_keys: int,
    n_digits: tuple[int, ...],
    *,
    halves: bool = False,
    table: np.ndarray | None = None,
) -> tuple[Int[Array, "batch keys"], tuple[Float[Array, "batch _"], ...]]:
    """Count the voxels of each key, and sum terms over them.

    Keys and terms are made chunk by chunk, so that nothing as large as the map is held.

    Args:
        probs: Probability maps; anything where the voxel is left out.
        outcome: 0 background, 1 foreground, `LEFT_OUT` for a voxel that does not count.
        terms_fn: Pointwise, from probabilities and outcomes (0 or 1) to keys, 0 to
            n_keys - 1, and to terms, numbers in [0, 1] (or slightly outside).
        n_keys: Number of keys, static.
        n_digits: For each term the digits of 15 bits kept: a value is summed with an
            absolute error below `2**(-15 * n_digits)`.
        halves: Sum each term over the first and the second half of the keys together
            too, rounded once: what no division into them changes by a bit.
        table: Numbers that `terms_fn` looks up.

    Returns:
        Exact counts; for each term the sums, rounded to float32 at the end, with
        `halves` those of both halves together behind them.

    Raises:
        ValueError: A case has more than `MAX_VOXELS` voxels.
    """
    n_voxels = probs.shape[1]
    if n_voxels > MAX_VOXELS:
        raise ValueError(f"at most {MAX_VOXELS} voxels a case, got {n_voxels}")

    def look(places):
        return jnp.asarray(table)[places]

    def columns(probs, outcome, look=look):
        keys, terms = terms_fn(probs, jnp.minimum(outcome, 1).astype(jnp.int32), look)
        return jnp.where(outcome == LEFT_OUT, n_keys, keys), digits_of(terms, n_digits)

    def scattered(*flat):
        return lax.map(
            lambda x: scatter_sums(columns, x[0], x[1], n_keys), chunked(*flat)
        )

    def reduced(*flat):
        return reduce_sums(columns, *chunked(*flat), n_keys)

    def tiled(*flat):
        return tiled_sums(columns, flat, n_keys, sum(n_digits), table)

    ways = {"cpu": scattered, "default": reduced}
    if tiles.fits(probs.size, n_keys):
        ways["cuda"] = tiled
    sums = lax.platform_dependent(probs, outcome, **ways)
    counts, digits = sums[..., 0], sums[..., 1:]
    ends = [sum(n_digits[: i + 1]) for i in range(len(n_digits))]
    if halves:
        first, second = jnp.split(digits, 2, axis=-2)
        digits = jnp.concatenate([digits, first + second], axis=-2)
    totals = tuple(
        join_digits(carried(digits[..., end - n : end]))
        for end, n in zip(ends, n_digits, strict=True)
    )
    return jnp.sum(counts, axis=1, dtype=jnp.int32), totals


def chunked(probs, outcome):
    """Rows of at most `_CHUNK` voxels; what fills the last counts nowhere."""
    batch, n_voxels = probs.shape
    chunk = min(_CHUNK, max(n_voxels, 1))
    n_chunks = max(1, -(-n_voxels // chunk))
    tail = ((0, 0), (0, n_chunks * chunk - n_voxels))
    shape = (batch, n_chunks, chunk)
    return (
        jnp.reshape(jnp.pad(probs, tail), shape),
        jnp.reshape(jnp.pad(outcome, tail, constant_values=LEFT_OUT), shape),
    )


def digits_of(values, n_digits):
    """Digits of 15 bits, most significant first; every step is exact in float32.

    Those of a negative value are negative: what is left below a digit is then no larger
    than the value, and needs no more bits.
    """
    out = []
    for value, n in zip(values, n_digits, strict=True):
        rest = value
        for _ in range(n):
            rest = rest * (1 << DIGIT_BITS)
            digit = jnp.trunc(rest)
            rest = rest - digit
            out.append(digit.astype(jnp.int32))
    return out


def scatter_sums(columns_fn, probs, outcome, n_keys):
    """CPU, one case: a scan over chunks, each scattered into a few integers.

    The key `n_keys` is that of a voxel that does not count; none is larger.
    """

    def one_chunk(_, chunk):
        keys, columns = columns_fn(*chunk)
        # One column after another: rows of several take more than twice as long.
        start = jnp.zeros(n_keys + 1, jnp.int32)
        sums = [
            start.at[keys].add(c, mode="promise_in_bounds")[:n_keys]
            for c in [jnp.ones_like(keys), *columns]
        ]
        return None, jnp.stack(sums, axis=-1)

    return lax.scan(one_chunk, None, (probs, outcome))[1]


def reduce_sums(columns_fn, probs, outcome, n_keys):
    """Accelerator: masked integer reductions, which fuse; a scatter would contend."""
    keys, columns = columns_fn(probs, outcome)
    names = jnp.arange(n_keys, dtype=keys.dtype).reshape(*[1] * keys.ndim, -1)
    member = keys[..., None] == names
    sums = [
        jnp.sum(jnp.where(member, c[..., None], 0), axis=-2, dtype=jnp.int32)
        for c in [jnp.ones_like(keys), *columns]
    ]
    return jnp.stack(sums, axis=-1)


def tiled_sums(columns_fn, flat, n_keys, n_digits, table, interpret=False):
    """GPU: one walk of a program over its span; digits in halves, as products are."""

    def halves(values, look):
        keys, digits = columns_fn(*values, look)
        columns = [jnp.ones_like(keys)]
        for digit in digits:
            number = digit.astype(jnp.float32)
            high = jnp.trunc(number * 2.0**-7)
            columns += [high, number - high * 2.0**7]
        return keys, columns

    looked = None
    if table is not None:
        looked = jnp.broadcast_to(jnp.asarray(table), (len(flat[0]), len(table)))
    sums = tiles.tile_sums(
        flat, halves, n_keys, 1 + 2 * n_digits, table=looked, interpret=interpret
    )
    digits = (sums[..., 1::2] << 7) + sums[..., 2::2]
    return jnp.concatenate([sums[..., :1], digits], axis=-1)


def carried(digits):
    """Chunk sums of digits `[batch, chunks, keys, digits]` to those of their totals.

    The whole part comes first.
    """
    high = jnp.sum(digits >> DIGIT_BITS, axis=1, dtype=jnp.int32)
    low = jnp.sum(digits & _MASK, axis=1, dtype=jnp.int32)
    zero = jnp.zeros_like(high[..., :1])
    places = jnp.concatenate([high, zero], -1) + jnp.concatenate([zero, low], -1)
    out, carry = [], jnp.zeros_like(places[..., 0])
    for place in range(digits.shape[-1], 0, -1):
        number = places[..., place] + carry
        out.append(number & _MASK)
        carry = number >> DIGIT_BITS
    return [places[..., 0] + carry, *out[::-1]]
