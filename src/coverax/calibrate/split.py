"""Split-conformal thresholds: one score a unit in, an element of the scores out."""

import math

import numpy as np
from jaxtyping import Num

from coverax.calibrate.ranks import conformal_rank
from coverax.rational import Level


def split_threshold(scores: Num[np.ndarray, " units"], alpha: Level) -> float:
    """Split-conformal threshold of one score per unit.

    With exchangeable units, a new one has `score <= threshold` with probability at
    least `1 - alpha`, marginally over calibration sets.

    Args:
        scores: Calibration scores; larger is worse. No NaN; infinite ones are legal.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        An element of `scores`, or `inf` where fewer than `1 / alpha - 1` units exist.

    Raises:
        ValueError: `alpha` lies outside (0, 1), or `scores` is empty or has a NaN.

    Examples:
        >>> split_threshold(np.array([0.3, 0.1, 0.2, 0.4]), alpha=0.25)
        0.4
        >>> split_threshold(np.array([0.3, 0.1, 0.2, 0.4]), alpha=0.1)
        inf

    References:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World.
    """
    scores = np.asarray(scores)
    return rank_threshold(scores, conformal_rank(scores.size, alpha))


def rank_threshold(scores: Num[np.ndarray, " units"], rank: int) -> float:
    """The rank-th smallest score, or `inf` where the rank lies beyond the last.

    Raises:
        ValueError: `scores` is empty, not one axis, or has a NaN.
    """
    scores = check_scores(scores)
    if rank > scores.size:
        return math.inf
    return float(np.partition(scores, rank - 1)[rank - 1])


def check_scores(scores: Num[np.ndarray, " units"]) -> Num[np.ndarray, " units"]:
    """Scores as one axis, not empty, without NaN; infinite ones are legal.

    Raises:
        ValueError: They are something else.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"expected one score a unit, got shape {scores.shape}")
    n_nan = int(np.count_nonzero(np.isnan(scores)))
    if n_nan:
        raise ValueError(
            f"{n_nan} scores are NaN, the first at {np.isnan(scores).argmax()}"
        )
    return scores
