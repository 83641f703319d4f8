"""Every split of a scored pool at once, in closed form.

A pool of N cases has C(N, n) splits into n calibration and N - n test cases. The
threshold is the rank-th smallest calibration score, so it is the j-th smallest of the
pool with a probability known in closed form; given j, the test cases below and above it
are drawn at random without replacement, independently. Means and variances over all
splits follow from sums over i < j and i > j. Nothing is drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num, Shaped

from coverax.calibrate import conformal_rank
from coverax.rational import Level

Metrics = Mapping[str, Shaped[np.ndarray, "cases cases"]]


@dataclass(frozen=True, slots=True)
class AllSplits:
    """Means and variances over all splits of a pool.

    Attributes:
        n_cases: Cases of the pool.
        n_calibration: Cases each split calibrates on.
        rank: Rank of the threshold among them; beyond them everything is served.
        thresholds: The pool's scores, ascending.
        threshold_probabilities: Share of splits with each of them as the threshold.
        coverage_mean: Mean share of test cases with `score <= threshold`; exactly
            `rank / (n_calibration + 1)` where scores are distinct, at least that where
            they tie.
        coverage_variance: Variance of that share over splits.
        metric_means: Mean over splits of each metric's mean over test cases; NaN where
            everything is served, since no threshold of the pool is used.
        metric_variances: Variance over splits of each metric's mean over test cases.
    """

    n_cases: int
    n_calibration: int
    rank: int
    thresholds: Num[np.ndarray, " cases"]
    threshold_probabilities: Float[np.ndarray, " cases"]
    coverage_mean: float
    coverage_variance: float
    metric_means: dict[str, float]
    metric_variances: dict[str, float]


class Halves(NamedTuple):
    """Sums of a metric, and of its square, over the cases below and above each j."""

    below: Float[np.ndarray, " cases"]
    above: Float[np.ndarray, " cases"]
    below_squared: Float[np.ndarray, " cases"]
    above_squared: Float[np.ndarray, " cases"]


@dataclass(frozen=True, slots=True)
class Pool:
    """What all splits of a pool share, whatever alpha and calibration size.

    Attributes:
        thresholds: Scores, ascending; ties in the order of cases.
        coverage: Sums of the coverage indicator.
        metrics: Sums of each metric.
    """

    thresholds: Num[np.ndarray, " cases"]
    coverage: Halves
    metrics: dict[str, Halves]


def all_splits(
    scores: Num[np.ndarray, " cases"],
    n_calibration: int,
    alpha: Level,
    metrics: Metrics | None = None,
) -> AllSplits:
    """Coverage and metrics over every split of a pool into calibration and test.

    An identity of permutations, exact to rounding: it checks the code and shows the
    spread over splits. It says nothing about new cases that are not exchangeable with
    the pool, since random splits of any pool are exchangeable by construction.

    Args:
        scores: One score a unit; larger is worse.
        n_calibration: Units each split calibrates on, 1 to N - 1.
        alpha: Tolerated miscoverage, in (0, 1).
        metrics: By name, entry [i, j] is the metric of case i at threshold scores[j].

    Raises:
        ValueError: `n_calibration` leaves no case on one side, or a score or metric is
            NaN or of the wrong shape.

    Examples:
        >>> all_splits(np.array([0.3, 0.1, 0.2, 0.4, 0.5]), 3, "0.5").coverage_mean
        0.5
    """
    return splits_of(make_pool(scores, metrics), n_calibration, alpha)


def make_pool(
    scores: Num[np.ndarray, " cases"], metrics: Metrics | None = None
) -> Pool:
    """Sort a pool and add up its metrics once, in O(cases squared)."""
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size < 2 or np.isnan(scores).any():
        raise ValueError(
            f"expected two or more scores, got shape {scores.shape} or NaN"
        )
    order = np.argsort(scores, kind="stable")
    ascending = scores[order]
    metrics = metrics or {}
    for name, values in metrics.items():
        if values.shape != (scores.size, scores.size) or np.isnan(values).any():
            raise ValueError(
                f"metric {name} must be [cases, cases] without NaN, got {values.shape}"
            )
    return Pool(
        thresholds=ascending,
        coverage=_coverage_halves(ascending),
        metrics={name: _halves(values, order) for name, values in metrics.items()},
    )


def splits_of(pool: Pool, n_calibration: int, alpha: Level) -> AllSplits:
    """All splits of a pool at one calibration size and level, in O(cases)."""
    n_cases = pool.thresholds.size
    if not 1 <= n_calibration < n_cases:
        raise ValueError(
            f"n_calibration must lie in 1..{n_cases - 1}, got {n_calibration}"
        )
    rank = conformal_rank(n_calibration, alpha)
    law = threshold_law(n_cases, n_calibration, rank)
    mean, variance = _moments(pool.coverage, law, n_calibration, rank)
    if rank > n_calibration:
        mean, variance = 1.0, 0.0
    each = {
        name: _moments(halves, law, n_calibration, rank)
        for name, halves in pool.metrics.items()
    }
    return AllSplits(
        n_cases=n_cases,
        n_calibration=n_calibration,
        rank=rank,
        thresholds=pool.thresholds,
        threshold_probabilities=law,
        coverage_mean=mean,
        coverage_variance=variance,
        metric_means={name: mean for name, (mean, _) in each.items()},
        metric_variances={name: variance for name, (_, variance) in each.items()},
    )


def threshold_law(
    n_cases: int, n_calibration: int, rank: int
) -> Float[np.ndarray, " cases"]:
    """Share of splits whose threshold is the j-th smallest score, j = 1..N.

    `C(j-1, rank-1) C(N-j, n-rank) / C(N, n)`; all zero for a rank beyond n.
    """
    j = np.arange(1, n_cases + 1)
    if rank > n_calibration:
        return np.zeros(n_cases)
    return np.exp(
        _log_choose(j - 1, rank - 1)
        + _log_choose(n_cases - j, n_calibration - rank)
        - _log_choose(np.array(n_cases), n_calibration)
    )


def _log_choose(n: np.ndarray, k: int) -> np.ndarray:
    """Log of the binomial coefficient; -inf where k > n."""
    from scipy.special import gammaln

    enough = n >= k
    n = np.where(enough, n, k)
    log = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return np.where(enough, log, -np.inf)


def _moments(
    halves: Halves, law: np.ndarray, n_calibration: int, rank: int
) -> tuple[float, float]:
    """Mean and variance over splits of the mean over test cases."""
    possible = np.flatnonzero(law)
    if possible.size == 0:
        return float("nan"), float("nan")
    n_cases = law.size
    law = law[possible] / law.sum()
    j = possible + 1
    below, above, below_squared, above_squared = (part[possible] for part in halves)
    # Of the j - 1 cases below, rank - 1 calibrate; of the N - j above, n - rank do.
    n_below, n_above = j - 1, n_cases - j
    mean_low, var_low = _draw(n_below, n_below - rank + 1, below, below_squared)
    mean_high, var_high = _draw(
        n_above, n_above - n_calibration + rank, above, above_squared
    )
    n_test = n_cases - n_calibration
    given_j = (mean_low + mean_high) / n_test
    mean = float(law @ given_j)
    within = float(law @ (var_low + var_high)) / n_test**2
    return mean, within + float(law @ (given_j - mean) ** 2)


def _draw(
    n: np.ndarray, n_drawn: np.ndarray, total: np.ndarray, squared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a sum drawn without replacement from n values."""
    some, several = np.maximum(n, 1), np.maximum(n - 1, 1)
    mean = n_drawn / some * total
    spread = np.maximum(squared - total**2 / some, 0) / several
    return mean, n_drawn * (1 - n_drawn / some) * spread


def _halves(values: np.ndarray, order: np.ndarray) -> Halves:
    by_score = np.asarray(values, np.float64)[np.ix_(order, order)]
    sums = []
    for power in (by_score, by_score**2):
        total = power.sum(0)
        below = np.triu(power, 1).sum(0)
        sums.append((below, total - below - power.diagonal()))
    (below, above), (below_squared, above_squared) = sums
    return Halves(below, above, below_squared, above_squared)


def _coverage_halves(ascending: np.ndarray) -> Halves:
    """Everything below j is covered, and above it what ties with it."""
    n_covered = np.searchsorted(ascending, ascending, side="right")
    below = np.arange(ascending.size, dtype=np.float64)
    above = n_covered - below - 1
    return Halves(below, above, below, above)
