"""Whether maps are probability maps of different new patients, as far as can be told.

Three habits of the field break a guarantee in silence: hard masks read as maps, one map
under two names, and maps of cases that a model has learned from. Each check raises one
line for all cases; of what is not known nothing is said.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

# Parts of cases that something was learned from, and what that is in words.
TRAIN, LEARNING, FITTED = "train", "learning", "temperature"
_SPENT = {
    TRAIN: "of the training part of their model",
    LEARNING: "of the learning part of the split",
    FITTED: "of units that their temperature was fitted on",
}
SOFT, MASK, NOTHING = "soft", "mask", "nothing"


def kind_of_values(fingerprint: int, gap_above_zero: float) -> str:
    """What a map holds: `soft` values, 0 and 1 alone (`mask`), or `nothing` but one.

    A map that is all 0 or all 1 says neither: a good model finds nothing in some cases.

    Args:
        fingerprint: 0 for a constant map.
        gap_above_zero: Smallest positive value; infinite where there is none.
    """
    if gap_above_zero < 1:
        return SOFT
    return NOTHING if math.isinf(gap_above_zero) or not fingerprint else MASK


def check_not_masks(
    kinds: Iterable[tuple[str, str, str]], *, allow: bool = False
) -> None:
    """Refuse a cohort whose maps of a region are all hard masks.

    They are where no map has a value between 0 and 1 and one at least has both. A map
    that is all 0 or all 1 does not count for either side.

    Args:
        kinds: Case id, region and `kind_of_values` of each map.
        allow: Take them as they are.

    Raises:
        ValueError: All maps of a region are masks.
    """
    found: dict[str, dict[str, str]] = {}
    for case_id, region, kind in kinds:
        found.setdefault(region, {})[case_id] = kind
    hard = {
        region: own
        for region, own in found.items()
        if MASK in own.values() and SOFT not in own.values()
    }
    if hard and not allow:
        names = list(max(hard.values(), key=len))
        n_cases, more = len(names), f" and {len(names) - 3} more" * (len(names) > 3)
        where = f"region {', '.join(hard)}; " if len(found) > 1 else ""
        raise ValueError(
            f"the maps of {n_cases} case{'s' * (n_cases > 1)} hold 0 and 1 alone "
            f"({where}case {', '.join(names[:3])}{more}): these look like masks, not probabilities (nnU-Net writes probabilities with "
            "--save_probabilities; maps and references may be swapped); "
            "allow_hard_masks (--allow-hard-masks) takes them as they are"
        )


def check_no_copies(
    case_ids: Iterable[Any],
    units: Iterable[Any],
    regions: Iterable[Any],
    fingerprints: Iterable[int],
    *,
    allow: bool = False,
) -> None:
    """Refuse one map under the names of several units.

    Several references of a case share its map, and so may cases of one unit.

    Args:
        case_ids: Name of each row.
        units: What is exchangeable.
        regions: The structure of each row.
        fingerprints: Of its map; 0 where the map is constant or not known.
        allow: Take them as they are.

    Raises:
        ValueError: Cases of several units hold one map.
    """
    if allow:
        return
    owners: dict[tuple[str, int], dict[str, str]] = {}
    for case_id, unit, region, mark in zip(
        case_ids, units, regions, fingerprints, strict=True
    ):
        if mark:
            owners.setdefault((region, int(mark)), {})[str(case_id)] = str(unit)
    copies = [own for own in owners.values() if len(set(own.values())) > 1]
    if copies:
        names = dict.fromkeys(", ".join(own) for own in copies)
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"one map under several names: {'; '.join(list(names)[:3])}{more}. A patient "
            "who counts several times loses the guarantee: give the cases one unit, or "
            "leave the copies out; allow_duplicates (--allow-duplicates) of scoring "
            "takes them as they are"
        )


def count_parts(parts: Iterable[str], *, allowed: Iterable[str] = ()) -> dict[str, int]:
    """Number of cases of each part that is spent; parts without any are left out."""
    spent = [p for p in parts if p in _SPENT and p not in tuple(allowed)]
    return {part: spent.count(part) for part in _SPENT if part in spent}


def check_parts(parts: Iterable[str], *, allowed: Iterable[str] = ()) -> None:
    """Refuse cases that something was learned from.

    Args:
        parts: Part of each case.
        allowed: Parts that may occur all the same.

    Raises:
        ValueError: Some were.
    """
    counts = count_parts(parts, allowed=allowed)
    if counts:
        raise ValueError(
            f"{part_words(counts)}: maps of cases that something was learned from "
            "look better than those of new ones, and promise nothing for them; "
            "score other cases"
        )


def part_words(counts: Mapping[str, int]) -> str:
    """Such a count in words."""
    return ", ".join(
        f"{n} case{'s are' if n > 1 else ' is'} {_SPENT[part]}"
        for part, n in counts.items()
    )


def gap_words(gap: float) -> str:
    """Why references have voxels of probability 0: what was cut before it was saved."""
    if not 0 < gap < math.inf:
        return ""
    if gap >= 1:
        return "the maps hold 0 and 1 alone: they are masks, not probabilities"
    return (
        f"no map has a value between 0 and {gap:.3g}: they were cut before they were "
        "saved (soft segmentations that keep a class only where it wins) or are votes "
        "of few members, and what is 0 cannot be had at any threshold; save the whole "
        "softmax"
    )


def known_column(table: Any, name: str) -> np.ndarray | None:
    """A column of a table; None where it was written before there was one."""
    try:
        return table.column(name)
    except (KeyError, ValueError):
        return None
