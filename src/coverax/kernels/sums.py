"""Exact keyed sums of values in [0, 1]: fixed point, integers only.

A float32 sum over millions of voxels loses digits, and which ones depends on the order.
Here each value is cut, exactly, into digits of 15 bits; digits are added as int32 over
chunks so short that nothing overflows, and carried once at the end. So the answer has no
order: batch, padding, device and vectorisation cannot change its bits.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_DIGIT_BITS = 15
_CHUNK = 1 << 15  # voxels; digits of 15 bits times 2**15 voxels stay below 2**31
MAX_VOXELS = 1 << 29  # of one case; carried digits stay below 2**31


def keyed_sums(
    keys: Int[Array, "batch voxels"],
    values: tuple[Float[Array, "batch voxels"], ...],
    n_keys: int,
    n_digits: tuple[int, ...],
) -> tuple[Int[Array, "batch keys"], tuple[Float[Array, "batch keys"], ...]]:
    """Count the voxels of each key, and sum values over them.

    Args:
        keys: 0 to n_keys - 1; a voxel of any other key is left out.
        values: Arrays of numbers in [0, 1]; slightly outside is summed as well.
        n_keys: Number of keys, static.
        n_digits: For each array the digits of 15 bits kept: a value is summed with an
            absolute error below `2**(-15 * n_digits)`.

    Returns:
        Exact counts; for each array the sums, rounded to float32 at the end.

    Raises:
        ValueError: A case has more than `MAX_VOXELS` voxels.
    """
    n_voxels = keys.shape[1]
    if n_voxels > MAX_VOXELS:
        raise ValueError(f"at most {MAX_VOXELS} voxels a case, got {n_voxels}")
    chunk = min(_CHUNK, max(n_voxels, 1))
    n_chunks = max(1, -(-n_voxels // chunk))
    tail = ((0, 0), (0, n_chunks * chunk - n_voxels))
    keys = _chunked(jnp.pad(keys, tail, constant_values=n_keys), chunk)
    values = tuple(_chunked(jnp.pad(v, tail), chunk) for v in values)

    def scattered(keys, values):
        def one_case(case):
            return _scatter(case[0], case[1], n_keys, n_digits)

        return lax.map(one_case, (keys, values))

    def reduced(keys, values):
        return _reduce(keys, values, n_keys, n_digits)

    counts, digits = lax.platform_dependent(
        keys, values, cpu=scattered, default=reduced
    )
    ends = [sum(n_digits[: i + 1]) for i in range(len(n_digits))]
    totals = tuple(
        _carry(digits[..., end - n : end])
        for end, n in zip(ends, n_digits, strict=True)
    )
    return jnp.sum(counts, axis=1, dtype=jnp.int32), totals


def _chunked(array, chunk):
    return jnp.reshape(array, (array.shape[0], -1, chunk))


def _digits(values, n_digits):
    """Digits of 15 bits, most significant first; every step is exact in float32."""
    out = []
    for value, n in zip(values, n_digits, strict=True):
        rest = value
        for _ in range(n):
            rest = rest * (1 << _DIGIT_BITS)
            digit = jnp.floor(rest)
            rest = rest - digit
            out.append(digit.astype(jnp.int32))
    return out


def _scatter(keys, values, n_keys, n_digits):
    """CPU, one case: a scan over chunks, each scattered into a few integers."""

    def one_chunk(_, chunk):
        keys, values = chunk
        rows = jnp.stack([jnp.ones_like(keys), *_digits(values, n_digits)], axis=-1)
        start = jnp.zeros((n_keys, rows.shape[-1]), jnp.int32)
        return None, start.at[keys].add(rows, mode="drop")

    _, sums = lax.scan(one_chunk, None, (keys, values))
    return sums[..., 0], sums[..., 1:]


def _reduce(keys, values, n_keys, n_digits):
    """Accelerator: masked integer reductions, which fuse; a scatter would contend."""
    names = jnp.arange(n_keys, dtype=keys.dtype).reshape(*[1] * keys.ndim, -1)
    member = keys[..., None] == names
    columns = [jnp.ones_like(keys), *_digits(values, n_digits)]
    sums = [
        jnp.sum(jnp.where(member, c[..., None], 0), axis=-2, dtype=jnp.int32)
        for c in columns
    ]
    return sums[0], jnp.stack(sums[1:], axis=-1)


def _carry(digits):
    """Chunk sums of digits `[batch, chunks, keys, digits]` to float32 totals."""
    high = jnp.sum(digits >> _DIGIT_BITS, axis=1, dtype=jnp.int32)
    low = jnp.sum(digits & ((1 << _DIGIT_BITS) - 1), axis=1, dtype=jnp.int32)
    n = digits.shape[-1]
    total = low[..., n - 1].astype(jnp.float32) * 2.0 ** (-_DIGIT_BITS * n)
    for place in range(n - 1, 0, -1):  # small terms first
        number = high[..., place] + low[..., place - 1]
        total = total + number.astype(jnp.float32) * 2.0 ** (-_DIGIT_BITS * place)
    return total + high[..., 0].astype(jnp.float32)
