"""Thresholds under weights: covariate shift, and fixed weights without exchangeability.

Sums of weights meet `1 - alpha`, so they are exact: a weight is the decimal it prints,
as alpha is, and a float sum would serve or refuse the wrong case at the boundary.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Num

from coverax.calibrate.split import check_scores
from coverax.rational import Level, as_fraction, check_level, exact_sum


def weighted_threshold(
    scores: Num[np.ndarray, " units"],
    weights: Num[np.ndarray, " units"] | Sequence[Level],
    test_weight: Level,
    alpha: Level,
) -> float:
    """Conformal threshold under a known covariate shift.

    With independent units and weights proportional to the likelihood ratio of the new
    population over the calibration population, a new unit of weight `test_weight` has
    `score <= threshold` with probability at least `1 - alpha`, marginally over
    calibration sets. The threshold grows with `test_weight`, so the largest weight that
    is ever served gives one threshold for all.

    Args:
        scores: Calibration scores; larger is worse. No NaN.
        weights: Likelihood ratios of the calibration units, at least 0, not all 0.
        test_weight: Likelihood ratio of the new unit, at least 0.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        An element of `scores`, or `inf` where the new unit's own mass is needed.

    Raises:
        ValueError: A weight is negative or not finite, all are 0, or the lengths differ.

    Examples:
        >>> weighted_threshold(np.array([0.1, 0.2, 0.3]), np.array([1, 1, 2]), 1, 0.2)
        0.3

    References:
        Tibshirani, Barber, Candes and Ramdas (2019), Conformal Prediction Under
        Covariate Shift.
    """
    masses = check_weights(weights)
    own = as_fraction(test_weight)
    if own < 0:
        raise ValueError(f"test_weight must be at least 0, got {test_weight}")
    return mass_threshold(scores, masses, exact_sum([*masses, own]), alpha)


def fixed_weight_threshold(
    scores: Num[np.ndarray, " units"],
    weights: Num[np.ndarray, " units"] | Sequence[Level],
    alpha: Level,
) -> float:
    """Threshold with weights chosen without the data, where units drift.

    Coverage is at least `1 - alpha` minus `coverage_gap` of the distances between the
    units and the new one, whatever the dependence; with exchangeable units the gap is 0.

    Args:
        scores: Calibration scores; larger is worse. No NaN.
        weights: In [0, 1], fixed before looking, larger for units more like the new one.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        An element of `scores`, or `inf` where the new unit's own mass is needed.

    Raises:
        ValueError: A weight lies outside [0, 1], all are 0, or the lengths differ.

    References:
        Barber, Candes, Ramdas and Tibshirani (2023), Conformal Prediction Beyond
        Exchangeability.
    """
    masses = check_weights(weights)
    if max(masses) > 1:
        raise ValueError(f"fixed weights lie in [0, 1], got {float(max(masses))}")
    return mass_threshold(scores, masses, exact_sum(masses) + 1, alpha)


def coverage_gap(
    weights: Num[np.ndarray, " units"] | Sequence[Level],
    distances: Float[np.ndarray, " units"],
) -> float:
    """Most that fixed weights can lose: sum of weight share times total variation.

    Args:
        weights: In [0, 1], fixed before looking; the new unit weighs 1.
        distances: Total-variation distance between the data set and the one with unit i
            and the new unit exchanged, in [0, 1] each; an assumption of the user.

    References:
        Barber, Candes, Ramdas and Tibshirani (2023), Theorem 2.
    """
    masses = np.array([float(mass) for mass in check_weights(weights)])
    return float(masses @ np.asarray(distances, np.float64) / (masses.sum() + 1))


def mass_threshold(
    scores: Num[np.ndarray, " units"],
    masses: Sequence[Fraction],
    total: Fraction,
    alpha: Level,
) -> float:
    """Smallest score whose mass up to it is `1 - alpha` of the total; `inf` if none.

    The total exceeds the sum of masses by what lies at infinity.
    """
    needed = (1 - check_level("alpha", alpha)) * total
    scores = check_scores(scores)
    if len(masses) != scores.size:
        raise ValueError(f"{len(masses)} weights for {scores.size} scores")
    # Whole numbers over one denominator: exact, and faster than adding fractions.
    scale = math.lcm(*{mass.denominator for mass in masses})
    needed *= scale
    reached = 0
    for i in np.argsort(scores, kind="stable"):
        mass = masses[int(i)]
        reached += mass.numerator * (scale // mass.denominator)
        if reached >= needed:
            return float(scores[i])
    return math.inf


def check_weights(
    weights: Num[np.ndarray, " units"] | Sequence[Level],
) -> list[Fraction]:
    """Weights as exact decimals.

    Raises:
        ValueError: A weight is negative or not finite, or all are 0.
    """
    exact = [as_fraction(weight) for weight in weights]
    negative = [i for i, weight in enumerate(exact) if weight < 0]
    if negative:
        raise ValueError(
            f"weights must be at least 0, got {float(exact[negative[0]])} at {negative[0]}"
        )
    if not any(exact):
        raise ValueError("all weights are 0: no calibration unit counts")
    return exact
