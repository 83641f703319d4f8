"""Confidence sets against references: coverage from scores, sizes from counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, Threshold, compliance_band
from coverax.choices import Side
from coverax.evaluate.references import count_rows
from coverax.evaluate.set_results import (
    WRONG,
    AllRegions,
    Coverage,
    FalseCoverage,
    SetsResult,
    SideCoverage,
    SideSizes,
)
from coverax.evaluate.summary import bands_of, expected, has_law, is_tied
from coverax.scores import (
    Engine,
    Transform,
    ViewBatch,
    score_maps,
    side_cut,
    side_scores,
    side_transforms,
)
from coverax.table import SIDES


def side_columns(
    engine: Engine, batch: ViewBatch, calibration: Calibration
) -> dict[str, np.ndarray]:
    """Scores of a batch, and the sizes of its sets on and off the reference."""
    transforms = _transforms(calibration)
    maps = score_maps(engine, batch, calibration.definition, transforms)
    labels, valid = (batch.place(engine, a) for a in batch[1:3])
    sizes = engine.ops.sizes(labels, valid=valid)
    out = {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        "n_axes": np.full(len(labels), 3),
    }
    for slot, view in enumerate(batch.views):
        if view.grid is not None:
            out["n_axes"][slot] = max(1, sum(n > 1 for n in view.grid.shape))
    for transform in transforms:
        side = transform.side
        values = maps[side, transform.map_spec]
        cuts = np.full((len(labels), 1), np.nan, np.float32)
        for slot, view in enumerate(batch.views):
            threshold = calibration.threshold_of(view.region.name, side)
            cuts[slot, 0] = side_cut(transform, threshold.value)
        placed = batch.place(engine, values)
        overlap = engine.ops.overlap_counts(placed, labels, cuts, valid=valid)
        out[f"{side}_score"] = side_scores(engine, batch, transform, values)
        out[f"n_{side}"] = np.asarray(overlap.n_predicted)[:, 0]
        out[f"n_{side}_hit"] = np.asarray(overlap.n_true_positive)[:, 0]
    return out


def evaluate_sets(
    calibration: Calibration, region: str, rows: list[dict[str, Any]], seed: int
) -> tuple[SetsResult, list[dict[str, Any]]]:
    """Coverage, its law, set sizes and the coverage curve of one region."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    judged = count_rows(calibration, region, column, seed)
    counted = judged.rows
    own = {f"{side}_score": column[f"{side}_score"] for side in SIDES}
    column |= {name: judged.worst(values) for name, values in own.items()}
    threshold = {side: calibration.threshold_of(region, side) for side in SIDES}
    covered = {s: column[f"{s}_score"] <= threshold[s].value for s in SIDES}
    covered["joint"] = covered["inner"] & covered["outer"]
    sizes, laws = side_sizes(column), _laws(calibration, threshold)
    sides: dict[Side, SideCoverage] = {}
    for transform in _transforms(calibration):
        side = transform.side
        tied = _ties(column, threshold, [side], counted)
        found = coverage_of(covered[side][counted], laws[side], tied=tied)
        mean_sizes = mean_sizes_of(side, sizes, counted)
        sides[side] = _side(found, transform, threshold[side], mean_sizes)
    tied = _ties(column, threshold, SIDES, counted)
    result = SetsResult(
        region=region,
        rule=calibration.sets.joint,
        regions=calibration.sets.regions,
        n_counted=int(counted.sum()),
        n_empty_reference=int(np.count_nonzero(column["n_foreground"] == 0)),
        n_axes=_common(column["n_axes"]),
        n_calibration_units=threshold["inner"].n_units,
        n_contradictory=int(np.count_nonzero(_contradictory(column) & counted)),
        inner=sides["inner"],
        outer=sides["outer"],
        joint=coverage_of(covered["joint"][counted], laws["joint"], tied=tied),
        uncertain_ml=mean_of(sizes["uncertain_ml"][counted]),
        fcr=_curve(calibration, region, column, counted),
    )
    at_threshold = [column[f"{s}_score"] == threshold[s].value for s in SIDES]
    added = {f"{name}_covered": hits for name, hits in covered.items()}
    added["tied"] = at_threshold[0] | at_threshold[1]
    table = [
        {
            **{name: row[name] for name in ("case_id", "region", "unit", "group")},
            "rater": row["rater"],
            "counted": bool(counted[i]),
            **{k: row[k] for k in row if k.startswith("n_")},
            **{name: float(values[i]) for name, values in own.items()},
            **{name: bool(values[i]) for name, values in added.items()},
            **{name: float(values[i]) for name, values in sizes.items()},
        }
        for i, row in enumerate(rows)
    ]
    return result, table


def joint_over_regions(
    calibration: Calibration, cases: list[dict[str, Any]]
) -> AllRegions | None:
    """Share of cases whose every region is covered, where that is the promise."""
    if calibration.sets.regions != "joint":
        return None
    by_case: dict[str, list[bool]] = {}
    for row in cases:
        if row["counted"]:
            by_case.setdefault(row["case_id"], []).append(row["joint_covered"])
    # The promise is for cases that count in every region: the others have no joint score.
    n_regions = len({threshold.region for threshold in calibration.thresholds})
    complete = [hits for hits in by_case.values() if len(hits) == n_regions]
    if not complete:
        return AllRegions(0, None)
    hits = np.array([all(each) for each in complete])
    rule, threshold = calibration.sets.joint, calibration.thresholds[0]
    law = threshold if rule in ("max", "ranked") else None
    tied = any(row["tied"] for row in cases if row["counted"])
    tied = tied or any(t.n_tied > 1 for t in calibration.thresholds)
    return AllRegions(hits.size, coverage_of(hits, law, tied=tied))


