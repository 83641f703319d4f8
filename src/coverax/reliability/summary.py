"""From a score table to the calibration of a cohort: cases, classes, sites, pooled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from coverax.host import BinStatistics, ProperScores
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
    classes = [_class_sums(table.rows, name, softmax) for name in names]
    results = [_region_result(c, absent, n_draws, seed) for c in classes]
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
        everything = [_class_sums(table.rows, name, True) for name in known]
        one = _rows_of(table.rows, known[-1])
        top = RegionBins("top label", read_bins(one, TOP_LABEL), everything[0].units)
        regions.append(top)
        summary["top_label"] = _top_label(top, n_draws, seed)
        summary["softmax"] = _softmax_scores(everything)
    return Reliability(summary, cases, tuple(regions))


def compare(
    first: ScoreTable, second: ScoreTable, *, n_draws: int = 2000, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """Pooled measures of two models on the same cases, with paired unit intervals.

    Both see the same drawn units, so that what differs between patients cancels. The
    percentile interval is approximate, and too short for a few dozen units.

    Returns:
        For each class (and `softmax`, all classes together) and measure: `first`, `second`, `difference` (second less first)
        and `interval` of the difference.

    Raises:
        ValueError: The tables hold other cases, classes or bins.
    """
    keys = ["case_id", "region", "unit"]
    a, b = (t.rows.sort_by([(k, "ascending") for k in keys]) for t in (first, second))
    if not a.select(keys).equals(b.select(keys)):
        raise ValueError("the two tables hold different cases, regions or units")
    if first.definition.softmax != second.definition.softmax:
        raise ValueError("one table is of a softmax, the other is not")
    softmax = first.definition.softmax
    names = list(dict.fromkeys(a.column("region").to_pylist()))
    out = {}
    for name in ["background", *names] if softmax else names:
        sums = [_class_sums(rows, name, softmax) for rows in (a, b)]
        weights = unit_weights(len(set(sums[0].units)), n_draws, seed)
        points = [_pooled(s.statistics, s.proper) for s in sums]
        draws = [_drawn_measures(s, weights) for s in sums]
        out[name] = {
            k: _difference(*[p[k] for p in points], draws[1][k] - draws[0][k])
            for k in points[0]
        }
    if softmax:
        every = ["background", *names]
        models = [[_class_sums(rows, name, True) for name in every] for rows in (a, b)]
        points = [_softmax_scores(classes) for classes in models]
        units = models[0][0].units
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = [_drawn_softmax_scores(classes, weights) for classes in models]
        out["softmax"] = {
            k: _difference(*[p[k] for p in points], draws[1][k] - draws[0][k])
            for k in points[0]
        }
    return out


def _difference(first, second, draws) -> dict[str, Any]:
    known = first is not None and second is not None
    return {
        "first": first,
        "second": second,
        "difference": second - first if known else None,
        "interval": [_plain(end) for end in interval(draws, LEVEL)],
    }


def _drawn_softmax_scores(classes, weights) -> dict[str, np.ndarray]:
    units = classes[0].units
    whole = weights @ unit_sums(np.asarray(classes[0].statistics.count).sum(1), units)
    losses = sum(np.asarray(c.proper.sum_log_loss, np.float64)[:, 1] for c in classes)
    squares = sum(np.asarray(c.proper.sum_squares, np.float64).sum(1) for c in classes)
    return {
        "nll": weights @ unit_sums(losses, units) / whole,
        "brier": weights @ unit_sums(squares, units) / whole,
    }


def _drawn_measures(sums: "_ClassSums", weights: np.ndarray) -> dict[str, np.ndarray]:
    squares, losses = (
        weights @ unit_sums(x.sum(1), sums.units)
        for x in (sums.proper.sum_squares, sums.proper.sum_log_loss)
    )
    return _measures(resampled(sums.statistics, sums.units, weights), squares, losses)


class _ClassSums(NamedTuple):
    name: str
    rows: pa.Table
    statistics: BinStatistics
    proper: ProperScores
    present: np.ndarray
    units: tuple[str, ...]


def _class_sums(rows: pa.Table, name: str, softmax: bool) -> _ClassSums:
    """Sums of one class; the background of a softmax stands in every region's rows."""
    background = softmax and name == "background"
    part = _rows_of(rows, rows.column("region")[0].as_py() if background else name)
    prefix = BACKGROUND if background else REGION
    statistics = read_bins(part, prefix)
    present = np.asarray(statistics.sum_y).sum(1) > 0
    units = tuple(part.column("unit").to_pylist())
    return _ClassSums(
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


def _region_result(sums: _ClassSums, absent, n_draws, seed) -> dict[str, Any]:
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
        "pooled": _pooled(statistics, proper),
    }
    if n_draws:
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = _drawn_measures(sums, weights)
        result["pooled_interval"] = {
            k: [_plain(end) for end in interval(v, LEVEL)] for k, v in draws.items()
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
                "pooled": _pooled(
                    select(statistics, groups == group),
                    ProperScores(*[np.asarray(x)[groups == group] for x in proper]),
                ),
            }
            for group in sorted(set(groups.tolist()))
        }
    return result


