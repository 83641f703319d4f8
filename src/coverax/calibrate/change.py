"""Change of a volume between two visits: the pairs, their scores, and what a score says.

What is exchangeable is the patient with both visits: a pair counts once, and the error
of a change is that of the difference of two estimates.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from coverax.calibrate.interval import SLACK, Interval, outwards
from coverax.calibrate.map_facts import Counts, sum_uncertain
from coverax.choices import OneSided
from coverax.table import VISIT, ScoreTable

_NUMBERED = re.compile(r"(.*?)(\d+)")


class Visit(NamedTuple):
    """Whose scan a case is, when it was taken, and of which group it is, where that counts."""

    unit: str
    visit: str
    group: str = ""


class Measured(NamedTuple):
    """What the map of one visit says, in mL.

    Attributes:
        volume_ml: Estimate of the volume.
        scale_ml: What errors are divided by; 0 where they are not divided.
    """

    volume_ml: float
    scale_ml: float


class Change(NamedTuple):
    """A change of volume and the ends of its interval, in mL; an infinite end is none."""

    change_ml: float
    low_ml: float
    high_ml: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval says that there was a change."""
        return self.low_ml > 0 or self.high_ml < 0


def pair_visits(visits: Mapping[str, Visit]) -> dict[str, tuple[str, str]]:
    """The earlier and the later case of every unit.

    Visits are ordered as numbers, as dates (2026-11-27), or by the number behind one word
    (`ses-1`, `M06`), whichever all of them are.

    Args:
        visits: Case id to its unit and visit.

    Raises:
        ValueError: A unit has not two visits, or they are of different groups; a case
            names no visit, or visits have no order.
    """
    if lost := [case_id for case_id, own in visits.items() if not own.visit]:
        raise ValueError(f"case {lost[0]}: no {VISIT} is named, and a change is of two")
    place = _order([own.visit for own in visits.values()])
    by_unit: dict[str, list[tuple[Any, str]]] = {}
    for case_id, own in visits.items():
        by_unit.setdefault(own.unit, []).append((place(own.visit), case_id))
    bad = {unit: own for unit, own in by_unit.items() if len({p for p, _ in own}) != 2}
    bad |= {unit: own for unit, own in by_unit.items() if len(own) != 2}
    if bad:
        unit, own = next(iter(bad.items()))
        names = ", ".join(f"{c} ({visits[c].visit})" for _, c in sorted(own)[:4])
        raise ValueError(
            f"unit {unit}: a change needs two different visits of it, one case each, and "
            f"there is {names}; so it is with {len(bad)} of {len(by_unit)} units: give "
            "cohort.csv the two visits of each that are to be compared"
        )
    found: dict[str, tuple[str, str]] = {}
    for unit, own in by_unit.items():
        (_, first), (_, second) = sorted(own)
        if len(groups := {visits[first].group, visits[second].group}) > 1:
            raise ValueError(
                f"unit {unit}: its visits are of groups {' and '.join(sorted(groups))}, and "
                "a pair is of one"
            )
        found[unit] = first, second
    return found


def _order(visits: Iterable[str]) -> Callable[[str], Any]:
    """Where a visit stands among the others.

    Raises:
        ValueError: Nothing tells.
    """
    names = sorted(set(visits))
    for place in (_number, date.fromisoformat):
        try:
            for name in names:
                place(name)
        except ValueError:
            continue
        return place
    found = {name: _NUMBERED.fullmatch(name) for name in names}
    numbers = {name: int(match[2]) for name, match in found.items() if match}
    words = {match[1] for match in found.values() if match}
    if len(numbers) == len(found) and len(words) == 1:
        return numbers.__getitem__
    raise ValueError(
        f"visits {', '.join(names[:4])} have no order: name them by numbers, by dates "
        "(2026-11-27), or by one word and a number (ses-1, ses-2)"
    )


def _number(name: str) -> float:
    found = float(name)
    if not math.isfinite(found):
        raise ValueError(name)
    return found


class Pairs(NamedTuple):
    """Rows of a table by pairs.

    Attributes:
        later: The table of the later visits, one row a unit, region and reference.
        earlier: That of the earlier ones, row by row the same.
        rows: Of both in the whole table.
    """

    later: ScoreTable
    earlier: ScoreTable
    rows: tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]


