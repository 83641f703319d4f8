"""Changes of volume between visits against references: coverage from scores, and widths."""

from dataclasses import replace
from typing import Any

import numpy as np

from coverax.calibrate import (
    Calibration,
    Measured,
    Visit,
    change_bounds,
    change_score,
    measured,
    pair_rows,
)
from coverax.evaluate.other_results import IntervalResult
from coverax.evaluate.volumes import judge_intervals, volumes_of_regions
from coverax.predict import interval_of, voxel_ml_of
from coverax.scores import Engine, ViewBatch, count_columns
from coverax.table import VISIT


def visit_columns(
    engine: Engine, batch: ViewBatch, calibration: Calibration
) -> dict[str, np.ndarray]:
    """What each map of a batch says of its volume, and what its reference does."""
    columns = count_columns(engine, batch, calibration.definition)
    n_foreground = np.asarray(columns["n_foreground"])
    voxel_ml = np.full(len(n_foreground), np.nan)
    for slot, view in enumerate(batch.views):
        voxel_ml[slot] = voxel_ml_of(view)
    own = np.array(measured(interval_of(calibration), columns, voxel_ml))
    return {
        "n_voxels": np.asarray(columns["n_voxels"]),
        "n_foreground": n_foreground,
        "true_ml": n_foreground * voxel_ml,
        "volume_ml": own[:, 0],
        "scale_ml": own[:, 1],
    }


def evaluate_changes(
    calibration: Calibration, region: str, rows: list[dict[str, Any]], seed: int
) -> tuple[IntervalResult, list[dict[str, Any]]]:
    """Coverage, its law, and the widths of the intervals of the changes of one region.

    Raises:
        ValueError: Visits are not named or have no pairs.
    """
    pairs = _pairs(calibration, region, rows)
    share_of = "earlier_ml"
    result, table = judge_intervals(calibration, region, pairs, seed, share_of=share_of)
    for row, pair in zip(table, pairs, strict=True):
        row["earlier"] = pair["earlier"]
    apart = [
        row["counted"] and (row["low_ml"] > 0 or row["high_ml"] < 0) for row in table
    ]
    return replace(result, change=True, n_zero_excluded=sum(apart)), table


def _pairs(
    calibration: Calibration, region: str, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows of the later visits, with what the pair says in place of what they say."""
    if lost := [row for row in rows if VISIT not in row["columns"]]:
        raise ValueError(
            f"case {lost[0]['case_id']}: the calibration is of the change between two "
            f"visits, and the cohort names none: give cohort.csv a column {VISIT}"
        )
    visits = {row["case_id"]: Visit(row["unit"], row["columns"][VISIT]) for row in rows}
    marks = [(row["case_id"], region, row["rater"]) for row in rows]
    interval = interval_of(calibration)
    limit = calibration.threshold_of(region).value
    found: list[dict[str, Any]] = []
    for i, j in zip(*pair_rows(marks, visits), strict=True):
        earlier, later = rows[i], rows[j]
        both = _measured(earlier), _measured(later)
        true_ml = float(earlier["true_ml"]), float(later["true_ml"])
        bounds = change_bounds(interval, *both, limit)
        pair = {
            "earlier": earlier["case_id"],
            "earlier_ml": both[0].volume_ml,
            "true_ml": true_ml[1] - true_ml[0],
            "volume_ml": bounds.change_ml,
            "low_ml": bounds.low_ml,
            "high_ml": bounds.high_ml,
            "score": change_score(interval, *both, true_ml),
        }
        found.append(later | pair)
    return found


def _measured(row: dict[str, Any]) -> Measured:
    return Measured(float(row["volume_ml"]), float(row["scale_ml"]))


# How such calibrations are evaluated: columns, a region, and what the whole says.
JUDGED = (visit_columns, evaluate_changes, volumes_of_regions)
