"""A calibration against cases with references."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from coverax.calibrate import Calibration
from coverax.choices import EngineName, Kind
from coverax.evaluate import audit, changes, cuts, triage, volumes
from coverax.evaluate.cohorts import (
    check_regions,
    left_out,
    promised_regions,
    unit_column_of,
)
from coverax.evaluate.froc import froc_columns, set_apart, with_froc
from coverax.evaluate.held_out import held_out_facts, unknown_notes
from coverax.evaluate.nnunet_summary import overlaps_of
from coverax.evaluate.references import lacks
from coverax.evaluate.results import Evaluation, RegionResult, Rows, Summary
from coverax.evaluate.rows import (
    MARKS,
    about_case,
    check_hard_masks,
    refuse_copies,
    rows_of_case,
)
from coverax.evaluate.set_results import AllRegions
from coverax.evaluate.sets import evaluate_sets, joint_over_regions, side_columns
from coverax.predict import (
    check_first_mark,
    check_map_kind,
    cohort_confidences,
    several_maps,
)
from coverax.scores import (
    CaseRows,
    Engine,
    Loader,
    ViewBatch,
    engine_of,
    stream_rows,
    turned_notes,
)
from coverax.stream import HERE, Outcome, Where, gather
from coverax.volumes import Case, Cohort, read_probs

if TYPE_CHECKING:
    from coverax.evaluate.parts import Parts

_log = logging.getLogger("coverax")


def evaluate_cohort(
    calibration: Calibration,
    cohort: Cohort,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
    seed: int = 0,
    nsd_tolerance_mm: float | None = None,
    allow_missing: bool = False,
    allow_hard_masks: bool = False,
    parts: "Parts | None" = None,
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
        nsd_tolerance_mm: Measure surfaces too, which agree within this distance.
        allow_missing: Leave out cases that fail, and record them.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        parts: What shards counted, in place of reading the cases; see `evaluated_parts`.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed; one exception each.
        ValueError: No case counts, the cohort lacks the column of units,
            the maps are hard masks or of another origin than those that calibrated, or
            surfaces were asked for of what is no mask, or not in mm.
    """
    counted = count_cohort(
        calibration,
        cohort,
        engine=engine,
        threads=threads,
        where=where,
        nsd_tolerance_mm=nsd_tolerance_mm,
        allow_missing=allow_missing,
        parts=parts,
        on_case=on_case,
        on_failure=on_failure,
    )
    found = judged(calibration, *counted, seed, allow_hard_masks=allow_hard_masks)
    found.summary.check_results()
    return found


class CohortRows(NamedTuple):
    """Rows with counts of a cohort, and the cases that are left out, by reason."""

    rows: Rows
    excluded: dict[str, tuple[str, ...]]


def count_cohort(
    calibration: Calibration,
    cohort: Cohort,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
    nsd_tolerance_mm: float | None = None,
    allow_missing: bool = False,
    parts: "Parts | None" = None,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
) -> CohortRows:
    """Read and count the cases of `evaluate_cohort`, which has the options."""
    cuts.check_nsd_tolerance(calibration, nsd_tolerance_mm)
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    definition = promised_regions(calibration)
    check_regions(calibration, cohort)
    cohort_confidences(calibration, cohort.cases)
    unit_column = unit_column_of(calibration, cohort)
    check_first_mark([case.probs for case in cohort.cases], definition)
    results: dict[Case, CaseRows] = {}
    outcomes = (
        count_cases(calibration, cohort.cases, engine, threads, where, nsd_tolerance_mm)
        if parts is None
        else parts.outcomes(cohort.cases)
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
        for row in rows_of_case(about_case(case, unit_column), results[case])
    ]
    for line in turned_notes(result.facts["notes"] for result in results.values()):
        _log.warning(line)
    for line in unknown_notes(calibration):
        _log.warning(line)
    return CohortRows(rows, left_out(cohort, failures))


def count_cases(
    calibration: Calibration,
    cases: Sequence[Case],
    engine: EngineName,
    threads: int | None,
    where: Where,
    nsd_tolerance_mm: float | None = None,
) -> Iterator[Outcome]:
    """Counts and scores of each case under a calibration, as they come."""
    definition = promised_regions(calibration)
    kind_check = partial(check_map_kind, definition=definition)
    return stream_rows(
        cases,
        Loader(definition, partial(read_probs, check_header=kind_check)),
        BatchColumns(calibration, nsd_tolerance_mm),
        engine_of(definition, engine),
        spatial=definition.is_spatial,
        threads=threads,
        where=where,
    )


def judged(
    calibration: Calibration,
    rows: Rows,
    excluded: dict[str, tuple[str, ...]],
    seed: int,
    *,
    allow_hard_masks: bool,
) -> Evaluation:
    """The evaluation of rows with counts, whose maps are no masks and no copies.

    Raises:
        ValueError: They are, or there is no row.
    """
    check_hard_masks(calibration, rows, allow=allow_hard_masks)
    refuse_copies(calibration, rows)
    return summarise(calibration, rows, excluded, seed)


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """Counts and scores of a batch under a calibration; it travels to other processes."""

    calibration: Calibration
    nsd_tolerance_mm: float | None = None

    def __call__(self, engine: Engine, batch: ViewBatch) -> dict[str, np.ndarray]:
        """As the kind of the calibration has them."""
        columns = KINDS[self.calibration.kind].columns
        if self.nsd_tolerance_mm is not None:  # of masks by one cut
            columns = partial(columns, nsd_tolerance_mm=self.nsd_tolerance_mm)
        found = columns(engine, batch, self.calibration)
        return found | froc_columns(batch, self.calibration.definition)


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
    rows, lesions = set_apart(rows)
    regions: list[RegionResult] = []
    cases: Rows = []
    lacking = {
        part.region: f"refused in calibration ({part.status})"
        for part in calibration.refused_parts
    }
    for region in dict.fromkeys(t.region for t in calibration.thresholds):
        lacking.pop(region, None)  # refused for other groups
        mine = [row for row in rows if row["region"] == region]
        if mine and (why := lacks(calibration, mine)):
            lacking[region] = why
        elif mine:
            result, table = region_fn(calibration, region, mine, seed)
            columns = {row["case_id"]: row.get("columns", {}) for row in mine}
            regions.append(replace(result, audit=audit.audited(table, columns)))
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
        all_regions=judge.overall(calibration, cases) if judge and cases else None,
    )
    if not summary.held_out:
        summary = summary.without_law()
    marks = [{name: row[name] for name in MARKS} for row in maps or rows]
    found = Evaluation(summary, cases, overlaps_of(calibration, rows), marks)
    return with_froc(found, lesions)


RegionFn = Callable[[Calibration, str, Rows, int], tuple[RegionResult, Rows]]


class Judge(NamedTuple):
    """How calibrations of a kind are evaluated.

    Attributes:
        columns: Counts and scores of a batch, of an engine, a batch and a calibration.
        region: Summary of one region and its rows, from the columns of its cases.
        overall: What the summary says of all regions at once; None where it is silent.
    """

    columns: Callable[..., dict[str, np.ndarray]]
    region: RegionFn
    overall: Callable[[Calibration, Rows], AllRegions | None]


KINDS: dict[Kind, Judge] = {
    "cut": Judge(*cuts.JUDGED),
    "sides": Judge(side_columns, evaluate_sets, joint_over_regions),
    "release": Judge(*triage.JUDGED),
    "interval": Judge(*volumes.JUDGED),
    "change": Judge(*changes.JUDGED),
}
