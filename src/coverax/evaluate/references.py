"""Which rows of an evaluation count, and for which case: raters settled, units drawn."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from coverax.calibrate import (
    Calibration,
    Cases,
    cases_of,
    draw_one_per_unit,
    settle_raters,
)

# What references are settled by, and the marks of those settled before (`draw_over_all`).
_SETTLE = ("case_id", "unit", "rater", "n_foreground")
_SETTLED, _DRAWN = "is_settled", "is_drawn"


class Counted(NamedTuple):
    """Rows of one region that count.

    Attributes:
        rows: One row of each case that counts.
        cases: Those and all other cases with a reference, by their rows.
    """

    rows: Bool[np.ndarray, " rows"]
    cases: Cases

    def worst(self, values: np.ndarray) -> np.ndarray:
        """Every row of a case holds the largest over its references; NaN gives way."""
        out = np.array(values, np.float64)
        cases = self.cases
        largest = np.fmax.reduceat(out[cases.members], cases.starts)
        sizes = np.diff(np.append(cases.starts, cases.members.size))
        out[cases.members] = np.repeat(largest, sizes)
        return out


def lacks(calibration: Calibration, rows: list[dict[str, Any]]) -> str | None:
    """Why no row of a region counts; None where one does."""
    if _puts_aside(calibration) and not any(row["n_foreground"] > 0 for row in rows):
        return "all references are empty"
    if not any(row.get(_DRAWN, True) for row in rows):
        return "no case drawn: those drawn of its units are of other groups"
    return None


def draw_over_all(
    calibration: Calibration, rows: list[dict[str, Any]], seed: int
) -> None:
    """Mark the rows that count, one case of each unit drawn over all groups together.

    So calibration draws: a unit is in the group of its one case. With exchangeable
    units those drawn within a group are exchangeable too, and each group has its law.
    Drawn in each group, a unit of few cases there would weigh more than it did.

    Args:
        calibration: By groups; does nothing where it did not draw one case a unit.
        rows: Of all groups; `count_rows` of those of one group then follows the marks.
        seed: Seed of the draws.
    """
    if calibration.policy.per_unit != "one":
        return
    by_region: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_region.setdefault(row["region"], []).append(row)
    for mine in by_region.values():
        column = {name: np.array([row[name] for row in mine]) for name in _SETTLE}
        settled = _settle(calibration, column, seed)
        for row, *marks in zip(mine, *settled, strict=True):
            row.update(zip((_SETTLED, _DRAWN), map(bool, marks), strict=True))


def _puts_aside(calibration: Calibration) -> bool:
    """Whether empty references do not count.

    `refuse` calibrated without them; those of sets count all the same.
    """
    aside = ("exclude",) if calibration.has_sides else ("exclude", "refuse")
    return calibration.policy.empty in aside


def count_rows(
    calibration: Calibration,
    region: str,
    column: dict[str, np.ndarray],
    seed: int,
) -> Counted:
    """Settle references as the calibration did, and draw one case of each unit.

    Raises:
        ValueError: Every reference is empty, or cases have several and the calibration
            does not say what that means.
    """
    case_ids = column["case_id"]
    kept, drawn = (
        (column[_SETTLED], column[_DRAWN])
        if _DRAWN in column
        else _settle(calibration, column, seed)
    )
    if not kept.any():
        raise ValueError(f"region {region}: all references are empty")
    cases = cases_of(case_ids, np.flatnonzero(_first_of(case_ids, kept)), kept)
    return Counted(drawn, cases)


def _settle(
    calibration: Calibration, column: dict[str, np.ndarray], seed: int
) -> tuple[Bool[np.ndarray, " rows"], Bool[np.ndarray, " rows"]]:
    """Rows of references that count, and one of the case drawn of each unit."""
    case_ids = column["case_id"]
    everything = np.ones(len(case_ids), bool)
    rule = calibration.policy.raters
    kept = settle_raters(case_ids, column["rater"], everything, rule, seed)
    if _puts_aside(calibration):
        kept &= column["n_foreground"] > 0
    rows = _first_of(case_ids, kept)
    return kept, rows & draw_one_per_unit(case_ids, column["unit"], rows, seed)


def _first_of(
    case_ids: np.ndarray, kept: Bool[np.ndarray, " rows"]
) -> Bool[np.ndarray, " rows"]:
    """The first kept row of each case."""
    rows = np.zeros(len(case_ids), bool)
    rows[np.flatnonzero(kept)[np.unique(case_ids[kept], return_index=True)[1]]] = True
    return rows
