"""The mass of a map: sums of its probabilities, whole numbers that both engines share.

A probability weighs what is left of its float32 when it is cut off below `2**-45`, and
nothing where it is negative. That is exact from `2**-22` on, and so for every map that is
stored in 8 or 16 bits.
"""

import numpy as np
from jaxtyping import Float, Int

from coverax.engine.bins import DIGIT_BITS
from coverax.engine.results import Numbers

MASS_DIGITS = 3
UNIT = np.float32(2.0 ** (DIGIT_BITS * MASS_DIGITS))  # of mass, in a probability of 1
LIGHTEST = np.float32(1) / UNIT  # what lies below it weighs nothing


def share(above: int, total: int) -> float:
    """Share of a mass, rounded once to float64; 0 of none.

    Scores and masks are compared with one threshold by this very number, and it does not
    fall where `above` rises: so rounding cannot part them.
    """
    return above / total if total else 0.0


def shares(
    masses: Int[Numbers, "batch cuts digits"],
) -> Float[np.ndarray, "batch others"]:
    """Share of each mass but the first in the first, from digits, whole part first."""
    digits = np.asarray(masses).astype(object)
    whole = digits[..., 0]
    for place in range(1, digits.shape[-1]):
        whole = (whole << DIGIT_BITS) + digits[..., place]
    found = [[share(above, row[0]) for above in row[1:]] for row in whole.tolist()]
    return np.array(found, np.float64).reshape(whole.shape[0], whole.shape[1] - 1)


def least_above(total: int, limit: float) -> int:
    """The smallest mass whose share of the total is more than a limit below 1."""
    low, high = 0, total
    while low < high:
        middle = (low + high) // 2
        if share(middle, total) > limit:
            high = middle
        else:
            low = middle + 1
    return high
