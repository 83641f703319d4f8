"""Ties broken at random: coverage is then the rank over n + 1, no more.

Every case has a number in [0, 1) that comes from its name and a seed, so that nothing
is drawn that could not be drawn again. A new case is served when its score lies below
the threshold, or ties with it and has no larger number than the case that set it.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, Num

# What a 64-bit word holds beyond the precision of a float64.
_SHIFT = 11


def tie_numbers(case_ids: Iterable[str], seed: int) -> Float[np.ndarray, " cases"]:
    """The number of each case, uniform over names: the first bits of a SHA-256."""
    words = [
        int.from_bytes(hashlib.sha256(f"{seed}\n{i}".encode()).digest()[:8], "big")
        for i in case_ids
    ]
    return np.array([word >> _SHIFT for word in words], np.float64) / 2**53


def broken_rank_threshold(
    scores: Num[np.ndarray, " units"], numbers: Float[np.ndarray, " units"], rank: int
) -> tuple[float, float | None]:
    """The rank-th smallest score with ties in the order of numbers, and its number.

    With exchangeable units, each with a number of its own drawn uniformly, a new one is
    served (see the module) with probability exactly `rank / (n + 1)`, ties or not.

    Returns:
        `inf` and None where the rank lies beyond the last unit.
    """
    if rank > scores.size:
        return np.inf, None
    place = np.lexsort((numbers, scores))[rank - 1]
    return float(scores[place]), float(numbers[place])


def just_below(threshold: float, dtype: type[np.floating] = np.float32) -> float:
    """The largest threshold that serves no case tied with this one.

    It is the neighbour of the threshold among numbers of the type of scores: elements of
    a float32 map (or minus them), or shares in float64.
    """
    return float(np.nextafter(dtype(threshold), dtype(-np.inf)))