def _macro(measures, present, absent) -> dict[str, float | None]:
    return {k: _plain(macro_mean(v, present, absent)) for k, v in measures.items()}


def _pooled(statistics, proper) -> dict[str, float | None]:
    sums = [
        exact_sum(x.sum(1))[None] for x in (proper.sum_squares, proper.sum_log_loss)
    ]
    measures = _measures(pooled(statistics), *[np.reshape(s, 1) for s in sums])
    return {k: _plain(v[0]) for k, v in measures.items()}


def _top_label(top: RegionBins, n_draws, seed) -> dict[str, Any]:
    """Errors of the most probable class; its bins start at 1 / classes."""
    statistics, units = top.statistics, top.units
    errors = calibration_errors(pooled(statistics))
    per_case = calibration_errors(statistics)
    out: dict[str, Any] = {
        "pooled": {k: _plain(v[0]) for k, v in errors._asdict().items()},
        "macro": {k: _plain(np.nanmean(v)) for k, v in per_case._asdict().items()},
    }
    if n_draws:
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = calibration_errors(resampled(statistics, units, weights))
        out["pooled_interval"] = {
            k: [_plain(end) for end in interval(v, LEVEL)]
            for k, v in draws._asdict().items()
        }
    return out


def _softmax_scores(classes: Sequence[_ClassSums]) -> dict[str, float | None]:
    """Pooled NLL of the true class, and the multi-class Brier score.

    The log loss of a voxel is the foreground part of its own class's.
    """
    n_voxels = int(np.asarray(classes[0].statistics.count).sum())
    losses = [exact_sum(np.asarray(c.proper.sum_log_loss)[:, 1]) for c in classes]
    squares = [exact_sum(np.asarray(c.proper.sum_squares).sum(1)) for c in classes]
    whole = n_voxels or np.nan
    return {"nll": _plain(sum(losses) / whole), "brier": _plain(sum(squares) / whole)}


def _mean_over_regions(results, how) -> dict[str, float | None]:
    names = results[0][how]
    values = {n: [r[how][n] for r in results if r[how][n] is not None] for n in names}
    return {n: _plain(np.mean(v)) if v else None for n, v in values.items()}


def _case_measures(sums: _ClassSums) -> dict[str, np.ndarray]:
    squares, losses = sums.proper.sum_squares.sum(1), sums.proper.sum_log_loss.sum(1)
    return _measures(sums.statistics, squares, losses)


def _case_rows(sums: _ClassSums) -> list[dict[str, Any]]:
    about = sums.rows.select(["case_id", "unit", "group", "n_voxels"]).to_pylist()
    measures = _case_measures(sums)
    hits = np.asarray(sums.statistics.sum_y).sum(1)
    return [
        {"case_id": fixed.pop("case_id"), "region": sums.name, **fixed}
        | {"n_foreground": int(hits[i])}
        | {k: float(v[i]) for k, v in measures.items()}
        for i, fixed in enumerate(about)
    ]


def _plain(value) -> float | None:
    """A JSON number; what does not exist is null."""
    number = float(value)
    return number if np.isfinite(number) else None
