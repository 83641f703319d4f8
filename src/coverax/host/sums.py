"""Exact sums on the host: the same whole numbers as `coverax.kernels.sums`.

float64 holds whole numbers up to 2**53. At most 2**15 values of at most 38 bits are
therefore summed exactly by any NumPy reduction, in any order.
"""

import numpy as np

from coverax.engine.bins import DIGIT_BITS

_EXACT = 1 << 15  # values in one sum
# Threads that call NumPy for less wait for one another longer than they count.
PIECE = 8 * _EXACT
_UNITS = np.float32(2.0**38)


def piece_sum(values: np.ndarray) -> int:
    """Sum of at most `PIECE` values in [0, 1], each rounded down to 2**-38, in 2**-45."""
    np.multiply(values, _UNITS, out=values)  # a power of two: exact
    np.floor(values, out=values)
    whole = values.size - values.size % _EXACT
    sums = values[:whole].reshape(-1, _EXACT).sum(axis=1, dtype=np.float64)
    rest = values[whole:].sum(dtype=np.float64)
    return sum(map(int, [*sums, rest])) << 7


def to_digits(totals: np.ndarray, n_digits: int) -> list[np.ndarray]:
    """Python integers in units of `2**(-15 * n_digits)` to digits, whole part first."""
    mask = (1 << DIGIT_BITS) - 1
    shifts = [DIGIT_BITS * (n_digits - place) for place in range(n_digits + 1)]
    digits = [totals >> shifts[0], *[(totals >> s) & mask for s in shifts[1:]]]
    return [digit.astype(np.int64) for digit in digits]