def _transforms(calibration: Calibration) -> tuple[Transform, Transform]:
    return side_transforms(calibration.sets.inner, calibration.sets.outer)


def _laws(
    calibration: Calibration, threshold: dict[str, Threshold]
) -> dict[str, Threshold | None]:
    """Which coverage has an exact law: the one whose score was calibrated."""
    laws: dict[str, Threshold | None] = dict.fromkeys((*SIDES, "joint"))
    if calibration.sets.regions == "joint":
        return laws  # the law is of all regions together
    if calibration.sets.joint in ("max", "ranked"):
        return laws | {"joint": threshold["inner"]}
    return laws | dict(threshold)


def coverage_of(hits: np.ndarray, law: Threshold | None, *, tied: bool) -> Coverage:
    """Share of cases that are covered, and what the law has where one applies."""
    share, n = float(hits.mean()), int(hits.sum())
    if law is None or not has_law(law):
        return Coverage(share, n, None, None, None)
    bands = bands_of(law, hits.size, tied=tied)
    return Coverage(share, n, "at_least" if tied else "exact", expected(law), bands)


def _side(
    found: Coverage, transform: Transform, threshold: Threshold, sizes: SideSizes
) -> SideCoverage:
    return SideCoverage(
        coverage=found.coverage,
        n_covered=found.n_covered,
        law=found.law,
        expected=found.expected,
        band=found.band,
        transform=transform.spec,
        tolerance=threshold.tolerance,
        rank=threshold.rank,
        threshold=threshold.value if np.isfinite(threshold.value) else None,
        sizes=sizes,
    )


def side_sizes(column: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sizes of the sets; NaN ratios for an empty reference.

    A size ratio is one of lengths: the square root of the volume ratio in 2-D, the cube
    root in 3-D.
    """
    reference = column["n_foreground"]
    voxel_ml = column["voxel_volume_ml"].astype(float)
    off = column["n_outer"] - column["n_outer_hit"]
    missed = reference - column["n_inner_hit"]
    length = 1 / column["n_axes"]
    out = {}
    for side in SIDES:
        share = np.full(len(reference), np.nan)
        np.divide(column[f"n_{side}"], reference, out=share, where=reference > 0)
        out[f"{side}_size_ratio"] = share**length
        out[f"{side}_volume_ratio"] = share
        out[f"{side}_ml"] = column[f"n_{side}"] * voxel_ml
    return out | {
        "inner_missed_voxels": missed.astype(float),
        "inner_missed_ml": missed * voxel_ml,
        "outer_excess_voxels": off.astype(float),
        "outer_excess_ml": off * voxel_ml,
        "uncertain_ml": (column["n_outer"] - column["n_inner"]) * voxel_ml,
    }


def mean_sizes_of(
    side: Side, sizes: dict[str, np.ndarray], counted: np.ndarray
) -> SideSizes:
    """Means of the columns of `side_sizes` that are of one side."""
    wrong = WRONG[side]
    names = ("size_ratio", "volume_ratio", "ml", f"{wrong}_voxels", f"{wrong}_ml")
    return SideSizes(side, *[mean_of(sizes[f"{side}_{n}"][counted]) for n in names])


def _common(n_axes: np.ndarray) -> int | None:
    """Axes of the cases; None where they differ."""
    first = int(n_axes[0])
    return first if (n_axes == first).all() else None


def _contradictory(column: dict[str, np.ndarray]) -> np.ndarray:
    """Inner sets larger than the outer one cannot both be right."""
    return column["n_inner"] > column["n_outer"]


def _curve(
    calibration: Calibration,
    region: str,
    column: dict[str, np.ndarray],
    counted: np.ndarray,
) -> list[FalseCoverage]:
    """False coverage against alpha, by the thresholds the calibration carries."""
    rows: list[FalseCoverage] = []
    n = calibration.threshold_of(region).n_units
    for point in calibration.sets.curve if n else []:
        failed = {}
        at: dict[str, Threshold] = {}
        for name, side, rank, limit in point.cuts:
            if name == region:
                failed[side] = ~(column[f"{side}_score"] <= limit)[counted]
                at[side] = replace(calibration.threshold_of(region, side), rank=rank)
        failed["joint"] = failed["inner"] | failed["outer"]
        found = {name: float(bad.mean()) for name, bad in failed.items()}
        bands: dict[str, Any] = {}
        for name, law in _laws(calibration, at).items():
            if law is not None:
                low, high = compliance_band(n, law.order, int(counted.sum()))
                bands[f"{name}_band"] = [1 - high, 1 - low]
        rows.append(FalseCoverage(alpha=point.alpha, **found, **bands))
    return rows


def _ties(
    column: dict[str, np.ndarray],
    threshold: dict[str, Threshold],
    sides: Sequence[str],
    counted: np.ndarray,
) -> bool:
    """Whether a score ties with a threshold, in calibration or among the new cases."""
    return any(
        is_tied(threshold[side], column[f"{side}_score"][counted]) for side in sides
    )


def mean_of(values: np.ndarray) -> float | None:
    """Mean over the cases a size applies to; None where it applies to none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None
