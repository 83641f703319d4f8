"""A calibration against cases with references."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import (
    Calibration,
    RiskRecord,
    Threshold,
    just_below,
    tie_numbers,
)
from coverax.choices import EngineName, Kind
from coverax.evaluate.held_out import held_out_facts, without_law
from coverax.evaluate.metrics import worst_metrics
from coverax.evaluate.references import count_rows, some_count
from coverax.evaluate.sets import evaluate_sets, joint_over_regions, side_columns
from coverax.evaluate.summary import law_of, metrics_at, risks_of, summary_at
from coverax.predict import check_first_mark, check_map_kind, several_maps
from coverax.provenance import check_no_copies, check_not_masks, kind_of_values
from coverax.rational import allowed_misses, tolerance_terms
from coverax.scores import (
    CaseRows,
    Engine,
    ScoreDefinition,
    ViewBatch,
    engine_of,
    load_case,
    stream_rows,
    turned_notes,
    view_peaks,
)
from coverax.stream import gather
from coverax.volumes import Case, Cohort, read_probs

_log = logging.getLogger("coverax")

FIXED_CUT = 0.5
ABOUT = ("case_id", "region", "unit", "group", "rater")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What happened on cases with references.

    Attributes:
        summary: The content of `evaluation.json`.
        cases: One row a case and region, the content of `cases.csv`.
    """

    summary: dict[str, Any]
    cases: list[dict[str, Any]]


