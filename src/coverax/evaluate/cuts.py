"""Masks by one cut against references: counts at the cuts, compliance and metrics."""

import math
from typing import Any

import numpy as np

from coverax.calibrate import Calibration
from coverax.evaluate.cut_results import CutResult
from coverax.evaluate.references import count_rows
from coverax.evaluate.summary import (
    Masks,
    complies_at,
    is_cut_above,
    law_of,
)
from coverax.predict.masks import cut_of
from coverax.scores import Engine, ViewBatch, compliance_scores, mask_shapes

FIXED_CUT = 0.5
ABOUT = ("case_id", "region", "unit", "group", "rater")
Rows = list[dict[str, Any]]


def check_nsd_tolerance(
    calibration: Calibration, nsd_tolerance_mm: float | None
) -> None:
    """Refuse a tolerance that is no distance, or a calibration that gives no one mask.

    Raises:
        ValueError: It is not positive and finite, or there is no mask to measure.
    """
    if nsd_tolerance_mm is None:
        return
    if not (math.isfinite(nsd_tolerance_mm) and nsd_tolerance_mm > 0):
        raise ValueError(
            f"the tolerance of NSD must be a positive distance in mm, got "
            f"{nsd_tolerance_mm}"
        )
    if calibration.kind not in ("cut", "fold_cuts"):
        raise ValueError(
            "surfaces are measured of masks by one cut; this calibration is of method "
            f"{calibration.method}"
        )


def cut_columns(
    engine: Engine,
    batch: ViewBatch,
    calibration: Calibration,
    *,
    nsd_tolerance_mm: float | None = None,
) -> dict[str, np.ndarray]:
    """Counts, score and critical probability of a batch, at the cut of each map."""
    probs, labels, valid, views = batch[:4]
    # At the calibrated cut, the fixed one, and, where ties are broken, the one above.
    own = [calibration.threshold_of(view.region.name) for view in views]
    cuts = np.full((len(probs), 3), FIXED_CUT, np.float32)
    for k, (view, threshold) in enumerate(zip(views, own, strict=True)):
        cuts[k, 0] = cuts[k, 2] = cut_of(threshold, view.probs)
        if threshold.tie is not None:
            cuts[k, 2] = cut_of(threshold, view.probs, is_below=True)
    tolerance, score = (
        calibration.thresholds[0].tolerance,
        calibration.thresholds[0].score,
    )
    if tolerance is None:  # a mean is controlled: critical probabilities are for show
        tolerance = calibration.definition.tolerances[0]
    scores, critical = compliance_scores(
        engine, probs, labels, tolerance, score, valid=valid
    )
    sizes = engine.ops.sizes(labels, valid=valid)
    overlap = engine.ops.overlap_counts(probs, labels, cuts, valid=valid)
    return _shape_columns(batch, calibration, cuts, nsd_tolerance_mm) | {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        "critical_probability": critical,
        "score": scores,
        "n_predicted": np.asarray(overlap.n_predicted),
        "n_true_positive": np.asarray(overlap.n_true_positive),
    }


def _shape_columns(
    batch: ViewBatch,
    calibration: Calibration,
    cuts: np.ndarray,
    nsd_tolerance_mm: float | None,
) -> dict[str, np.ndarray]:
    """Lesions and surfaces of each view at each of its cuts."""
    neighbours = calibration.definition.lesions
    each = [
        mask_shapes(
            view, [view.probs >= cut for cut in own], neighbours, nsd_tolerance_mm
        )
        for view, own in zip(batch.views, cuts, strict=False)
    ]
    return {name: np.stack([one[name] for one in each]) for name in each[0]}


def evaluate_cut(
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[CutResult, Rows]:
    """Compliance, its law and metrics of one region."""
    threshold = calibration.threshold_of(region)
    by_mass = threshold.score == "mass"
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    scores = column["score"]
    worst = counted.worst(scores)
    above = is_cut_above(calibration, threshold, column["case_id"])
    complies, limit = None, threshold.value
    if threshold.tolerance is not None:
        complies = np.where(above, worst < limit, worst <= limit)
    place = np.where(above, 2, 0)
    own = Masks.of("calibrated", column, place, complies, counted)
    complies = complies_at(threshold.tolerance, column, 1, counted)
    fixed = Masks.of("fixed", column, np.ones(len(rows), int), complies, counted)
    result = CutResult(
        region=threshold.region,
        tolerance=threshold.tolerance,
        n_counted=int(counted.rows.sum()),
        n_empty_reference=int(np.count_nonzero(column["n_foreground"] == 0)),
        n_calibration_units=threshold.n_units,
        rank=threshold.rank,
        raters=calibration.policy.raters,
        **law_of(threshold, worst[counted.rows])._asdict(),
        score="mass" if by_mass else None,
        calibrated=own.at(np.inf if by_mass else threshold.probability),
        risks=own.risks(calibration),
        fixed=fixed.at(FIXED_CUT),
    )
    table = [
        {
            **{name: row[name] for name in ABOUT},
            "counted": bool(counted.rows[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
            **({"n_lesions": row["n_lesions"]} if "n_lesions" in row else {}),
            "critical_probability": row["critical_probability"],
            "score": float(scores[i]),
            **own.columns(i),
            **fixed.columns(i),
        }
        for i, row in enumerate(rows)
    ]
    return result, table


# How calibrations of the kind are evaluated: columns, region, all regions.
JUDGED = (cut_columns, evaluate_cut, lambda _calibration, _cases: None)
