"""Evidence about exchangeability, which random splits can never give.

Under exchangeability the smoothed p-values of scores taken in any order fixed
beforehand (acquisition date) are independent and uniform. A capital that bets against
that grows only by luck, or where order matters.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from coverax.rational import Level, check_level

# Bets p -> e * p^(e - 1): below 1 on small p-values (scores getting worse), above 1 on
# large ones (getting better). Their mean is one capital.
_EXPONENTS = np.array([0.2, 0.4, 0.6, 0.8, 1.25, 5 / 3, 2.5, 5.0])


@dataclass(frozen=True, slots=True)
class OrderTest:
    """Whether order matters.

    Attributes:
        n: Scores looked at.
        max_capital: Largest capital ever reached; the p-value at any time is 1 over it.
        p_value_capital: Anytime-valid p-value of exchangeability, at most 1.
        p_value_uniform: Kolmogorov-Smirnov p-value of uniform p-values.
    """

    n: int
    max_capital: float
    p_value_capital: float
    p_value_uniform: float


def conformal_p_value(
    scores: Num[np.ndarray, " units"], new: Num[np.ndarray, " new"]
) -> Float[np.ndarray, " new"]:
    """P-value of each new score among calibration scores.

    With exchangeable units it is at most t with probability at most t, for every t: how
    many of n + 1 scores are at least as bad.
    """
    ascending = np.sort(np.asarray(scores))
    n_worse = ascending.size - np.searchsorted(ascending, np.asarray(new), side="left")
    return (1 + n_worse) / (ascending.size + 1)


def sequential_p_values(
    scores: Num[np.ndarray, " units"], *, seed: int
) -> Float[np.ndarray, " units"]:
    """Smoothed p-value of each score among those before it and itself.

    With exchangeable units they are independent and uniform on [0, 1], ties or not.

    Args:
        scores: In an order fixed without looking at them; larger is worse.
        seed: Seed of the numbers that break ties.

    References:
        Vovk, Nouretdinov and Gammerman (2003), Testing exchangeability on-line.
    """
    scores = np.asarray(scores)
    breaks = np.random.default_rng(seed).random(scores.size)
    p_values = np.empty(scores.size)
    for t, (score, u) in enumerate(zip(scores, breaks, strict=True)):
        seen = scores[: t + 1]
        n_worse = np.count_nonzero(seen > score)
        n_tied = np.count_nonzero(seen == score)
        p_values[t] = (n_worse + u * n_tied) / (t + 1)
    return p_values


def betting_capital(
    p_values: Float[np.ndarray, " units"],
) -> Float[np.ndarray, " units"]:
    """Capital after each p-value of a fixed mixture of bets against uniformity.

    A martingale from 1 under exchangeability: it ever reaches `c` with probability at
    most `1 / c`.

    References:
        Vovk, Nouretdinov and Gammerman (2003), Testing exchangeability on-line.
    """
    # A p-value of 0 has probability 0; the smallest float keeps the logarithm finite.
    logs = np.log(np.maximum(p_values, np.finfo(float).tiny))[:, None]
    growth = np.cumsum(np.log(_EXPONENTS) + (_EXPONENTS - 1) * logs, axis=0)
    return np.exp(np.minimum(growth, 700.0)).mean(1)


def order_test(scores: Num[np.ndarray, " units"], *, seed: int) -> OrderTest:
    """Whether scores in a given order look exchangeable."""
    from scipy.stats import kstest

    p_values = sequential_p_values(scores, seed=seed)
    largest = float(max(1.0, betting_capital(p_values).max(initial=1.0)))
    return OrderTest(
        n=p_values.size,
        max_capital=largest,
        p_value_capital=1 / largest,
        p_value_uniform=float(kstest(p_values, "uniform")[1]),
    )


def drift_p_values(
    reference: dict[str, Float[np.ndarray, " units"]],
    new: dict[str, Float[np.ndarray, " new"]],
) -> dict[str, float]:
    """Exact Kolmogorov-Smirnov p-value of each label-free feature of scans.

    Under exchangeability each is super-uniform; Bonferroni over features is the
    caller's. No small p-value is no proof of exchangeability.
    """
    names = sorted(reference.keys() & new.keys())
    return {name: two_sample_p_value(reference[name], new[name]) for name in names}


def two_sample_p_value(
    one: Float[np.ndarray, " units"], other: Float[np.ndarray, " others"]
) -> float:
    """Exact p-value of the largest gap between two empirical distributions.

    With exchangeable values it is at most t with probability at most t, at any two
    sizes, ties or not. The limit law is not: of 20 values and one more it rejects at
    every level with probability 2 / 21.

    References:
        Hodges (1958), The significance probability of the Smirnov two-sample test.
    """
    few, many = sorted([np.sort(one), np.sort(other)], key=len)
    n, m = few.size, many.size
    values = np.concatenate([few, many])
    below = [np.searchsorted(sample, values, side="right") for sample in (few, many)]
    gap = np.abs(below[0] * m - below[1] * n).max(initial=0)
    # An order of the pool is a path of n + m steps, all alike. Entry i: the share of
    # paths to i steps of the few, out of k, that came as far apart as the samples did.
    i = np.arange(n + 1)
    share = np.zeros(n + 1)
    for k in range(n + m + 1):
        if k:
            share = (i * np.append(0.0, share[:-1]) + (k - i) * share) / k
        share[i > k] = 0.0
        share[np.abs(i * m - (k - i) * n) >= gap] = 1.0
    return float(share[n])


def is_drift(p_values: dict[str, float], level: Level) -> bool:
    """Whether any feature rejects at its Bonferroni share of the level."""
    share = float(check_level("level", level)) / max(1, len(p_values))
    return any(p <= share for p in p_values.values())
