"""Group-conditional (Mondrian) thresholds: each group by its own units."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from coverax.calibrate.split import check_scores, split_threshold
from coverax.rational import Level

MERGED = "other"


class GroupParts(NamedTuple):
    """Groups that stand, and those that are merged.

    Attributes:
        rows: Places of the cases that set the threshold of each group, by name.
        small: Names of the groups that `other` serves, beside all that were never met.
    """

    rows: dict[str, np.ndarray]
    small: list[str]


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


def group_parts(
    groups: Sequence[str], units: Sequence[Hashable] | np.ndarray, n_least: int
) -> GroupParts:
    """Which cases set the threshold of each group, small groups counting as one.

    A group of fewer than `n_least` units is served by the threshold of `other`, and so
    is one that was never met. With exchangeable units a new one of such a group is
    covered as promised, for all of these groups together and not within each. Groups of
    exactly `n_least` units have thresholds of their own and count for `other` too: one
    of their units, had it been the new one, would have left the group small. Without
    them, or with new groups refused, the promise fails, since which units `other`
    serves would depend on who is new.

    Args:
        groups: Group of each case.
        units: Unit of each case.
        n_least: Fewest units a group stands with; 0 lets every group stand. A group
            that is called `other` never stands beside small ones.

    Raises:
        ValueError: A unit is of several groups: it would pool other units as the new
            one than as one that calibrates.
    """
    members = set(zip(groups, units, strict=True))
    sizes = Counter(group for group, _ in members)
    if n_least and len(members) > len(set(units)):
        several = Counter(unit for _, unit in members).most_common(1)[0][0]
        raise ValueError(
            f"unit {several} is of several groups, and a floor of groups "
            "(--group-floor) promises nothing then: per_unit='one' (--per-unit one) "
            "draws one case of each unit"
        )
    small = {g for g, n in sizes.items() if n < n_least or (n_least and g == MERGED)}
    names = np.array(groups, object)
    rows = {g: np.flatnonzero(names == g) for g in sizes if g not in small}
    pooled = small | {g for g, n in sizes.items() if n <= n_least}
    if pooled:
        rows[MERGED] = np.flatnonzero([g in pooled for g in groups])
    return GroupParts(dict(sorted(rows.items())), sorted(small))
