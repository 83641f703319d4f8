"""Every split of whole units at once, where units own several cases.

The threshold is then the hierarchical one: each calibration unit weighs the same, its
cases share its weight. A unit's share of served cases only steps at the pooled scores,
and the threshold lies beyond a score iff the calibration units' shares there do not add
up to what is needed. So the mean over all splits needs, at each step of each test unit,
one probability: that of a sum drawn without replacement from the other units' shares.
It is counted in whole numbers, never sampled.
"""

import math

import numpy as np
from jaxtyping import Int, Num

from coverax.rational import Level, check_level

# Additions beyond which splits are not counted: a second or two.
_MOST_WORK = 50_000_000
# Chances nearer to 0 or 1 than this are rounding.
_NOTHING = 1e-18


def all_unit_splits(
    scores: Num[np.ndarray, " cases"],
    units: np.ndarray,
    n_calibration: int,
    alpha: Level,
) -> float:
    """Mean coverage over every split of units into calibration and test.

    An identity of permutations, exact to rounding: the mean over all C(U, n) splits of
    the mean over test units of their share of cases with `score <= threshold`, with
    `hierarchical_threshold` of the calibration units. At least `1 - alpha` by its
    theorem, which this checks on the data at hand.

    Args:
        scores: Larger is worse; no NaN.
        units: Unit of each case.
        n_calibration: Units each split calibrates on.
        alpha: Tolerated miscoverage, in (0, 1).

    Raises:
        ValueError: `n_calibration` leaves no unit on one side, or units own so many
            different numbers of cases that the sums cannot be counted.

    References:
        Lee, Barber and Willett (2023), Distribution-free inference with hierarchical
        data.
    """
    scores, (names, unit_of) = np.asarray(scores), np.unique(units, return_inverse=True)
    n_units = names.size
    if not 1 <= n_calibration < n_units:
        raise ValueError(
            f"n_calibration must lie in 1..{n_units - 1}, got {n_calibration}"
        )
    sizes = np.bincount(unit_of)
    scale = math.lcm(*sizes.tolist())
    steps, step_of = np.unique(scores, return_inverse=True)
    # What of its weight each unit has at or below each score, in units of 1 / scale.
    share = np.zeros((n_units, steps.size), np.int64)
    np.add.at(share, (unit_of, step_of), scale // sizes[unit_of])
    share = np.cumsum(share, axis=1)
    needed = math.ceil((1 - check_level("alpha", alpha)) * (n_calibration + 1) * scale)
    _check_work(share, n_calibration, scale)
    lost = 0.0
    for k in range(steps.size - 1):
        rises = share[:, k + 1] - share[:, k]
        for unit in np.flatnonzero(rises):
            others = np.delete(share[:, k], unit)
            reached = _chance(others, n_calibration, needed, scale)
            lost += int(rises[unit]) / scale * reached
    return 1 - lost / n_units


def _chance(
    shares: Int[np.ndarray, " units"], n: int, needed: int, scale: int
) -> float:
    """Chance that n of the shares, drawn without replacement, add up to what is needed."""
    ascending = np.sort(shares)
    if ascending[-n:].sum() < needed:
        return 0.0
    if ascending[:n].sum() >= needed:
        return 1.0
    # Bernstein's inequality, which holds without replacement too (Hoeffding 1963).
    away = needed / scale - n * shares.mean() / scale
    spread = n * shares.var() / scale**2 + abs(away) / 3
    if away**2 > -2 * math.log(_NOTHING) * spread:
        return float(away < 0)
    n_none = int(np.count_nonzero(shares == 0))
    n_whole = int(np.count_nonzero(shares == scale))
    partial = shares[(shares > 0) & (shares < scale)].tolist()
    total = 0.0
    for n_partial, (sums, ways) in enumerate(_subsets(partial, n)):
        rest = n - n_partial
        if rest > n_none + n_whole:
            continue
        # As many whole ones among the rest as what the partial ones leave over.
        tail = _tail(n_whole, n_none, rest)
        wanted = np.clip(-((sums - needed) // scale), 0, rest + 1)
        log_weight = _log_choose(n_none + n_whole, rest) - _log_choose(shares.size, n)
        total += float(ways @ tail[wanted]) * math.exp(log_weight)
    return total


def _check_work(share: Int[np.ndarray, "units steps"], n: int, scale: int) -> None:
    """Refuse what would take minutes: sums of many partial shares, at every step."""
    is_partial = (share > 0) & (share < scale)
    step = math.gcd(scale, *np.unique(share[is_partial]).tolist())
    n_partial = is_partial.sum(0)
    n_sums = np.where(is_partial, share // step, 0).sum(0) + 1
    work = n_partial.astype(float) * (np.minimum(n_partial, n) + 1) * n_sums
    if work.sum() > _MOST_WORK:
        raise ValueError(
            f"{len(share)} units own too many cases to count every split "
            f"({work.sum():.1g} additions); draw one case a unit"
        )


def _subsets(
    values: list[int], most: int
) -> list[tuple[Int[np.ndarray, " sums"], np.ndarray]]:
    """Sums of all subsets of each size 0..most, and how many subsets have each."""
    step = math.gcd(*values) if values else 1
    parts = [value // step for value in values]
    n_sums, most = sum(parts) + 1, min(most, len(parts))
    ways = np.zeros((most + 1, n_sums))
    ways[0, 0] = 1
    for part in parts:
        ways[1:, part:] += ways[:-1, : n_sums - part].copy()
    return [(np.flatnonzero(row) * step, row[row > 0]) for row in ways]


def _tail(n_whole: int, n_none: int, n_drawn: int) -> np.ndarray:
    """Chance of at least h whole ones, for h = 0..n_drawn + 1."""
    from scipy.stats import hypergeom

    h = np.arange(n_drawn + 2)
    if n_whole + n_none == 0:
        return (h == 0).astype(np.float64)
    return hypergeom.sf(h - 1, n_whole + n_none, n_whole, n_drawn)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