def evaluate_cohort(
    calibration: Calibration,
    cohort: Cohort,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    seed: int = 0,
    allow_missing: bool = False,
    allow_hard_masks: bool = False,
    none_too: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
) -> Evaluation:
    """Measure compliance and mask quality at the calibrated and the fixed cut.

    Compliance is `score <= threshold`, equivalently an integer comparison of missed and
    allowed voxels; no mask and no float rate decides it. Where units own several cases
    one case of each is drawn, so that the exact law of compliance applies. A region of
    which every reference is empty, or that was refused in calibration, has no result.

    Args:
        calibration: Thresholds, and how to read the maps.
        cohort: Cases with references, not used for calibration.
        engine: `host` and `device` give the same counts.
        threads: Reader threads.
        seed: Seed of the draw of one case a unit.
        allow_missing: Leave out cases that fail, and record them.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        none_too: Return without results where no case counts, instead of raising.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed; one exception each.
        ValueError: No case was left to count (see `none_too`), units are of a column that
            the cohort does not have, or the maps are hard masks or of another origin
            than those that calibrated.
    """
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    definition = promised_regions(calibration)
    check_regions(calibration, cohort)
    unit_column = unit_column_of(calibration, cohort)
    check_first_mark([case.probs for case in cohort.cases], definition)
    kind_check = partial(check_map_kind, definition=definition)
    read_map = partial(read_probs, check_header=kind_check)

    def load(case, buffers):
        return load_case(case, definition, buffers, read_map=read_map)

    def batch_fn(engine: Engine, batch: ViewBatch):
        return KINDS[calibration.kind].columns(engine, batch, calibration)

    results: dict[Case, CaseRows] = {}
    outcomes = stream_rows(
        cohort.cases,
        load,
        batch_fn,
        engine_of(definition, engine),
        spatial=definition.is_spatial,
        threads=threads,
    )
    failures = gather(
        outcomes,
        cohort.cases,
        results.__setitem__,
        name=lambda case: case.case_id,
        allow_missing=allow_missing,
        on_case=on_case,
        on_failure=on_failure,
    )
    rows = [
        row
        for case in cohort.cases
        if case in results
        for row in _rows_of(case, unit_column, results[case])
    ]
    for line in turned_notes(result.facts["notes"] for result in results.values()):
        _log.warning(line)
    check_not_masks(
        [(row["case_id"], row["region"], row["map_values"]) for row in rows],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    refuse_copies(rows, definition)
    excluded = dict(cohort.excluded)
    if failures:
        excluded["failed"] = tuple(case.case_id for case in failures)
    evaluation = summarise(calibration, rows, excluded, seed)
    lacking = evaluation.summary["not_evaluated"]
    if not (evaluation.summary["results"] or none_too):
        raise ValueError("; ".join(f"region {k}: {why}" for k, why in lacking.items()))
    return evaluation


def refuse_copies(rows: list[dict[str, Any]], definition: ScoreDefinition) -> None:
    """Refuse one map under the names of several units, as scoring does.

    Raises:
        ValueError: Cases of several units hold one map.
    """
    names = ("case_id", "unit", "region", "map_fingerprint")
    case_ids, units, regions, marks = ([r[k] for r in rows] for k in names)
    check_no_copies(case_ids, units, regions, marks, allow=definition.allow_duplicates)


def _rows_of(case: Case, unit_column: str, result: CaseRows) -> list[dict[str, Any]]:
    """What is known of each region of a case."""
    content = result.facts["content"]
    return [
        {
            "case_id": case.case_id,
            "region": region.name,
            "unit": case.column(unit_column),
            "group": case.group,
            "rater": case.rater,
            "part": case.part,
            "voxel_volume_ml": result.facts["voxel_volume_ml"],
            "map_fingerprint": content[region.name].fingerprint,
            "map_values": kind_of_values(*content[region.name]),
            **columns,
        }
        for region, columns in result.rows
    ]


def promised_regions(calibration: Calibration) -> ScoreDefinition:
    """How to read the maps, of the regions that have a threshold."""
    definition = calibration.definition
    known = {threshold.region for threshold in calibration.thresholds}
    regions = tuple(r for r in definition.regions if r.name in known)
    return replace(definition, regions=regions)


def check_regions(calibration: Calibration, cohort: Cohort) -> None:
    """Refuse a cohort that names a region without a threshold."""
    known = {threshold.region for threshold in calibration.thresholds}
    named = {case.region for case in cohort.cases if case.region is not None}
    if named - known:
        raise ValueError(
            f"the cohort names region {', '.join(sorted(named - known))}; the "
            f"calibration is for {', '.join(sorted(known))}"
        )


def unit_column_of(calibration: Calibration, cohort: Cohort) -> str:
    """What was exchangeable in calibration, and is here: seen units, one case of each."""
    name = calibration.policy.unit_column
    for case in cohort.cases:
        try:
            unit = case.column(name)
        except ValueError as error:
            raise ValueError(
                f"the units of the calibration are of column {name}, and {error}: "
                "nothing can say which of them calibrated"
            ) from None
        if not unit:
            raise ValueError(f"case {case.case_id} has no {name}, the unit")
    return name


def summarise(
    calibration: Calibration,
    rows: list[dict[str, Any]],
    excluded: dict[str, tuple[str, ...]],
    seed: int,
    *,
    region_fn: "RegionFn | None" = None,
    maps: list[dict[str, Any]] | None = None,
) -> Evaluation:
    """Turn counts per case into per-case metrics and the summary.

    Args:
        calibration: What is evaluated.
        rows: One a case and region, with counts.
        excluded: Reason to case ids.
        seed: Seed of the draw of one case a unit.
        region_fn: Summary of one region and its rows; by the kind of the calibration by
            default.
        maps: What tells whether cases were seen, where a row has several maps; the rows
            by default.
    """
    judge = KINDS.get(calibration.kind)
    region_fn = region_fn or KINDS[calibration.kind].region
    if not rows:
        raise ValueError("no case could be evaluated")
    regions, cases = [], []
    lacking = {
        part.region: f"refused in calibration ({part.status})"
        for part in calibration.refused_parts
    }
    for region in dict.fromkeys(t.region for t in calibration.thresholds):
        lacking.pop(region, None)  # refused for other groups
        mine = [row for row in rows if row["region"] == region]
        if mine and not some_count(calibration, mine):
            lacking[region] = "all references are empty"
        elif mine:
            result, table = region_fn(calibration, region, mine, seed)
            regions.append(result)
            cases.extend(table)
    held_out = held_out_facts(calibration, maps or rows)
    summary = {
        "schema": 1,
        "calibration_digest": calibration.digest,
        "method": calibration.method,
        "alpha": calibration.alpha,
        "delta": calibration.delta,
        "statement": calibration.statement,
        "n_cases": len({row["case_id"] for row in rows}),
        "n_units": len({row["unit"] for row in rows}),
        **held_out,
        "seed": seed,
        "excluded": {why: list(ids) for why, ids in excluded.items()},
        "results": regions,
        "not_evaluated": lacking,
    }
    if judge is not None:
        summary |= judge.overall(calibration, cases)
    if not held_out["held_out"]:
        summary = without_law(summary)
    return Evaluation(summary, cases)


def _columns(
    engine: Engine, batch: ViewBatch, calibration: Calibration
) -> dict[str, np.ndarray]:
    """Counts and critical probability of a batch, at each region's own cut."""
    probs, labels, valid, views = batch[:4]
    # At the calibrated cut, the fixed one, and the one of cases whose tie is broken.
    own = [calibration.threshold_of(view.region.name) for view in views]
    cuts = np.full((len(probs), 3), FIXED_CUT, np.float32)
    cuts[: len(views), 0] = [t.probability for t in own]
    cuts[: len(views), 2] = [-just_below(t.value) for t in own]
    tolerance = calibration.thresholds[0].tolerance
    if tolerance is None:  # a mean is controlled: critical probabilities are for show
        tolerance = calibration.definition.tolerances[0]
    critical = engine.ops.critical_probability(probs, labels, [tolerance], valid=valid)
    sizes = engine.ops.sizes(labels, valid=valid)
    overlap = engine.ops.overlap_counts(probs, labels, cuts, valid=valid)
    return _lesion_columns(batch, calibration, cuts) | {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        "critical_probability": np.asarray(critical)[:, 0],
        "n_predicted": np.asarray(overlap.n_predicted),
        "n_true_positive": np.asarray(overlap.n_true_positive),
    }


def _lesion_columns(
    batch: ViewBatch, calibration: Calibration, cuts: np.ndarray
) -> dict[str, np.ndarray]:
    """Lesions of each view, and those the mask touches at each of its cuts."""
    neighbours = calibration.definition.lesions
    if neighbours is None:
        return {}
    peaks = [view_peaks(view, neighbours) for view in batch.views]
    hit = [p.size - np.searchsorted(p, c) for p, c in zip(peaks, cuts, strict=False)]
    return {
        "n_lesions": np.array([p.size for p in peaks]),
        "n_lesions_hit": np.stack(hit),
    }


def _evaluate_region(
    calibration: Calibration, region: str, rows: list[dict[str, Any]], seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    threshold = calibration.threshold_of(region)
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    scores = 0.0 - column["critical_probability"]
    n_foreground = column["n_foreground"]
    counted = count_rows(calibration, region, column, seed)
    is_cut_above = _is_cut_above(calibration, threshold, column["case_id"])
    allowed = None
    if threshold.tolerance is not None:
        terms = tolerance_terms([threshold.tolerance])
        allowed = allowed_misses(n_foreground, *terms)
    n_counted, record = int(counted.rows.sum()), calibration.record
    result = {
        "region": threshold.region,
        "tolerance": threshold.tolerance,
        "n_counted": n_counted,
        "n_empty_reference": int(np.count_nonzero(n_foreground == 0)),
        "n_calibration_units": threshold.n_units,
        "rank": threshold.rank,
        "raters": calibration.policy.raters,
        **law_of(threshold, counted.worst(scores)[counted.rows]),
    }
    table = [
        {
            **{name: row[name] for name in ABOUT},
            "counted": bool(counted.rows[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
            "critical_probability": row["critical_probability"],
            "score": float(scores[i]),
        }
        for i, row in enumerate(rows)
    ]
    for k, (name, cut) in enumerate(
        [("calibrated", threshold.probability), ("fixed", FIXED_CUT)]
    ):
        metrics = metrics_at(column, np.where(is_cut_above & (k == 0), 2, k))
        complies = None
        if allowed is not None and name == "calibrated":
            limit = threshold.value
            worst_score = counted.worst(scores)
            complies = np.where(is_cut_above, worst_score < limit, worst_score <= limit)
        elif allowed is not None:
            missed = n_foreground - column["n_true_positive"][:, k]
            complies = counted.worst(missed > allowed) == 0
        worst = worst_metrics(metrics, counted.worst)
        result[name] = summary_at(cut, complies, worst, counted.rows)
        if name == "calibrated" and isinstance(record, RiskRecord):
            levels = record.levels(calibration.alpha)
            result["risks"] = risks_of(levels, worst, counted.rows)
        for i, row in enumerate(table):
            row[f"{name}_complies"] = None if complies is None else bool(complies[i])
            row |= {f"{name}_{m}": float(v[i]) for m, v in metrics._asdict().items()}
    return result, table


def _is_cut_above(
    calibration: Calibration, threshold: Threshold, case_ids: np.ndarray
) -> np.ndarray:
    """Whether the number of a case is too large for the threshold itself."""
    if threshold.tie is None or calibration.tie_seed is None:
        return np.zeros(len(case_ids), bool)
    return tie_numbers(case_ids, calibration.tie_seed) > threshold.tie


RegionFn = Callable[..., tuple[dict[str, Any], list[dict[str, Any]]]]


class Judge(NamedTuple):
    """How calibrations of a kind are evaluated.

    Attributes:
        columns: Counts and scores of a batch.
        region: Summary of one region and its rows, from the columns of its cases.
        overall: What the summary says beyond its regions.
    """

    columns: Callable[[Engine, ViewBatch, Calibration], dict[str, np.ndarray]]
    region: RegionFn
    overall: Callable[[Calibration, list[dict[str, Any]]], dict[str, Any]]


KINDS: dict[Kind, Judge] = {
    "cut": Judge(_columns, _evaluate_region, lambda _calibration, _cases: {}),
    "sides": Judge(side_columns, evaluate_sets, joint_over_regions),
}
