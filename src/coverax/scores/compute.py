"""From files, or arrays in memory, to the score table."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from coverax.choices import EngineName, Neighbours
from coverax.engine.spacing import batched_spacing
from coverax.engine.switch import Engine, resolve_engine
from coverax.rational import Level
from coverax.scores.batch import CaseRows, Loaded, View, ViewBatch
from coverax.scores.families import all_columns
from coverax.scores.notes import cohort_notes
from coverax.scores.stream import MapReader, load_case, stream_rows
from coverax.stream import Journal, file_facts
from coverax.table.columns import FOLD
from coverax.table.definition import (
    DEFAULT_BINS,
    MapKind,
    ScoreDefinition,
    sorted_tolerances,
)
from coverax.table.table import ScoreTable, check_further
from coverax.table.transforms import parse_transforms
from coverax.volumes import (
    FOREGROUND,
    Case,
    Cohort,
    Grid,
    Region,
    common_storages,
    read_probs,
    zero_where_void,
)


def score_cohort(
    cohort: Cohort,
    definition: ScoreDefinition,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    journal: Journal | None = None,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    read_map: MapReader = read_probs,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> ScoreTable:
    """Score every case of a cohort; each file is read once.

    Args:
        cohort: The cases.
        definition: What to score and how to read it.
        engine: `host` and `device` give the same scores and counts to the bit, and sums
            within 1e-6.
        threads: Reader threads; the cores of the process by default.
        journal: Where finished records go, and where earlier ones come from.
        verify_inputs: With earlier records, tell replaced files by their content too.
        allow_missing: Publish without the cases that failed and record them.
        read_map: How a case's map comes into memory, as `load_case` takes it.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.
        on_note: Called with a line for what was left out inside cases: labels of no
            region, values where no voxel counts.

    Returns:
        The table, in the order of the cohort.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
        ValueError: No case was left, or the maps are of different kinds.
    """
    chosen = resolve_engine(engine)
    definition = definition.with_engine(chosen.name)
    further = tuple(name for name, _ in cohort.cases[0].columns) if cohort.cases else ()
    check_further(further, definition)

    def batch_fn(engine: Engine, batch: ViewBatch):
        return all_columns(engine, batch, definition)

    records: dict[str, Any] = {}
    failures: dict[str, Exception] = {}
    # Before anything is read: a file that is replaced meanwhile is read again next time.
    facts = {
        _key(case): file_facts(
            [case.probs, case.labels, case.valid], content=verify_inputs
        )
        for case in (cohort.cases if journal else ())
    }
    todo = []
    for case in cohort.cases:
        known = journal.records.get(_key(case)) if journal else None
        if known and known["files"] == facts[_key(case)]:
            # Files are unchanged; unit, group and weight are what the cohort says now.
            rows = [row | _about(case) for row in known["rows"]]
            records[_key(case)] = known | {"rows": rows}
            on_case()
        else:
            todo.append(case)
    outcomes = stream_rows(
        todo,
        lambda case, buffers: load_case(case, definition, buffers, read_map=read_map),
        batch_fn,
        chosen,
        spatial=definition.is_spatial,
        threads=threads,
    )
    for case, result, error in outcomes:
        on_case()
        if error is not None or result is None:
            failures[_key(case)] = error or ValueError("no result")
            continue
        records[_key(case)] = record = _record(case, result, facts)
        if journal:
            journal.add(_key(case), record)
    excluded = dict(cohort.excluded)
    if failures:
        failed = [case for case in cohort.cases if _key(case) in failures]
        lines = [f"case {c.case_id}: {failures[_key(c)]}" for c in failed]
        if not allow_missing:
            raise ExceptionGroup(
                f"{len(failed)} of {len(cohort.cases)} cases failed",
                [ValueError(line) for line in lines],
            )
        for line in lines:
            on_failure(f"left out: {line}")
        excluded["failed"] = tuple(case.case_id for case in failed)
    kept = [records[_key(case)] for case in cohort.cases if _key(case) in records]
    if not kept:
        raise ValueError("no case could be scored")
    for line in cohort_notes(record.get("notes", {}) for record in kept):
        on_note(line)
    kind = _common_kind(kept)
    rows = [row for record in kept for row in record["rows"]]
    return ScoreTable.from_rows(rows, definition.with_kind(kind), excluded, further)


def score_arrays(
    probs: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[np.ndarray] | np.ndarray,
    tolerances: Sequence[Level],
    *,
    transforms: Sequence[str] = (),
    set_sizes: bool = False,
    spacing_mm: Sequence[float] | Sequence[Sequence[float]] | None = None,
    valid: Sequence[np.ndarray] | np.ndarray | None = None,
    case_ids: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
    raters: Sequence[str] | None = None,
    folds: Sequence[str] | Sequence[int] | None = None,
    voxel_volume_ml: float | Sequence[float] = float("nan"),
    region: str = FOREGROUND.name,
    n_bins: int = DEFAULT_BINS,
    band_edges_mm: Sequence[float] = (),
    lesions: Neighbours | None = None,
    engine: EngineName = "auto",
) -> ScoreTable:
    """Score arrays that are already in memory, as `score_cohort` scores files.

    Args:
        probs: `[batch, *spatial]`, or a sequence of arrays of any shapes.
        labels: References; foreground is what is not 0.
        tolerances: Tolerated false-negative rates of one case.
        transforms: Transforms for inner and outer scores, `inner=distance:cut=0.5`.
        set_sizes: Keep the sizes of their sets too, for `learn_sets`.
        spacing_mm: Voxel edges, the same for all or one row a case; spatial transforms
            need it.
        valid: Masks of the voxels that count; all by default. The others need no
            number, unless a transform looks at neighbours.
        case_ids: Names; `case_0`, `case_1`, ... by default.
        units: What is exchangeable; the case by default.
        groups: Category of each case known without the reference.
        weights: Likelihood ratios under shift.
        raters: Who made each reference, where cases have several: one entry each.
        folds: Fold whose model made each map, where they are of a cross-validation.
        voxel_volume_ml: Volume of a voxel, one or per case; unknown by default.
        region: Name of the region.
        n_bins: Bins of the calibration statistics; 0 for none.
        band_edges_mm: Distances to the surface of the reference, positive inside,
            between which bins are kept apart; needs spacings.
        lesions: Keep the peak of each lesion; voxels of one share a `face`, `edge` or
            `corner`. Needs `spacing_mm`.
        engine: `host` and `device` give the same bits.

    Raises:
        ExceptionGroup: Cases have bad values or shapes; one exception each.
        ValueError: The lengths differ, or a case id occurs twice.
    """
    n = len(probs)
    ids = [f"case_{i}" for i in range(n)] if case_ids is None else list(case_ids)
    columns = {
        "labels": labels,
        "case_ids": ids,
        "units": ids if units is None else units,
        "groups": [""] * n if groups is None else groups,
        "weights": [1.0] * n if weights is None else weights,
        "raters": [""] * n if raters is None else raters,
        "folds": [""] * n if folds is None else folds,
        "valid": [None] * n if valid is None else valid,
        "voxel_volume_ml": list(np.broadcast_to(voxel_volume_ml, n)),
        "spacing_mm": [None] * n if spacing_mm is None else _rows_of(spacing_mm, n),
    }
    for name, values in columns.items():
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} entries for {n} cases")
    if len(set(zip(ids, columns["raters"], strict=True))) < n:
        raise ValueError("case_ids must differ, or the raters of a case")
    definition = ScoreDefinition(
        regions=(Region(region, (0,), (1,)),),
        tolerances=sorted_tolerances(list(tolerances)),
        n_bins=n_bins,
        transforms=parse_transforms(list(transforms)),
        set_sizes=set_sizes,
        lesions=lesions,
        band_edges_mm=tuple(map(float, band_edges_mm)),
    )
    chosen = resolve_engine(engine)
    definition = definition.with_engine(chosen.name)

    def load(i: int, _buffers) -> Loaded:
        facts = {
            "voxel_volume_ml": float(columns["voxel_volume_ml"][i]),
            "overshoot": 0.0,
        }
        region = definition.regions[0]
        valid_i = columns["valid"][i]
        # A transform looks at every voxel of a map, so there each needs a number.
        own = probs[i] if definition.is_spatial else zero_where_void(probs[i], valid_i)
        arrays = (own, labels[i], valid_i)
        return Loaded(facts, [array_view(region, *arrays, columns["spacing_mm"][i])])

    def batch_fn(engine: Engine, batch: ViewBatch):
        return all_columns(engine, batch, definition)

    rows: dict[int, dict[str, Any]] = {}
    failures: dict[int, Exception] = {}
    outcomes = stream_rows(
        range(n), load, batch_fn, chosen, spatial=definition.is_spatial
    )
    for i, result, error in outcomes:
        if error is not None or result is None:
            failures[i] = error or ValueError("no result")
            continue
        about = {
            "case_id": str(ids[i]),
            "unit": str(columns["units"][i]),
            "group": str(columns["groups"][i]),
            "weight": float(columns["weights"][i]),
            "rater": str(columns["raters"][i]),
            FOLD: str(columns["folds"][i]),
        }
        rows[i] = _rows(about, result)[0]
    if failures:
        raise ExceptionGroup(
            f"{len(failures)} of {n} cases failed",
            [ValueError(f"case {ids[i]}: {failures[i]}") for i in sorted(failures)],
        )
    further = () if folds is None else (FOLD,)
    ordered = [rows[i] for i in range(n)]
    return ScoreTable.from_rows(ordered, definition, further=further)


def _rows_of(spacing_mm, n: int) -> list[np.ndarray]:
    spacing = np.asarray(spacing_mm, np.float64)
    return list(np.broadcast_to(spacing, (n, spacing.shape[-1])))


def array_view(region: Region, probs, labels, valid, spacing_mm) -> View:
    """A case in memory as a region of a case of files; its axes may have a spacing.

    Raises:
        ValueError: Shapes differ, or a value is no probability.
    """
    probs, labels = np.asarray(probs), np.asarray(labels)
    if labels.shape != probs.shape or (
        valid is not None and valid.shape != probs.shape
    ):
        raise ValueError(f"labels have shape {labels.shape}, probs {probs.shape}")
    values = probs.astype(np.float32, copy=False).reshape(-1)
    if not (values.size and values.min() >= 0 and values.max() <= 1):
        raise ValueError("probabilities must lie in [0, 1] and not be NaN")
    mask = (labels != 0).reshape(-1)
    counts = None if valid is None else np.asarray(valid).reshape(-1) != 0
    if spacing_mm is None:
        return View(region, values, mask, counts, None)
    # Flat in C order, the last axis runs fastest: it is the grid's first.
    spacing = batched_spacing(spacing_mm, (1, *probs.shape))[0].astype(np.float64)
    affine = np.diag([*[*spacing[::-1], 1.0, 1.0, 1.0][:3], 1.0])
    return View(region, values, mask, counts, Grid(probs.shape[::-1], affine))


def _rows(about: dict[str, Any], result: CaseRows) -> list[dict[str, Any]]:
    facts = {k: result.facts[k] for k in ("voxel_volume_ml", "overshoot")}
    facts |= result.facts.get("softmax", {})
    ordered = sorted(result.rows, key=lambda pair: pair[0].name)
    return [about | facts | {"region": region.name} | row for region, row in ordered]


def _record(case: Case, result: CaseRows, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "files": facts.get(_key(case)),
        "kind": [result.facts["n_channels"], result.facts["storage"]],
        "notes": result.facts["notes"],
        "rows": _rows(_about(case), result),
    }


def _about(case: Case) -> dict[str, Any]:
    """What the cohort, not the files, says of a case."""
    return {
        "case_id": case.case_id,
        "unit": case.unit,
        "group": case.group,
        "weight": case.weight,
        "rater": case.rater,
        **dict(case.columns),
    }


def _key(case: Case) -> str:
    region = "" if case.region is None else f"\n{case.region}"
    return case.case_id + region + (f"\nrater {case.rater}" if case.rater else "")


def _common_kind(records: list[dict[str, Any]]) -> MapKind:
    """The kind of map all cases share; storages may differ (`common_storages`)."""
    by_channels = {record["kind"][0]: record for record in records}
    if len(by_channels) > 1:
        which = [
            f"case {record['rows'][0]['case_id']} has "
            + (f"{n} channels" if n else "no class axis")
            for n, record in sorted(by_channels.items())
        ]
        raise ValueError(f"the maps are of different kinds: {'; '.join(which)}")
    storages = common_storages(tuple(record["kind"][1] for record in records))
    return MapKind(next(iter(by_channels)), storages)
