"""Exact sums on the host: the same whole numbers as `coverax.kernels.sums`.

float64 holds whole numbers up to 2**53. A block of at most 2**15 values, cut into parts
of few enough bits, is therefore summed exactly by any NumPy reduction, in any order.
"""

import numpy as np

from coverax.binning import DIGIT_BITS

BLOCK = 1 << 15
_HIGH, _LOW = 2.0**38, 2.0**60


def split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut values into whole numbers of 2**-38 and of 2**-60 (floor); float64.

    A float32 of at least 2**-14 has no second part.
    """
    scaled = values.astype(np.float64) * _HIGH
    high = np.floor(scaled)
    return high, np.floor((scaled - high) * (_LOW / _HIGH))


def block_sum(values: np.ndarray) -> int:
    """Sum of a block of values in [0, 1], each rounded down to 2**-38, in 2**-45."""
    scaled = values * np.float32(_HIGH)  # a power of two: exact
    return int(np.floor(scaled, out=scaled).sum(dtype=np.float64)) << 7


def to_digits(totals: np.ndarray, n_digits: int) -> list[np.ndarray]:
    """Python integers in units of `2**(-15 * n_digits)` to digits, whole part first."""
    mask = (1 << DIGIT_BITS) - 1
    shifts = [DIGIT_BITS * (n_digits - place) for place in range(n_digits + 1)]
    digits = [totals >> shifts[0], *[(totals >> s) & mask for s in shifts[1:]]]
    return [digit.astype(np.int64) for digit in digits]
