"""Conformal Lesion Segmentation by the definitions, nothing shared with the package."""

import math
from fractions import Fraction

import numpy as np


def critical_probability(probs, foreground, tolerance: str):
    """Largest element of the map at which the miss rate is within the tolerance.

    Tries every foreground value as a cut and counts misses, as the definition says.
    """
    values = [float(p) for p in np.asarray(probs, np.float64)[foreground].ravel()]
    if not values:
        return math.inf
    best = -math.inf
    for cut in values:
        missed = sum(1 for v in values if v < cut)
        if Fraction(missed, len(values)) <= Fraction(tolerance):
            best = max(best, cut)
    return best


def rank(n: int, alpha: str):
    """Smallest r with r / (n + 1) >= 1 - alpha, by trying them."""
    r = 1
    while Fraction(r, n + 1) < 1 - Fraction(alpha):
        r += 1
    return r


def threshold(scores, alpha: str):
    """The rank-th smallest of a sorted list."""
    r = rank(len(scores), alpha)
    return math.inf if r > len(scores) else sorted(scores)[r - 1]


def pac_rank(n: int, alpha: str, delta: str):
    """Smallest rank whose binomial tail is large enough, in fractions."""
    p = 1 - Fraction(alpha)
    tail = Fraction(0)
    for r in range(1, n + 1):
        tail += math.comb(n, r - 1) * p ** (r - 1) * (1 - p) ** (n - r + 1)
        if tail >= 1 - Fraction(delta):
            return r
    return n + 1