def pairs_of_table(
    table: ScoreTable, unit_column: str, group_by: str | None = None
) -> Pairs:
    """The visits of every unit of a table, side by side.

    Raises:
        ValueError: The table has no column of visits, a unit has not two, or a visit
            lacks a region or a reference of the other.
    """
    if VISIT not in table.cohort_columns:
        raise ValueError(
            f"a change is between two visits, and the score table has no column {VISIT}: "
            f"give cohort.csv a column {VISIT} (or BIDS names sub-XX_ses-Y) and score again"
        )
    ids, units = table.column("case_id"), table.units(unit_column)
    visits: dict[str, Visit] = {}
    groups = np.full(len(ids), "") if group_by is None else table.grouping(group_by)
    for case_id, *own in zip(ids, units, table.column(VISIT), groups, strict=True):
        mine = Visit(*map(str, own))
        if visits.setdefault(case_id, mine) != mine:
            raise ValueError(
                f"case {case_id}: its rows name several visits, units or groups"
            )
    marks = zip(ids, table.column("region"), table.column("rater"), strict=True)
    first, second = pair_rows([tuple(map(str, mark)) for mark in marks], visits)
    return Pairs(table.select(second), table.select(first), (first, second))


def pair_rows(
    marks: Sequence[tuple[str, ...]], visits: Mapping[str, Visit]
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Places of the earlier and of the later visit's rows, in the order of the later.

    Args:
        marks: Of each row its case, and what it has in common with a row of the other
            visit: region and rater.
        visits: Case id to its unit and visit.

    Raises:
        ValueError: See `pair_visits`; or one visit has a row that the other lacks.
    """
    earlier = {second: first for first, second in pair_visits(visits).values()}
    places = {mark: i for i, mark in enumerate(marks)}
    pairs = [
        (places.get((earlier[mark[0]], *mark[1:])), i)
        for i, mark in enumerate(marks)
        if mark[0] in earlier
    ]
    lone = [i for first, i in pairs if first is None]
    if not lone and 2 * len(pairs) < len(marks):
        met = {i for pair in pairs for i in pair}
        lone = [i for i in range(len(marks)) if i not in met]
    if lone:
        case_id, *rest = marks[lone[0]]
        raise ValueError(
            f"case {case_id}: its other visit has no row of {', '.join(filter(None, rest))}"
        )
    first, second = np.array(pairs, int).reshape(-1, 2).T
    return first, second


def measured(
    interval: Interval, columns: Counts, voxel_ml: Float[np.ndarray, " rows"]
) -> list[Measured]:
    """What each map says of its volume."""
    volumes = interval.estimates(columns) * voxel_ml
    scales = np.zeros(len(volumes))
    if interval.scale == "mass":
        scales = sum_uncertain(columns) * voxel_ml
    return [
        Measured(*own) for own in zip(volumes.tolist(), scales.tolist(), strict=True)
    ]


def change_score(
    interval: Interval, first: Measured, second: Measured, true_ml: tuple[float, float]
) -> float:
    """Error of the estimated change; larger is worse.

    It is divided by the scales of both maps together. Where there is nothing to divide
    by, a change is right (0) or not (infinite).

    Args:
        interval: How volumes are estimated.
        first: Of the map of the earlier visit.
        second: Of the later one.
        true_ml: Volumes of the references at both.
    """
    true = Fraction(true_ml[1]) - Fraction(true_ml[0])
    found = Fraction(second.volume_ml) - Fraction(first.volume_ml)
    error = _signed(true - found, interval.one_sided)
    if interval.scale == "none":
        return float(error)
    scale = Fraction(first.scale_ml) + Fraction(second.scale_ml)
    if not scale:
        return math.inf if error > 0 else 0.0
    return float(error / scale)


def change_bounds(
    interval: Interval, first: Measured, second: Measured, threshold: float
) -> Change:
    """The interval of a change: every one whose score is at most the threshold.

    Ends are computed exactly and rounded outwards.
    """
    found = Fraction(second.volume_ml) - Fraction(first.volume_ml)
    low, high = -math.inf, math.inf
    if math.isfinite(threshold):
        scale = Fraction(1)
        if interval.scale == "mass":
            scale = Fraction(first.scale_ml) + Fraction(second.scale_ml)
        reach = Fraction(threshold + SLACK * (1 + abs(threshold))) * scale
        low, high = outwards(found - reach)[0], outwards(found + reach)[1]
    if interval.one_sided == "at-least":
        high = math.inf
    if interval.one_sided == "at-most":
        low = -math.inf
    return Change(float(found), low, high)


def _signed(error: Fraction, one_sided: OneSided | None) -> Fraction:
    if one_sided is None:
        return abs(error)
    return -error if one_sided == "at-least" else error
