"""A calibration against cases with references."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration, just_below
from coverax.choices import EngineName, Kind
from coverax.evaluate import audit, triage, volumes
from coverax.evaluate.cut_results import CutResult
from coverax.evaluate.held_out import held_out_facts
from coverax.evaluate.nnunet_summary import Overlap, overlaps_of
from coverax.evaluate.references import count_rows, some_count
from coverax.evaluate.results import RegionResult, Summary
from coverax.evaluate.set_results import AllRegions
from coverax.evaluate.sets import evaluate_sets, joint_over_regions, side_columns
from coverax.evaluate.summary import (
    Masks,
    complies_at,
    is_cut_above,
    law_of,
    metrics_at,
)
from coverax.predict import check_first_mark, check_map_kind, several_maps
from coverax.provenance import check_no_copies, check_not_masks, kind_of_values
from coverax.scores import (
    CaseRows,
    Engine,
    Loader,
    ScoreDefinition,
    ViewBatch,
    engine_of,
    stream_rows,
    turned_notes,
    view_peaks,
)
from coverax.stream import HERE, Where, gather
from coverax.volumes import Case, Cohort, read_probs

_log = logging.getLogger("coverax")

FIXED_CUT = 0.5
ABOUT = ("case_id", "region", "unit", "group", "rater")
_MARKS = ("case_id", "unit", "region", "map_fingerprint")  # what tells copies
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What happened on cases with references.

    Attributes:
        summary: The content of `evaluation.json`.
        cases: One row a case and region, the content of `cases.csv`.
        overlaps: The masks of all cases, the content of `summary.json`.
        maps: What tells copies: case, unit, region and fingerprint of each map.
    """

    summary: Summary
    cases: Rows
    overlaps: tuple[Overlap, ...] = ()
    maps: Rows = field(default_factory=list)


