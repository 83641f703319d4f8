"""Equal-width bins of [0, 1]: edges and formulas that kernels and host twins share."""

import numpy as np

from coverax.tolerance import MAX_OVERSHOOT

MAX_BINS = 1 << 12
# Sums are whole numbers in digits of 15 bits, so that every engine finds the same ones.
DIGIT_BITS = 15
# What lies further out of [0, 1] is no probability.
MARGIN = MAX_OVERSHOOT
# Accelerators take what lies below the normal floats for 0; so does every engine here.
SMALLEST = np.float32(2.0**-126)
# The log loss of a voxel ends here: half a step of float32 below 1.
LEAST_PROBABILITY = np.float32(2.0**-24)
LARGEST_LOSS = np.float32(24 * np.log(2.0))

# A soft bin of less weight says nothing, and its gradient would know no bound.
LEAST_WEIGHT = 0.01


def bin_edges(n_bins: int) -> np.ndarray:
    """The `n_bins + 1` edges, each the float32 nearest to `k / n_bins`.

    Raises:
        ValueError: `n_bins` is not at least 1.
    """
    if not 1 <= n_bins <= MAX_BINS:
        raise ValueError(f"n_bins must be at least 1, at most {MAX_BINS}, got {n_bins}")
    return (np.arange(n_bins + 1) / n_bins).astype(np.float32)


def check_cuts(n_cuts: int) -> None:
    """Refuse a number of cuts whose products with float32 numbers are not exact.

    Raises:
        ValueError: `n_cuts` is no power of two, or above `MAX_BINS`.
    """
    if not 1 <= n_cuts <= MAX_BINS or n_cuts & (n_cuts - 1):
        raise ValueError(
            f"n_cuts must be a power of two, got {n_cuts} (at most {MAX_BINS})"
        )


def low_scale(n_bins: int) -> np.float32:
    """A factor a little below `n_bins`: `int(p * factor)` is the bin of p, or one less.

    Three roundings of 2**-24 cannot make up for 2**-21, so the product never reaches k
    at the edge k; and it never falls short by a whole bin. One comparison with the
    bin's upper edge then settles it.
    """
    return np.float32(n_bins * (1 - 2.0**-21))


def share_intervals(n, sum_t, sum_t2, n_bins: int):
    """Interval sums to the weights and weighted probabilities of the soft bins.

    Interval j of `n_bins + 1` lies between the bin centres j - 1 and j; a voxel at t in
    [0, 1) has the probability `centre_(j-1) + t / n_bins` and gives the weight 1 - t to
    the left bin and t to the right; in the first and last interval everything goes to
    the only neighbour. Works on NumPy and JAX arrays, `[batch, n_bins + 1]`.
    """
    j = np.arange(n_bins + 1)
    dtype = np.dtype(sum_t.dtype)
    inside, first, last = (
        x.astype(dtype)[None] for x in ((j > 0) & (j < n_bins), j == 0, j == n_bins)
    )
    centre = (j - 0.5).astype(dtype)[None]  # in bins, like all probabilities here
    whole = centre * n + sum_t
    right = centre * sum_t + sum_t2
    weight_left = inside * (n - sum_t) + last * n
    weight_right = inside * sum_t + first * n
    p_left = inside * (whole - right) + last * whole
    p_right = inside * right + first * whole
    weight = weight_left[:, 1:] + weight_right[:, :-1]
    return weight, (p_left[:, 1:] + p_right[:, :-1]) / dtype.type(n_bins)


def join_digits(digits):
    """Digits of a fixed-point number, the whole part first, to float32.

    The same few operations on NumPy and JAX arrays: equal digits give equal bits.
    """
    terms = [
        digit.astype(np.float32) * np.float32(2.0 ** (-DIGIT_BITS * place))
        for place, digit in enumerate(digits)
    ]
    total = terms.pop()
    while terms:  # small terms first
        total = total + terms.pop()
    return total


def check_shapes(probs, labels, valid, what: str = "labels") -> None:
    """Refuse labels or a valid mask of another shape than the map, or no batch axis."""
    if len(probs.shape) < 2:
        raise ValueError(
            f"probs has shape {probs.shape}: the first axis is that of the cases, "
            "[batch, *spatial]"
        )
    for name, array in ((what, labels), ("valid", valid)):
        if array is not None and array.shape != probs.shape:
            raise ValueError(f"{name} has shape {array.shape}, probs has {probs.shape}")
