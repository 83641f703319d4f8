"""Intervals of volumes against references: coverage from scores, and widths."""

from typing import Any

import numpy as np

from coverax.calibrate import Calibration
from coverax.calibrate.record import VolumeRecord
from coverax.evaluate.other_results import IntervalResult, VolumeCoverage
from coverax.evaluate.references import count_rows
from coverax.evaluate.set_results import AllRegions
from coverax.evaluate.sets import coverage_of, mean_of
from coverax.evaluate.summary import is_tied
from coverax.predict import interval_of, voxel_ml_of
from coverax.scores import Engine, ViewBatch, count_columns

VOLUMES = ("volume_ml", "low_ml", "high_ml")


def volume_columns(
    engine: Engine, batch: ViewBatch, calibration: Calibration
) -> dict[str, np.ndarray]:
    """The score of each view of a batch, its volume and the ends of its interval."""
    interval = interval_of(calibration)
    columns = count_columns(engine, batch, calibration.definition)
    n_foreground = np.asarray(columns["n_foreground"])
    n_slots = len(n_foreground)
    voxel_ml = np.full(n_slots, np.nan)
    bounds = np.full((n_slots, len(VOLUMES)), np.nan)
    for slot, view in enumerate(batch.views):
        voxel_ml[slot] = voxel_ml_of(view)
        own = {name: values[slot : slot + 1] for name, values in columns.items()}
        limit = calibration.threshold_of(view.region.name).value
        bounds[slot] = interval.bounds(own, voxel_ml[slot], limit)
    return {
        "n_voxels": np.asarray(columns["n_voxels"]),
        "n_foreground": n_foreground,
        "score": interval.scores(columns, n_foreground, voxel_ml),
        **dict(zip(VOLUMES, bounds.T, strict=True)),
    }


def evaluate_volumes(
    calibration: Calibration, region: str, rows: list[dict[str, Any]], seed: int
) -> tuple[IntervalResult, list[dict[str, Any]]]:
    """Coverage, its law, and the widths of the intervals of one region."""
    for row in rows:
        row["true_ml"] = row["n_foreground"] * float(row["voxel_volume_ml"])
    return judge_intervals(calibration, region, rows, seed)


def judge_intervals(
    calibration: Calibration,
    region: str,
    rows: list[dict[str, Any]],
    seed: int,
    *,
    share_of: str = "volume_ml",
) -> tuple[IntervalResult, list[dict[str, Any]]]:
    """Of rows that have their truth, estimate, interval and score.

    Args:
        calibration: What is evaluated.
        region: Of the rows.
        rows: One a case, or a pair of visits, and reference.
        seed: Of the draw of one case a unit.
        share_of: What widths are a share of.
    """
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    threshold = calibration.threshold_of(region)
    worst = counted.worst(column["score"])
    hits, mine = worst <= threshold.value, counted.rows
    is_joint = _is_joint(calibration)
    tied = is_tied(threshold, worst[mine])
    width, of = column["high_ml"] - column["low_ml"], column[share_of]
    share = np.full(len(width), np.nan)
    np.divide(width, of, out=share, where=of > 0)
    # Jointly over regions the law is that of all of them together.
    found = coverage_of(hits[mine], None if is_joint else threshold, tied=tied)
    result = IntervalResult(
        region=region,
        n_counted=int(mine.sum()),
        n_empty_reference=int(np.count_nonzero(column["n_foreground"] == 0)),
        n_calibration_units=threshold.n_units,
        rank=threshold.rank,
        raters=calibration.policy.raters,
        interval=VolumeCoverage(
            coverage=found.coverage,
            n_covered=found.n_covered,
            law=found.law,
            expected=found.expected,
            band=found.band,
            true_ml=mean_of(column["true_ml"][mine]),
            volume_ml=mean_of(column["volume_ml"][mine]),
            width_ml=_finite(np.mean, width[mine]),
            width_ml_median=_finite(np.median, width[mine]),
            width_share_median=_finite(np.median, share[mine]),
        ),
    )
    table = [
        {name: row[name] for name in ("case_id", "region", "unit", "group", "rater")}
        | {
            "counted": bool(mine[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
            "true_ml": float(row["true_ml"]),
            **{name: float(row[name]) for name in VOLUMES},
            "score": float(row["score"]),
            "covered": bool(hits[i]),
            "tied": bool(worst[i] == threshold.value),
        }
        for i, row in enumerate(rows)
    ]
    return result, table


def volumes_of_regions(
    calibration: Calibration, cases: list[dict[str, Any]]
) -> AllRegions | None:
    """Share of cases of which every region is covered, where that is the promise."""
    if not _is_joint(calibration):
        return None
    by_case: dict[str, list[bool]] = {}
    for row in cases:
        if row["counted"]:
            by_case.setdefault(row["case_id"], []).append(row["covered"])
    hits = np.array([all(each) for each in by_case.values()])
    threshold = calibration.thresholds[0]
    tied = threshold.n_tied > 1 or any(row["tied"] for row in cases)
    found = coverage_of(hits, threshold, tied=tied)
    return AllRegions(hits.size, found)


def _is_joint(calibration: Calibration) -> bool:
    """Whether the promise is of all regions of a case at once."""
    record = calibration.record
    return isinstance(record, VolumeRecord) and record.regions == "joint"


def _finite(mean_fn: Any, values: np.ndarray) -> float | None:
    """A mean of widths; None where an interval is open or none applies."""
    known = values[~np.isnan(values)]
    found = float(mean_fn(known)) if known.size else np.inf
    return found if np.isfinite(found) else None


# How such calibrations are evaluated: columns, a region, and what the whole says.
JUDGED = (volume_columns, evaluate_volumes, volumes_of_regions)
