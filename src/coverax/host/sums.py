"""Exact sums on the host: the same whole numbers as `coverax.kernels.sums`.

int64 holds whole numbers below 2**63. At most 2**24 values of at most 38 bits are
therefore summed exactly by any NumPy reduction, in any order.
"""

import numpy as np
from jaxtyping import Float, Int

from coverax.engine.bins import DIGIT_BITS

PIECE = 1 << 16  # voxels that stay in the cache, with what is computed of them


def whole_units(
    values: Float[np.ndarray, " voxels"], bits: int, room: Int[np.ndarray, " room"]
) -> Int[np.ndarray, " voxels"]:
    """Float32 values in whole `2**-bits`, rounded towards 0, in the memory of `room`.

    The values are scaled where they lie, by a power of two: exactly.
    """
    np.multiply(values, np.float32(2.0**bits), out=values)
    units = room[: values.size]
    np.copyto(units, values, casting="unsafe")
    return units


def to_digits(totals: np.ndarray, n_digits: int) -> list[np.ndarray]:
    """Python integers in units of `2**(-15 * n_digits)` to digits, whole part first."""
    mask = (1 << DIGIT_BITS) - 1
    shifts = [DIGIT_BITS * (n_digits - place) for place in range(n_digits + 1)]
    digits = [totals >> shifts[0], *[(totals >> s) & mask for s in shifts[1:]]]
    return [digit.astype(np.int64) for digit in digits]
