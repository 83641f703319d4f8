"""Whole probability histograms of new scans against those that calibrated."""

import itertools
import math

import numpy as np
from jaxtyping import Float

# Entries of a permutation table held at a time.
_CHUNK = 2_000_000
# Sums of squares may differ by this in their order of summation: what ties counts.
_ROUNDING = 1e-12


def histogram_p_value(
    reference: Float[np.ndarray, "cases cuts"],
    new: Float[np.ndarray, "others cuts"],
    *,
    n_permutations: int,
    seed: int,
) -> float:
    """P-value of `new` and `reference` being exchangeable, from all cuts at once.

    At each cut the two samples of shares are compared by the squared distance of their
    empirical distributions (Cramer-von Mises), which looks at order alone; the sum over
    cuts is compared with what permutations of the cases give, so that cuts may depend on
    each other in any way. Under exchangeability it is at most t with probability at
    most t. Where there are no more ways to choose the new cases than permutations, all
    are enumerated and nothing is drawn.

    Args:
        reference: Shares of each calibration case at each cut.
        new: Those of each new case.
        n_permutations: Permutations to draw; no p-value lies below 1 / (this + 1).
        seed: Seed of the draw.

    References:
        Anderson (1962), On the distribution of the two-sample Cramer-von Mises
        criterion; Phipson and Smyth (2010), Permutation P-values should never be zero.
    """
    values = np.concatenate([reference, new])
    n, m = len(values), len(new)
    observed = np.zeros((1, n), bool)
    observed[0, n - m :] = True
    statistic = _distances(values, observed)[0] * (1 - _ROUNDING)
    n_ways = math.comb(n, m)
    if n_ways <= n_permutations:
        chosen = np.array(list(itertools.combinations(range(n), m)), np.intp)
        return float((_distances(values, _marked(chosen, n)) >= statistic).mean())
    rng = np.random.default_rng(seed)
    n_larger, step = 0, max(1, _CHUNK // n)
    for start in range(0, n_permutations, step):
        keys = rng.random((min(step, n_permutations - start), n))
        chosen = np.argpartition(keys, m - 1, axis=1)[:, :m]
        found = _distances(values, _marked(chosen, n))
        n_larger += int(np.count_nonzero(found >= statistic))
    return (1 + n_larger) / (1 + n_permutations)


def _marked(chosen: np.ndarray, n: int) -> np.ndarray:
    """Membership of every case, one row a choice."""
    marks = np.zeros((len(chosen), n), bool)
    np.put_along_axis(marks, chosen, True, axis=1)
    return marks


def _distances(values: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Sum over cuts of the squared distance.

    Gaps are whole numbers, their squares are not: of some 3,000 cases a side they pass
    64 bits, and total drift would wrap around to none.
    """
    n, m = len(values), int(marks[0].sum())
    steps = np.arange(1, n + 1)
    total = np.zeros(len(marks))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        ascending = column[order]
        # Only behind the last of tied values are both distributions defined.
        ends = np.append(ascending[1:] != ascending[:-1], True)
        below = np.cumsum(marks[:, order], axis=1)[:, ends]
        gaps = (below * n - m * steps[ends]).astype(np.float64)
        total += (gaps**2).sum(1)
    return total
