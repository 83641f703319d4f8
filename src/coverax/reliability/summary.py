"""From a score table to the calibration of a cohort: cases, classes, sites, pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from coverax.host import BinStatistics, ProperScores
from coverax.reliability.adaptive import adaptive_ce_grid
from coverax.reliability.bands import band_results
from coverax.reliability.bootstrap import interval, resampled, unit_sums, unit_weights
from coverax.reliability.errors import (
    calibration_errors,
    check_policy,
    debiased_squared_ece,
    macro_mean,
    overconfidence_error,
    pixelwise_ece,
)
from coverax.reliability.statistics import exact_sum, pooled, select
from coverax.scores import ScoreTable, read_bins, read_proper_scores
from coverax.scores.bins import BACKGROUND, REGION, TOP_LABEL

SCHEMA = 1
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class RegionBins:
    """One class over the cohort.

    Attributes:
        name: Region, or `top label`.
        statistics: A row a case.
        units: Unit of each row.
    """

    name: str
    statistics: BinStatistics
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reliability:
    """What the reliability command reports.

    Attributes:
        summary: The content of `reliability.json`.
        cases: One row a case and region.
        regions: The bins behind the figures; the top label last where it is known.
    """

    summary: dict[str, Any]
    cases: list[dict[str, Any]]
    regions: tuple[RegionBins, ...]


class ClassSums(NamedTuple):
    """One class of a table: its rows, sums, presence in references, and units."""

    name: str
    rows: pa.Table
    statistics: BinStatistics
    proper: ProperScores
    present: np.ndarray
    units: tuple[str, ...]


def summarise(
    table: ScoreTable,
    *,
    absent: str = "skip",
    leave_out: Sequence[str] = (),
    n_draws: int = 1000,
    seed: int = 0,
) -> Reliability:
    """Errors of every case, class and site, macro and pooled, with unit intervals.

    Args:
        table: A score table with bins.
        absent: Macro means `skip` or `include` cases whose reference lacks the class.
        leave_out: Regions not reported, the background for example.
        n_draws: Bootstrap samples over units; 0 for no intervals.
        seed: Of the bootstrap.

    Raises:
        ValueError: The table holds no bins, or there is no such region or policy.
    """
    check_policy(absent)
    softmax = table.definition.softmax
    known = list(dict.fromkeys(table.rows.column("region").to_pylist()))
    if softmax:
        known.insert(0, "background")
    unknown = [name for name in leave_out if name not in known]
    if unknown:
        raise ValueError(
            f"no region {', '.join(unknown)}; there are {', '.join(known)}"
        )
    names = [name for name in known if name not in leave_out]
    if not names:
        raise ValueError("every region is left out")
    classes = [class_sums(table.rows, name, softmax) for name in names]
    results = [_region_result(c, absent, n_draws, seed) for c in classes]
    edges = table.definition.band_edges_mm
    for c, result in zip(classes, results, strict=True):
        if softmax and c.name == "background":
            continue  # no region: neither a grid nor a distance is kept of it
        if table.definition.grid:
            curves = ScoreTable(c.rows, table.definition, {}).grid_curves()
            found = adaptive_ce_grid(curves, c.statistics, table.definition.n_bins)
            result["adaptive_ce_grid"] = plain(found)
        if edges:
            result["bands"] = band_results(
                c.rows, edges, level=LEVEL, n_draws=n_draws, seed=seed
            )
    cases = [row for c in classes for row in _case_rows(c)]
    regions = [RegionBins(c.name, c.statistics, c.units) for c in classes]
    summary: dict[str, Any] = {
        "schema": SCHEMA,
        "n_bins": int(table.definition.n_bins),
        "absent": absent,
        "left_out": list(leave_out),
        "level": LEVEL,
        "n_draws": n_draws,
        "seed": seed,
        "cases_digest": table.cases_digest,
        "excluded": {why: list(ids) for why, ids in table.excluded.items()},
        "regions": results,
        "mean_over_regions": {
            how: _mean_over_regions(results, how) for how in ("macro", "pooled")
        },
    }
    if softmax:
        everything = [class_sums(table.rows, name, True) for name in known]
        one = _rows_of(table.rows, known[-1])
        top = RegionBins("top label", read_bins(one, TOP_LABEL), everything[0].units)
        regions.append(top)
        summary["top_label"] = _top_label(top, n_draws, seed)
        summary["softmax"] = softmax_scores(everything)
    return Reliability(summary, cases, tuple(regions))


def drawn_measures(sums: ClassSums, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Every measure of each bootstrap sample."""
    squares, losses = (
        weights @ unit_sums(x.sum(1), sums.units)
        for x in (sums.proper.sum_squares, sums.proper.sum_log_loss)
    )
    return _measures(resampled(sums.statistics, sums.units, weights), squares, losses)


def class_sums(rows: pa.Table, name: str, softmax: bool) -> ClassSums:
    """Sums of one class; the background of a softmax stands in every region's rows."""
    background = softmax and name == "background"
    part = _rows_of(rows, rows.column("region")[0].as_py() if background else name)
    prefix = BACKGROUND if background else REGION
    statistics = read_bins(part, prefix)
    present = np.asarray(statistics.sum_y).sum(1) > 0
    units = tuple(part.column("unit").to_pylist())
    return ClassSums(
        name, part, statistics, read_proper_scores(part, prefix), present, units
    )


