"""Releases against references: what goes out, what that costs, and the floors."""

from dataclasses import replace
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, floor_scores
from coverax.evaluate.other_results import (
    FloorCoverage,
    Release,
    ReleaseResult,
    RiskPoint,
)
from coverax.evaluate.references import count_rows
from coverax.evaluate.sets import coverage_of, mean_of
from coverax.evaluate.summary import is_tied
from coverax.predict import confidence_column, triage_of, verdict
from coverax.scores import Engine, ViewBatch, count_columns

_POINTS = 20  # of the curve of risk against share


def triage_columns(
    engine: Engine, batch: ViewBatch, calibration: Calibration
) -> dict[str, np.ndarray]:
    """Uncertainty, loss and Dice of each view of a batch, and the score of its floor."""
    triage = triage_of(calibration)
    columns = count_columns(engine, batch, calibration.definition)
    true = np.asarray(columns["n_foreground"])
    dice = np.array([float(d) for d in triage.dice(columns, true)])
    found = {
        "n_voxels": np.asarray(columns["n_voxels"]),
        "n_foreground": true,
        "loss": triage.losses(columns, true),
        "dice": dice,
    }
    if triage.is_given:  # by what the cohort says, see `evaluate_triage`
        return found
    unsure = triage.uncertainty(columns)
    plain = replace(triage, loss="dice", bad_below=None).losses(columns, true)
    scores = floor_scores(plain, unsure)
    return found | {"uncertainty": unsure, "floor_score": scores}


def evaluate_triage(
    calibration: Calibration, region: str, rows: list[dict[str, Any]], seed: int
) -> tuple[ReleaseResult, list[dict[str, Any]]]:
    """Share and loss of what is released, risk against share, and the floors."""
    rows = _with_given(calibration, rows)
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    mine, losses = counted.rows, counted.worst(column["loss"])
    verdicts = [verdict(calibration, region, row["uncertainty"]) for row in rows]
    out = np.array([v["released"] for v in verdicts])
    threshold = calibration.threshold_of(region, "release")
    result = ReleaseResult(
        region=region,
        n_counted=int(mine.sum()),
        n_empty_reference=int(np.count_nonzero(column["n_foreground"] == 0)),
        n_calibration_units=threshold.n_units,
        raters=calibration.policy.raters,
        release=Release(
            loss=triage_of(calibration).loss,
            level=calibration.alpha,
            n_released=int(out[mine].sum()),
            share_released=float(out[mine].mean()),
            realised=float((losses * out)[mine].mean()),
            loss_of_released=mean_of(losses[mine & out]),
            loss_of_all=float(losses[mine].mean()),
            curve=_curve(column["uncertainty"][mine], losses[mine]),
        ),
    )
    covered: np.ndarray | None = None
    if triage_of(calibration).has_floor:
        floor = calibration.threshold_of(region, "floor")
        scores = counted.worst(column["floor_score"])
        covered = scores <= floor.value
        floors = np.array([v["dice_floor"] for v in verdicts], float)
        found = coverage_of(covered[mine], floor, tied=is_tied(floor, scores[mine]))
        known = FloorCoverage(
            coverage=found.coverage,
            n_covered=found.n_covered,
            law=found.law,
            expected=found.expected,
            band=found.band,
            floor_median=float(np.median(floors[mine])),
            dice_median=float(np.median(column["dice"][mine])),
        )
        result = replace(result, floor=known)
    table = [
        {name: row[name] for name in ("case_id", "region", "unit", "group", "rater")}
        | {
            "counted": bool(mine[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
            **verdicts[i],
            "loss": float(row["loss"]),
            "dice": float(row["dice"]),
            "floor_covered": None if covered is None else bool(covered[i]),
        }
        for i, row in enumerate(rows)
    ]
    return result, table


def _with_given(
    calibration: Calibration, rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with their uncertainty, where the cohort gives it."""
    triage, name = triage_of(calibration), confidence_column(calibration)
    if name is None:
        return rows
    unsure = triage.uncertainty({name: [row["columns"][name] for row in rows]})
    return [
        row | {"uncertainty": own}
        for row, own in zip(rows, unsure.tolist(), strict=True)
    ]


def _curve(uncertainty: np.ndarray, losses: np.ndarray) -> list[RiskPoint]:
    """Mean loss of what would go out, the most confident first: a description."""
    order = np.argsort(uncertainty, kind="stable")
    total, n = np.cumsum(losses[order]), losses.size
    places = np.unique(np.ceil(np.arange(1, _POINTS + 1) * n / _POINTS).astype(int))
    return [RiskPoint(k / n, float(total[k - 1] / n)) for k in places.tolist()]


# How such calibrations are evaluated: columns, a region, and what the whole says.
JUDGED = (triage_columns, evaluate_triage, lambda _calibration, _cases: None)
