"""Upper confidence bounds of a mean loss, one function each.

Every function takes losses in [0, 1], cases on the first axis and any number of columns
(one a lam) behind it, and returns one bound a column. They hold for independent and
identically distributed rows, one column at a time: with probability at least 1 - delta
the bound is at least the mean. `p_value` functions are the same statements read the
other way: how surprising are these losses if the risk is as large as this.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from coverax.rational import Level, check_level

Losses = Shaped[np.ndarray, "cases *lams"]
Bounds = Float[np.ndarray, "*lams"] | np.floating

# Halvings of [0, 1]: bounds found by bisection are at most 1e-12 too large.
_HALVINGS = 40


def hoeffding(losses: Losses, delta: Level) -> Bounds:
    """Hoeffding's bound: the mean plus `sqrt(log(1 / delta) / 2n)`.

    With i.i.d. losses in [0, 1] it is at least their expectation with probability at
    least `1 - delta`.

    References:
        Hoeffding (1963), Probability inequalities for sums of bounded random variables.
    """
    losses, d = _checked(losses, delta)
    return _at_most_one(losses.mean(0) + np.sqrt(-np.log(d) / (2 * len(losses))))


def empirical_bernstein(losses: Losses, delta: Level) -> Bounds:
    """The bound of Maurer and Pontil, which knows the spread of the losses.

    With i.i.d. losses in [0, 1] it is at least their expectation with probability at
    least `1 - delta`. The variance runs over cases; one case gives 1.

    References:
        Maurer and Pontil (2009), Empirical Bernstein Bounds and Sample-Variance
        Penalization, Theorem 4.
    """
    losses, d = _checked(losses, delta)
    n = len(losses)
    if n == 1:
        return _at_most_one(np.ones(losses.shape[1:]))
    log_term = np.log(2 / d)
    spread = np.sqrt(2 * losses.var(0, ddof=1) * log_term / n)
    return _at_most_one(losses.mean(0) + spread + 7 * log_term / (3 * (n - 1)))


def hoeffding_bentkus(losses: Losses, delta: Level) -> Bounds:
    """The tighter of Hoeffding's (in its entropy form) and Bentkus' bound.

    With i.i.d. losses in [0, 1] it is at least their expectation with probability at
    least `1 - delta`: the largest risk that `hoeffding_bentkus_p_value` does not reject.

    References:
        Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-Free,
        Risk-Controlling Prediction Sets.
    """
    losses, d = _checked(losses, delta)
    return _first_rejected(
        lambda risk: hoeffding_bentkus_p_value(losses, risk) <= d, losses.shape[1:]
    )


def hoeffding_bentkus_p_value(losses: Losses, risk: Bounds | float) -> Bounds:
    """P-value of `expected loss >= risk`, super-uniform for i.i.d. losses in [0, 1].

    References:
        Angelopoulos, Bates, Candes, Jordan and Lei (2021), Learn then Test, eq. (5).
    """
    losses = _check_losses(losses)
    n_lost = np.ceil(losses.sum(0))
    return hoeffding_bentkus_of_mean(len(losses), losses.mean(0), n_lost, risk)


def hoeffding_bentkus_of_mean(
    n: int,
    mean: Bounds,
    n_lost: Bounds,
    risk: Bounds | float,
) -> Bounds:
    """The same p-value, from what it knows of the losses.

    It holds for independent losses that are not identically distributed too, of which
    the mean expectation is at least `risk`: both bounds were proved for them.

    Args:
        n: Number of losses, each in [0, 1].
        mean: Their mean.
        n_lost: Their sum, rounded up to a whole number.
        risk: What the mean expectation is, at least, under the hypothesis.

    References:
        Hoeffding (1963), Theorem 1; Bentkus (2004), On Hoeffding's inequalities.
    """
    from scipy.special import (  # pyright: ignore[reportMissingTypeStubs]
        bdtr,
        rel_entr,
    )

    risk = np.broadcast_to(np.asarray(risk, np.float64), mean.shape)
    low = np.minimum(mean, risk)
    entropy = rel_entr(low, risk) + rel_entr(1 - low, 1 - risk)
    # bdtr is NaN at risk 0 and 1: nothing is rejected at 0, everything but all ones at 1.
    inside = np.where((risk > 0) & (risk < 1), risk, 0.5)
    tail = np.where(n_lost >= n, 1.0, bdtr(n_lost, n, inside))
    p_value = np.minimum(np.exp(-n * entropy), np.minimum(1.0, np.e * tail))
    at_one = np.where(mean < 1, 0.0, 1.0)
    return _at_most_one(np.where(risk <= 0, 1.0, np.where(risk >= 1, at_one, p_value)))


def clopper_pearson(losses: Losses, delta: Level) -> Bounds:
    """The exact bound of a proportion, for losses that are 0 or 1.

    With i.i.d. binary losses it is at least their expectation with probability at least
    `1 - delta`; no other bound by the count alone is smaller.

    Raises:
        ValueError: A loss is neither 0 nor 1, or `delta` lies outside (0, 1).

    References:
        Clopper and Pearson (1934), The use of confidence or fiducial limits.
    """
    from scipy.special import betaincinv  # pyright: ignore[reportMissingTypeStubs]

    losses, d = _checked(losses, delta)
    if not np.isin(losses, (0.0, 1.0)).all():
        raise ValueError("Clopper-Pearson is for losses that are 0 or 1")
    n, n_lost = len(losses), losses.sum(0)
    all_lost = n_lost == n
    inner = np.minimum(n_lost, n - 1)
    return _at_most_one(
        np.where(all_lost, 1.0, betaincinv(inner + 1, n - inner, 1 - d))
    )


def wsr(losses: Losses, delta: Level) -> Bounds:
    """The betting bound of Waudby-Smith and Ramdas; it depends on the order of rows.

    With i.i.d. losses in [0, 1], in an order fixed without looking at them, it is at
    least their expectation with probability at least `1 - delta`. It runs a capital that
    grows when losses stay below the risk, once through all rows, and gives the smallest
    risk at which the capital ever exceeds `1 / delta`. A table sorted by score breaks
    it: `rcps_threshold` permutes rows by a recorded seed.

    References:
        Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by
        betting; Bates et al. (2021), Theorem 4.
    """
    losses, d = _checked(losses, delta)
    bets = _wsr_bets(losses, d)
    return _first_rejected(
        lambda risk: _largest_capital(losses, bets, risk) > 1 / d, losses.shape[1:]
    )


BOUNDS: dict[str, Callable[[Losses, Level], Bounds]] = {
    "hoeffding": hoeffding,
    "hoeffding_bentkus": hoeffding_bentkus,
    "empirical_bernstein": empirical_bernstein,
    "wsr": wsr,
    "clopper_pearson": clopper_pearson,
}


def is_at_most(
    name: str, losses: Losses, risk: float, delta: Level
) -> Bool[np.ndarray, "*lams"]:
    """Whether the named bound is at most a risk, column by column.

    Bounds that are found by bisection ask once, at the risk itself.
    """
    checked, d = _checked(losses, delta)
    if name == "wsr":
        level = np.full(checked.shape[1:], risk)
        capital = _largest_capital(checked, _wsr_bets(checked, d), level)
        return np.asarray(capital > 1 / d)
    if name == "hoeffding_bentkus":
        return np.asarray(hoeffding_bentkus_p_value(checked, risk) <= d)
    return np.asarray(BOUNDS[name](checked, delta)) <= risk


def _at_most_one(values: np.ndarray | np.floating) -> Bounds:
    """What lies in [0, 1] is at most 1; one column is a number."""
    return np.minimum(1.0, values)[()]


def _wsr_bets(losses: np.ndarray, delta: float) -> np.ndarray:
    """Bets on each row, each from the rows before it alone."""
    n = len(losses)
    steps = np.arange(1, n + 1).reshape(-1, *[1] * (losses.ndim - 1))
    means = (0.5 + np.cumsum(losses, 0)) / (1 + steps)
    variances = (0.25 + np.cumsum((losses - means) ** 2, 0)) / (1 + steps)
    before = np.concatenate([np.full((1, *losses.shape[1:]), 0.25), variances[:-1]])
    return np.minimum(1.0, np.sqrt(-2 * np.log(delta) / (n * before)))


def _largest_capital(losses: np.ndarray, bets: np.ndarray, risk: Bounds) -> np.ndarray:
    """Largest capital at this risk over all rows: one product, never restarted."""
    kept = 1 - bets * losses
    capital = np.ones(losses.shape[1:])
    largest, growth = capital.copy(), np.empty_like(capital)
    # Beyond every level a capital may overflow; fmax keeps what it has reached.
    with np.errstate(over="ignore", invalid="ignore"):
        for bet, rest in zip(bets, kept, strict=True):
            np.multiply(bet, risk, out=growth)
            growth += rest
            capital *= growth
            np.fmax(largest, capital, out=largest)
    return largest


def _first_rejected(
    is_rejected: Callable[[Bounds], Any], shape: tuple[int, ...]
) -> Bounds:
    """Smallest risk that is rejected, from above; 1 where none is.

    Rejection is monotone in the risk. Halving keeps the upper end, which is rejected, so
    that rounding makes a bound larger and never smaller.
    """
    low, high = np.zeros(shape), np.ones(shape)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rejected = is_rejected(middle)
        high = np.where(rejected, middle, high)
        low = np.where(rejected, low, middle)
    return _at_most_one(high)


def _checked(losses: Losses, delta: Level) -> tuple[np.ndarray, float]:
    return _check_losses(losses), float(check_level("delta", delta))


def _check_losses(losses: Losses) -> np.ndarray:
    losses = np.asarray(losses, np.float64)
    if losses.ndim == 0 or len(losses) == 0:
        raise ValueError(f"expected losses of cases, got shape {losses.shape}")
    if not (losses.min(initial=0) >= 0 and losses.max(initial=0) <= 1):
        raise ValueError("losses must lie in [0, 1] and not be NaN")
    return losses