def _rows_of(rows: pa.Table, region: str) -> pa.Table:
    names = np.array(rows.column("region").to_pylist())
    return rows.filter(pa.array(names == region))


def _measures(statistics, squares, log_loss) -> dict[str, np.ndarray]:
    n_voxels = np.asarray(statistics.count).sum(1)
    whole = np.where(n_voxels > 0, n_voxels, np.nan)
    errors = calibration_errors(statistics)
    return {
        **errors._asdict(),
        "debiased_squared_ece": debiased_squared_ece(statistics),
        "overconfidence_error": overconfidence_error(statistics),
        "pixelwise_ece": pixelwise_ece(statistics),
        "brier": squares / whole,
        "nll": log_loss / whole,
    }


def _region_result(sums: ClassSums, absent, n_draws, seed) -> dict[str, Any]:
    statistics, proper, present = sums.statistics, sums.proper, sums.present
    groups, units = np.array(sums.rows.column("group").to_pylist()), sums.units
    measures = _case_measures(sums)
    result: dict[str, Any] = {
        "region": sums.name,
        "n_cases": len(units),
        "n_units": len(set(units)),
        "n_absent": int((~present).sum()),
        "n_voxels": int(np.asarray(statistics.count).sum()),
        "n_clipped": int(np.asarray(proper.n_clipped).sum()),
        "macro": _macro(measures, present, absent),
        "pooled": pooled_measures(statistics, proper),
    }
    if n_draws:
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = drawn_measures(sums, weights)
        result["pooled_interval"] = {
            k: [plain(end) for end in interval(v, LEVEL)] for k, v in draws.items()
        }
    if len(set(groups)) > 1:
        result["groups"] = {
            str(group): {
                "n_cases": int((groups == group).sum()),
                "macro": _macro(
                    {k: v[groups == group] for k, v in measures.items()},
                    present[groups == group],
                    absent,
                ),
                "pooled": pooled_measures(
                    select(statistics, groups == group),
                    ProperScores(*[np.asarray(x)[groups == group] for x in proper]),
                ),
            }
            for group in sorted(set(groups.tolist()))
        }
    return result


def _macro(measures, present, absent) -> dict[str, float | None]:
    return {k: plain(macro_mean(v, present, absent)) for k, v in measures.items()}


def pooled_measures(statistics, proper) -> dict[str, float | None]:
    """Every measure of all cases together."""
    sums = [
        exact_sum(x.sum(1))[None] for x in (proper.sum_squares, proper.sum_log_loss)
    ]
    measures = _measures(pooled(statistics), *[np.reshape(s, 1) for s in sums])
    return {k: plain(v[0]) for k, v in measures.items()}


def _top_label(top: RegionBins, n_draws, seed) -> dict[str, Any]:
    """Errors of the most probable class; its bins start at 1 / classes."""
    statistics, units = top.statistics, top.units
    errors = calibration_errors(pooled(statistics))
    per_case = calibration_errors(statistics)
    out: dict[str, Any] = {
        "pooled": {k: plain(v[0]) for k, v in errors._asdict().items()},
        "macro": {k: plain(np.nanmean(v)) for k, v in per_case._asdict().items()},
    }
    if n_draws:
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = calibration_errors(resampled(statistics, units, weights))
        out["pooled_interval"] = {
            k: [plain(end) for end in interval(v, LEVEL)]
            for k, v in draws._asdict().items()
        }
    return out


def softmax_scores(classes: Sequence[ClassSums]) -> dict[str, float | None]:
    """Pooled NLL of the true class, and the multi-class Brier score.

    The log loss of a voxel is the foreground part of its own class's.
    """
    n_voxels = int(np.asarray(classes[0].statistics.count).sum())
    losses = [exact_sum(np.asarray(c.proper.sum_log_loss)[:, 1]) for c in classes]
    squares = [exact_sum(np.asarray(c.proper.sum_squares).sum(1)) for c in classes]
    whole = n_voxels or np.nan
    return {"nll": plain(sum(losses) / whole), "brier": plain(sum(squares) / whole)}


def _mean_over_regions(results, how) -> dict[str, float | None]:
    names = results[0][how]
    values = {n: [r[how][n] for r in results if r[how][n] is not None] for n in names}
    return {n: plain(np.mean(v)) if v else None for n, v in values.items()}


def _case_measures(sums: ClassSums) -> dict[str, np.ndarray]:
    squares, losses = sums.proper.sum_squares.sum(1), sums.proper.sum_log_loss.sum(1)
    return _measures(sums.statistics, squares, losses)


def _case_rows(sums: ClassSums) -> list[dict[str, Any]]:
    about = sums.rows.select(["case_id", "unit", "group", "n_voxels"]).to_pylist()
    measures = _case_measures(sums)
    hits = np.asarray(sums.statistics.sum_y).sum(1)
    return [
        {"case_id": fixed.pop("case_id"), "region": sums.name, **fixed}
        | {"n_foreground": int(hits[i])}
        | {k: float(v[i]) for k, v in measures.items()}
        for i, fixed in enumerate(about)
    ]


def plain(value) -> float | None:
    """A JSON number; what does not exist is null."""
    number = float(value)
    return number if np.isfinite(number) else None
