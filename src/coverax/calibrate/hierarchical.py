"""Thresholds where units own several cases: each unit weighs the same."""

from collections import Counter
from fractions import Fraction

import numpy as np
from jaxtyping import Num

from coverax.calibrate.units import check_units
from coverax.calibrate.weighted import mass_threshold
from coverax.rational import Level


def hierarchical_threshold(
    scores: Num[np.ndarray, " cases"],
    units: np.ndarray,
    alpha: Level,
) -> float:
    """Threshold for one new case of a new unit, from all cases of K units.

    With exchangeable units and cases exchangeable within a unit, a case of a new unit
    has `score <= threshold` with probability at least `1 - alpha`, marginally over
    calibration sets: each case weighs 1 / ((K + 1) * cases of its unit) and 1 / (K + 1)
    lies at infinity. The promise is for one case of the unit, not for all its cases.

    Args:
        scores: Calibration scores; larger is worse. No NaN.
        units: Unit of each case, known for every one.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        An element of `scores`, or `inf` where fewer than `1 / alpha - 1` units exist.

    Raises:
        ValueError: A unit is missing, `scores` has a NaN, or the lengths differ.

    Examples:
        >>> scores = np.array([0.1, 0.2, 0.3, 0.9])
        >>> hierarchical_threshold(scores, np.array(["a", "a", "b", "c"]), "0.5")
        0.3

    References:
        Lee, Barber and Willett (2023), Distribution-free inference with hierarchical
        data.
    """
    sizes = Counter(check_units(units))
    masses = [Fraction(1, sizes[unit]) for unit in units]
    return mass_threshold(scores, masses, Fraction(len(sizes) + 1), alpha)