def evaluate_cohort(
    calibration: Calibration,
    cohort: Cohort,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
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
        where: Where cases are read.
        seed: Seed of the draw of one case a unit.
        allow_missing: Leave out cases that fail, and record them.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        none_too: Return without results where no case counts, instead of raising.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed; one exception each.
        ValueError: No case counts (see `none_too`), the cohort lacks the column of units,
            or the maps are hard masks or of another origin than those that calibrated.
    """
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    definition = promised_regions(calibration)
    check_regions(calibration, cohort)
    unit_column = unit_column_of(calibration, cohort)
    check_first_mark([case.probs for case in cohort.cases], definition)
    kind_check = partial(check_map_kind, definition=definition)
    read_map = partial(read_probs, check_header=kind_check)
    results: dict[Case, CaseRows] = {}
    outcomes = stream_rows(
        cohort.cases,
        Loader(definition, read_map),
        BatchColumns(calibration),
        engine_of(definition, engine),
        spatial=definition.is_spatial,
        threads=threads,
        where=where,
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
    check_hard_masks(calibration, rows, allow=allow_hard_masks)
    refuse_copies(calibration, rows)
    evaluation = summarise(calibration, rows, left_out(cohort, failures), seed)
    if not none_too:
        evaluation.summary.check_results()
    return replace(evaluation, maps=[{k: row[k] for k in _MARKS} for row in rows])


def check_hard_masks(calibration: Calibration, maps: Rows, *, allow: bool) -> None:
    """Refuse maps that hold 0 and 1 alone, unless asked for or calibrated on."""
    check_not_masks(
        [(row["case_id"], row["region"], row["map_values"]) for row in maps],
        allow=allow or calibration.definition.allow_hard_masks,
    )


def refuse_copies(calibration: Calibration, maps: Rows) -> None:
    """Refuse one map under the names of several units, as scoring does."""
    case_ids, units, regions, marks = ([r[k] for r in maps] for k in _MARKS)
    allow = calibration.definition.allow_duplicates
    check_no_copies(case_ids, units, regions, marks, allow=allow)


def left_out(cohort: Cohort, failures: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Reason to case ids: what the cohort left out, and what failed."""
    failed = tuple(case.case_id for case in failures)
    return dict(cohort.excluded) | ({"failed": failed} if failed else {})


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """Counts and scores of a batch under a calibration; it travels to other processes."""

    calibration: Calibration

    def __call__(self, engine: Engine, batch: ViewBatch) -> dict[str, np.ndarray]:
        """As the kind of the calibration has them."""
        return KINDS[self.calibration.kind].columns(engine, batch, self.calibration)


def _rows_of(case: Case, unit_column: str, result: CaseRows) -> Rows:
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
            "prediction_file": str(case.probs),
            "reference_file": str(case.labels),
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
    rows: Rows,
    excluded: dict[str, tuple[str, ...]],
    seed: int,
    *,
    region_fn: "RegionFn | None" = None,
    maps: Rows | None = None,
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
    regions: list[RegionResult] = []
    cases: Rows = []
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
            regions.append(replace(result, audit=audit.audited(table)))
            cases.extend(table)
    summary = Summary(
        calibration_digest=calibration.digest,
        method=calibration.method,
        alpha=calibration.alpha,
        delta=calibration.delta,
        statement=calibration.statement,
        n_cases=len({row["case_id"] for row in rows}),
        n_units=len({row["unit"] for row in rows}),
        **held_out_facts(calibration, maps or rows)._asdict(),
        seed=seed,
        excluded=excluded,
        results=regions,
        not_evaluated=lacking,
        all_regions=None if judge is None else judge.overall(calibration, cases),
    )
    if not summary.held_out:
        summary = summary.without_law()
    return Evaluation(summary, cases, overlaps_of(calibration, rows))


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
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[CutResult, Rows]:
    """Compliance, its law and metrics of one region."""
    threshold = calibration.threshold_of(region)
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    scores = 0.0 - column["critical_probability"]
    worst = counted.worst(scores)
    above = is_cut_above(calibration, threshold, column["case_id"])
    complies, limit = None, threshold.value
    if threshold.tolerance is not None:
        complies = np.where(above, worst < limit, worst <= limit)
    metrics = metrics_at(column, np.where(above, 2, 0))
    own = Masks("calibrated", metrics, complies, counted)
    complies = complies_at(threshold.tolerance, column, 1, counted)
    metrics = metrics_at(column, np.ones(len(rows), int))
    fixed = Masks("fixed", metrics, complies, counted)
    result = CutResult(
        region=threshold.region,
        tolerance=threshold.tolerance,
        n_counted=int(counted.rows.sum()),
        n_empty_reference=int(np.count_nonzero(column["n_foreground"] == 0)),
        n_calibration_units=threshold.n_units,
        rank=threshold.rank,
        raters=calibration.policy.raters,
        **law_of(threshold, worst[counted.rows])._asdict(),
        calibrated=own.at(threshold.probability),
        risks=own.risks(calibration),
        fixed=fixed.at(FIXED_CUT),
    )
    table = [
        {
            **{name: row[name] for name in ABOUT},
            "counted": bool(counted.rows[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
            "critical_probability": row["critical_probability"],
            "score": float(scores[i]),
            **own.columns(i),
            **fixed.columns(i),
        }
        for i, row in enumerate(rows)
    ]
    return result, table


RegionFn = Callable[[Calibration, str, Rows, int], tuple[RegionResult, Rows]]


class Judge(NamedTuple):
    """How calibrations of a kind are evaluated.

    Attributes:
        columns: Counts and scores of a batch.
        region: Summary of one region and its rows, from the columns of its cases.
        overall: What the summary says of all regions at once; None where it is silent.
    """

    columns: Callable[[Engine, ViewBatch, Calibration], dict[str, np.ndarray]]
    region: RegionFn
    overall: Callable[[Calibration, Rows], AllRegions | None]


KINDS: dict[Kind, Judge] = {
    "cut": Judge(_columns, _evaluate_region, lambda _calibration, _cases: None),
    "sides": Judge(side_columns, evaluate_sets, joint_over_regions),
    "release": Judge(*triage.JUDGED),
    "interval": Judge(*volumes.JUDGED),
}
