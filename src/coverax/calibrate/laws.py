"""Exact laws of coverage, given the rank and the number of calibration units."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from coverax.files import JsonRecord
from coverax.rational import as_fraction, check_level


@dataclass(frozen=True, slots=True)
class Band(JsonRecord):
    """Where a share should lie, or where the true one does.

    Attributes:
        level: Probability of lying in it.
        low: Lower end.
        high: Upper end; None where scores tie, since ties serve more cases than the law.
    """

    level: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class Histogram(JsonRecord):
    """How many values fall into each bar, between its two edges."""

    edges: Sequence[float]
    counts: Sequence[int]


def coverage_quantiles(
    n: int, rank: int, levels: Float[np.ndarray, " levels"]
) -> Float[np.ndarray, " levels"]:
    """Quantiles of coverage over calibration sets: Beta(rank, n + 1 - rank).

    Holds for i.i.d. units and continuous scores; with ties coverage is larger. A rank
    beyond n covers everything.
    """
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    levels = np.asarray(levels, np.float64)
    if rank > n:
        return np.ones_like(levels)
    return betaincinv(rank, n + 1 - rank, levels)


def compliance_pmf(n: int, rank: int, n_new: int) -> Float[np.ndarray, " counts"]:
    """Law of the number of new units covered, 0..n_new: BetaBinomial.

    Over calibration sets and new units together, all i.i.d. with continuous scores.
    """
    from scipy.special import betaln, gammaln  # pyright: ignore[reportMissingTypeStubs]

    counts = np.arange(n_new + 1)
    if rank > n:
        return (counts == n_new).astype(float)
    a, b = rank, n + 1 - rank
    log_choose = gammaln(n_new + 1) - gammaln(counts + 1) - gammaln(n_new - counts + 1)
    return np.exp(log_choose + betaln(counts + a, n_new - counts + b) - betaln(a, b))


def compliance_band(
    n: int, rank: int, n_new: int, level: float = 0.95
) -> tuple[float, float]:
    """Central band of the share of new units covered, at least `level` of its law.

    Returns:
        The smallest and largest share that is not in a tail of mass `(1 - level) / 2`.
    """
    check_level("level", level)
    if n_new < 1:
        raise ValueError("a band needs at least one new unit")
    tail = float((1 - as_fraction(level)) / 2)
    below = np.cumsum(compliance_pmf(n, rank, n_new))
    low = int(np.searchsorted(below, tail, side="right"))
    high = int(np.searchsorted(below, 1 - tail, side="left"))
    return low / n_new, min(high, n_new) / n_new
