"""Capitals that bet against a promise, and may be looked at after every case.

A capital starts at 1 and is multiplied by a bet at each new case. While the promise holds
its mean stays at most 1 whenever one stops (a non-negative supermartingale), so that it
ever reaches `1 / delta` with probability at most `delta`. Nothing is computed from what
comes later: a capital of m cases begins with that of the first m - 1.

References:
    Ville (1939), Etude critique de la notion de collectif; Vovk, Nouretdinov and
    Gammerman (2003), Testing exchangeability on-line.
"""

import bisect
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.calibrate import tie_numbers
from coverax.rational import Level, check_level
from coverax.validate.exchangeability import betting_capital

# How many times the promised failures each bet believes in, as (numerator, denominator).
_MORE = ((3, 2), (2, 1), (3, 1), (5, 1), (9, 1))
# A capital is kept below this: less than it is, and a number in any file.
_MOST = 1e300
# Shares of the largest stake that loses no more than there is.
_STAKES = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8])


def compliance_capital(
    failures: Bool[np.ndarray, " new"], n: int, rank: int
) -> Float[np.ndarray, " new"]:
    """Capital against a marginal promise, after each new case that has a reference.

    Under exchangeability and without ties, after f failures among m new cases the next one
    fails with probability `(n + 1 - rank + f) / (n + 1 + m)` (a Polya urn; over m cases
    it gives the BetaBinomial of compliance). Each bet takes the urn of a larger failure
    rate, with the same number of successes, for the truth; the capital is their mean.

    Ties only lower the chance of failure. At any number of cases the capital grows with
    the number of failures, so it is at most what it would be had the ties been broken at
    random, which is the exact martingale: the bound holds with ties as well.

    Args:
        failures: Whether each new unit failed, in an order fixed without looking at it.
        n: Calibration units.
        rank: Rank of the threshold among them, 1 to n.

    Returns:
        The capital after each case; its mean over the law of the urn is 1.

    Raises:
        ValueError: The rank lies outside 1..n.
    """
    if not 1 <= rank <= n:
        raise ValueError(f"a promise of rank {rank} of {n} units cannot be watched")
    bad, good = n + 1 - rank, rank
    believed = np.array(sorted({max(bad + 1, -(-bad * p // q)) for p, q in _MORE}))
    capital, out = np.ones(believed.size), []
    n_failed = 0
    for m, failed in enumerate(np.asarray(failures, bool).tolist()):
        capital = np.minimum(capital, _MOST) * (
            (bad + good + m) / (believed + good + m)
        )
        if failed:
            capital = capital * ((believed + n_failed) / (bad + n_failed))
            n_failed += 1
        out.append(min(capital.mean(), _MOST))
    return np.array(out, float)


def risk_capital(
    losses: Num[np.ndarray, " new"] | Bool[np.ndarray, " new"], alpha: Level
) -> Float[np.ndarray, " new"]:
    """Capital against an expected loss of at most alpha, after each new case.

    For promises with confidence: given the calibration set, the loss of every new unit
    has mean at most `alpha` (i.i.d. units). Each bet stakes a fixed share of its capital
    on losses above alpha, `1 + stake (L - alpha)`; the capital is their mean.

    Args:
        losses: Of new units, in [0, 1], in an order fixed without looking at them.
        alpha: The promised level.

    Raises:
        ValueError: A loss lies outside [0, 1], or alpha is out of range.

    References:
        Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by
        betting.
    """
    level = float(check_level("alpha", alpha))
    own = np.asarray(losses, float)
    if not ((own >= 0) & (own <= 1)).all():
        raise ValueError("a loss must lie in [0, 1]")
    stakes = _STAKES / level
    with np.errstate(over="ignore"):
        each = np.cumprod(1 + stakes * (own[:, None] - level), axis=0)
    return np.minimum(each.mean(1), _MOST)


def map_capital(
    reference: Sequence[float] | Num[np.ndarray, " units"],
    values: Sequence[float] | Num[np.ndarray, " new"],
    *,
    name: str,
    seed: int,
) -> Float[np.ndarray, " new"]:
    """Capital against exchangeability of a feature of maps, after each new map.

    The p-value of a map is its smoothed rank among all before it, those that calibrated
    first: under exchangeability these p-values are independent and uniform.

    Args:
        reference: Values of the calibration units, in any order.
        values: Of new units, in an order fixed without looking at them.
        name: Of the feature; it and the place of a case draw the number that breaks ties.
        seed: Seed of these numbers.
    """
    bag = sorted(map(float, reference))
    breaks = tie_numbers((f"{name} {t}" for t in range(len(values))), seed)
    p_values = np.empty(len(values))
    for t, (value, u) in enumerate(zip(map(float, values), breaks, strict=True)):
        bisect.insort(bag, value)
        last = bisect.bisect_right(bag, value)
        n_tied = last - bisect.bisect_left(bag, value)
        p_values[t] = (len(bag) - last + u * n_tied) / len(bag)
    return betting_capital(p_values)
