"""Conformal ranks: which order statistic of n scores carries a guarantee.

Levels are decimals and counts are integers, so a rank is exact arithmetic: a float
`ceil((n + 1) * (1 - alpha))` is off by one for some (n, alpha) that people use.
"""

from fractions import Fraction

import numpy as np

from coverax.rational import Level, check_level

# Below this gap between a float tail and its level the tail is summed in integers.
_CLOSE = 1e-9


def conformal_rank(n: int, alpha: Level) -> int:
    """Rank of the split-conformal threshold among n scores.

    With n + 1 exchangeable distinct scores, the new one is at most the rank-th smallest
    of the others with probability `rank / (n + 1) >= 1 - alpha`, marginally over
    calibration sets.

    Args:
        n: Calibration units that count.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        `ceil((n + 1) * (1 - alpha))`; beyond n there is no such threshold.

    Raises:
        ValueError: `alpha` lies outside (0, 1) or n is negative.

    References:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World.
    """
    level = check_level("alpha", alpha)
    _check_n(n)
    return -((-(int(n) + 1) * (1 - level)) // 1)


def pac_rank(n: int, alpha: Level, delta: Level) -> int:
    """Smallest rank whose coverage is at least 1 - alpha with confidence 1 - delta.

    With i.i.d. units, coverage given the calibration set follows
    `Beta(rank, n + 1 - rank)`; at the returned rank it is at least `1 - alpha` with
    probability at least `1 - delta` over calibration sets.

    Args:
        n: Calibration units that count.
        alpha: Tolerated miscoverage, in (0, 1).
        delta: Tolerated probability of a calibration set that covers less, in (0, 1).

    Returns:
        A rank in 1..n, or `n + 1` where none will do.

    Raises:
        ValueError: A level lies outside (0, 1) or n is negative.

    References:
        Vovk (2012), Conditional validity of inductive conformal predictors.
    """
    a, d = check_level("alpha", alpha), check_level("delta", delta)
    _check_n(n)
    n = int(n)
    # Coverage at rank r is at least 1 - alpha iff fewer than r of n uniforms lie below
    # 1 - alpha, so the confidence P(Bin(n, 1 - alpha) <= r - 1) grows with r: bisect.
    low, high = 1, n + 1
    while low < high:
        middle = (low + high) // 2
        if _tail_reaches(middle - 1, n, 1 - a, 1 - d):
            high = middle
        else:
            low = middle + 1
    return low


def attainable_levels(n: int) -> list[Fraction]:
    """The alphas at which n units give exact coverage: k / (n + 1), ascending."""
    _check_n(n)
    return [Fraction(k, int(n) + 1) for k in range(1, int(n) + 1)]


def n_needed(alpha: Level, delta: Level | None = None) -> int:
    """Fewest calibration units for a threshold that is not infinite.

    Args:
        alpha: Tolerated miscoverage.
        delta: With it, the number for the PAC statement at confidence 1 - delta.
    """
    a = check_level("alpha", alpha)
    if delta is None:
        return -(-1 // a) - 1
    d = check_level("delta", delta)
    # Rank n works as soon as (1 - alpha)**n <= delta.
    n = max(1, int(np.log(float(d)) / np.log1p(-float(a))) - 1)
    while (1 - a) ** n > d:
        n += 1
    return n


def _tail_reaches(k: int, n: int, p: Fraction, level: Fraction) -> bool:
    """Whether P(Binomial(n, p) <= k) >= level, exactly where floats cannot tell."""
    if k >= n:
        return True
    from scipy.special import bdtr  # pyright: ignore[reportMissingTypeStubs]

    tail = float(bdtr(k, n, float(p)))
    if abs(tail - float(level)) > _CLOSE:
        return tail > float(level)
    success, failure = p.numerator, p.denominator - p.numerator
    term = failure**n  # times denominator**n: every term is an integer
    total = term
    for i in range(k):
        term = term * (n - i) * success // ((i + 1) * failure)
        total += term
    return total * level.denominator >= level.numerator * p.denominator**n


def _check_n(n: int) -> None:
    if n != int(n) or n < 0:
        raise ValueError(f"n must be a whole number >= 0, got {n}")
