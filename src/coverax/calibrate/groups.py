"""Group-conditional (Mondrian) thresholds: each group by its own units."""

from collections import Counter
from collections.abc import Hashable

import numpy as np
from jaxtyping import Num

from coverax.calibrate.split import check_scores, split_threshold
from coverax.rational import Level


def group_thresholds(
    scores: Num[np.ndarray, " units"], groups: np.ndarray, alpha: Level
) -> dict[Hashable, float]:
    """One split-conformal threshold a group, ranked among the group's own units.

    With units exchangeable within each group, a new unit of a group has
    `score <= threshold` of that group with probability at least `1 - alpha`,
    conditionally on the group. A group must be known without the reference: site,
    scanner or predicted size, never true size.

    Args:
        scores: Calibration scores; larger is worse. No NaN.
        groups: Group of each unit.
        alpha: Tolerated miscoverage, in (0, 1).

    Returns:
        Threshold by group, sorted by name; `inf` for a group of fewer than
        `1 / alpha - 1` units. A group that was not calibrated has no entry: no promise.

    Raises:
        ValueError: `scores` has a NaN or is empty, or the lengths differ.

    References:
        Vovk, Lindsay, Nouretdinov and Gammerman (2003), Mondrian Confidence Machine.
    """
    scores, groups = check_scores(scores), np.asarray(groups)
    if groups.shape != scores.shape:
        raise ValueError(f"{groups.size} groups for {scores.size} scores")
    names = sorted(set(groups.tolist()))
    return {name: split_threshold(scores[groups == name], alpha) for name in names}


def merge_small_groups(
    groups: np.ndarray, n_least: int, *, merged: str = "other"
) -> np.ndarray:
    """Rename every group of fewer than `n_least` units to one common name.

    The decision looks at counts alone, never at scores, so the thresholds of what comes
    out keep the promise of `group_thresholds` for the merged groups as one. With counts
    that are themselves random the promise is conditional on them.

    Args:
        groups: Group of each unit.
        n_least: Fewest units a group stands with.
        merged: Name of what the small ones become.
    """
    names: list[str] = groups.tolist()
    sizes = Counter(names)
    return np.array([n if sizes[n] >= n_least else merged for n in names], object)
