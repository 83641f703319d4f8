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


def some_count(calibration: Calibration, rows: list[dict[str, Any]]) -> bool:
    """Whether a region has a reference that counts."""
    return not _puts_aside(calibration) or any(row["n_foreground"] > 0 for row in rows)


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
    everything = np.ones(len(case_ids), bool)
    rule = calibration.policy.raters
    kept = settle_raters(case_ids, column["rater"], everything, rule, seed)
    if _puts_aside(calibration):
        kept &= column["n_foreground"] > 0
    if not kept.any():
        raise ValueError(f"region {region}: all references are empty")
    _, first = np.unique(case_ids[kept], return_index=True)
    rows = np.zeros(len(case_ids), bool)
    rows[np.flatnonzero(kept)[first]] = True
    cases = cases_of(case_ids, np.flatnonzero(rows), kept)
    return Counted(
        rows & draw_one_per_unit(case_ids, column["unit"], rows, seed), cases
    )
