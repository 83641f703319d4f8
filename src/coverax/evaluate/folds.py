"""A calibration from folds against cases with references and one map a fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration, RiskRecord, bounds
from coverax.choices import Kind
from coverax.evaluate.compute import (
    ABOUT,
    FIXED_CUT,
    Evaluation,
    RegionFn,
    check_regions,
    promised_regions,
    refuse_copies,
    summarise,
    unit_column_of,
)
from coverax.evaluate.metrics import worst_metrics
from coverax.evaluate.references import Counted, count_rows
from coverax.evaluate.sets import mean_of, side_sizes
from coverax.evaluate.summary import metrics_at, risks_of, summary_at
from coverax.predict import check_map_kind
from coverax.predict.folds import (
    Sides,
    Votes,
    check_folds,
    common_maps,
    fold_definitions,
    new_tally,
)
from coverax.provenance import check_not_masks, kind_of_values
from coverax.rational import allowed_misses, as_fraction, tolerance_terms
from coverax.scores import ScoreDefinition, View, load_case, view_peaks
from coverax.stream import map_cases
from coverax.table import SIDES
from coverax.volumes import Case, Cohort, read_probs

BAND_LEVEL = 0.95
Rows = list[dict[str, Any]]


def evaluate_folds(
    calibration: Calibration,
    cohort: Cohort,
    maps: Sequence[Mapping[str, Path]],
    *,
    threads: int | None = None,
    seed: int = 0,
    allow_missing: bool = False,
    allow_hard_masks: bool = False,
    none_too: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
) -> Evaluation:
    """Measure the masks made from the maps of all folds.

    The promise is a lower bound, and no exact law is known of what happens: beside the
    observed share stands its 95 % Clopper-Pearson band, for units that are independent.
    Masks decide, voxel by voxel. Where units own several cases one of each is drawn.

    Args:
        calibration: From folds.
        cohort: Cases with references, which no fold's model saw; their own maps are
            not looked at.
        maps: Case id to map, one mapping a fold in the order of
            `calibration.folds.names`.
        threads: Cases at a time.
        seed: Seed of the draw of one case a unit.
        allow_missing: Leave out cases that fail, and record them.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        none_too: Return without results where no case counts, instead of raising.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed or lack a map; one exception each.
        ValueError: The calibration is of another number of folds, or no case was left.
    """
    folds = check_folds(calibration, len(maps))
    definition = promised_regions(calibration)
    unit_column = unit_column_of(calibration, cohort)
    check_regions(calibration, cohort)
    wanted = {case.case_id for case in cohort.cases}
    own = [{i: Path(p) for i, p in each.items() if i in wanted} for each in maps]
    paths, _ = common_maps(own, folds, allow_missing=allow_missing)

    def rows_of(case: Case) -> Rows:
        if case.case_id not in paths:
            raise ValueError("it lacks the map of a fold")
        return _rows(calibration, definition, case, paths[case.case_id])

    rows: Rows = []
    failures: dict[str, Exception] = {}
    found: dict[Case, Rows] = {}
    for case, result, error in map_cases(rows_of, cohort.cases, threads=threads):
        on_case()
        if error is not None or result is None:
            failures[case.case_id] = error or ValueError("no result")
        else:
            found[case] = result
    lines = [f"case {case_id}: {error}" for case_id, error in failures.items()]
    if lines and not allow_missing:
        raise ExceptionGroup(
            f"{len(lines)} of {len(cohort.cases)} cases failed",
            [ValueError(line) for line in lines],
        )
    for line in lines:
        on_failure(f"left out: {line}")
    for case in cohort.cases:
        about = {
            "case_id": case.case_id,
            "unit": getattr(case, unit_column),
            "group": case.group,
            "rater": case.rater,
            "part": case.part,
        }
        rows += [about | row for row in found.get(case, [])]
    each_map = [
        {**row, "map_fingerprint": content.fingerprint, "map_values": _values(content)}
        for row in rows
        for content in row.pop("content")
    ]
    check_not_masks(
        [(row["case_id"], row["region"], row["map_values"]) for row in each_map],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    refuse_copies(each_map, definition)
    excluded = dict(cohort.excluded) | ({"failed": tuple(failures)} if failures else {})
    region_fn = FOLD_KINDS[calibration.kind]
    evaluation = summarise(
        calibration, rows, excluded, seed, region_fn=region_fn, maps=each_map
    )
    lacking = evaluation.summary["not_evaluated"]
    if not (evaluation.summary["results"] or none_too):
        raise ValueError("; ".join(f"region {k}: {why}" for k, why in lacking.items()))
    return evaluation


def _rows(
    calibration: Calibration,
    definition: ScoreDefinition,
    case: Case,
    paths: Sequence[Path],
) -> Rows:
    """Counts of the masks of a case, one row a region."""
    kinds = fold_definitions(calibration)
    tallies: dict[str, Votes | Sides] = {}
    means: dict[str, np.ndarray] = {}
    last: dict[str, View] = {}
    facts: dict[str, Any] = {}
    contents: dict[str, list[Any]] = {}
    for fold, path in enumerate(paths):
        kind_check = partial(check_map_kind, definition=kinds[fold])
        read_map = partial(read_probs, check_header=kind_check)
        loaded = load_case(replace(case, probs=path), definition, read_map=read_map)
        facts = loaded.facts
        for view in loaded.views:
            name = view.region.name
            if fold == 0:
                tallies[name] = new_tally(calibration, name)
                means[name] = np.zeros(view.probs.size, np.float32)
            tallies[name].add(fold, view)
            means[name] += view.probs
            contents.setdefault(name, []).append(facts["content"][name])
            last[name] = view._replace(probs=view.probs[:0])
    return [
        _row(calibration, tallies[name], means[name] / len(paths), view)
        | {
            "region": name,
            "voxel_volume_ml": facts["voxel_volume_ml"],
            "content": contents[name],
        }
        for name, view in last.items()
    ]


def _values(content: Any) -> str:
    return kind_of_values(*content)


def _row(
    calibration: Calibration, tally: Votes | Sides, mean: np.ndarray, view: View
) -> dict[str, Any]:
    counts = np.ones(view.labels.size, bool) if view.valid is None else view.valid
    labels = view.labels & counts
    row: dict[str, Any] = {
        "n_voxels": int(counts.sum()),
        "n_foreground": int(labels.sum()),
    }
    if isinstance(tally, Sides):
        n_axes = 3 if view.grid is None else sum(n > 1 for n in view.grid.shape)
        row["n_axes"] = max(1, n_axes)
        for side, mask in tally.sets().items():
            row[f"n_{side}"] = int((mask & counts).sum())
            row[f"n_{side}_hit"] = int((mask & labels).sum())
        return row
    masks = (tally.mask(), mean >= np.float32(FIXED_CUT))
    row["n_predicted"] = np.array([(mask & counts).sum() for mask in masks])
    row["n_true_positive"] = np.array([(mask & labels).sum() for mask in masks])
    neighbours = calibration.definition.lesions
    if neighbours is not None:
        hits = [
            view_peaks(view._replace(probs=mask.astype(np.float32)), neighbours)
            for mask in masks
        ]
        row["n_lesions"] = hits[0].size
        row["n_lesions_hit"] = np.array([int((peaks > 0).sum()) for peaks in hits])
    return row


class _Judged(NamedTuple):
    column: dict[str, np.ndarray]
    counted: Counted
    result: dict[str, Any]
    table: Rows


def _judge(calibration: Calibration, region: str, rows: Rows, seed: int) -> _Judged:
    """What both kinds say of a region and its cases."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    folds = calibration.folds
    own = [t for t in calibration.thresholds if t.region == region]
    result = {
        "region": region,
        "folds": list(folds.names) if folds else [],
        "votes_needed": folds.votes if folds else None,
        "n_counted": int(counted.rows.sum()),
        "n_empty_reference": int(np.count_nonzero(column["n_foreground"] == 0)),
        "n_calibration_units": sum(t.n_units for t in own if t.side != "inner"),
        "raters": calibration.policy.raters,
        "tolerance": own[0].tolerance,
    }
    table = [
        {name: row[name] for name in ABOUT}
        | {
            "counted": bool(counted.rows[i]),
            "n_voxels": row["n_voxels"],
            "n_foreground": row["n_foreground"],
        }
        for i, row in enumerate(rows)
    ]
    return _Judged(column, counted, result, table)


def _evaluate_cuts(
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[dict[str, Any], Rows]:
    """The mask by votes beside the mean of the maps at the fixed cut."""
    column, counted, result, table = _judge(calibration, region, rows, seed)
    allowed = None
    if result["tolerance"] is not None:
        terms = tolerance_terms([result["tolerance"]])
        allowed = allowed_misses(column["n_foreground"], *terms)
    for k, name in enumerate(("calibrated", "fixed")):
        metrics = metrics_at(column, np.full(len(rows), k))
        complies = None
        if allowed is not None:
            missed = column["n_foreground"] - column["n_true_positive"][:, k]
            complies = counted.worst(missed > allowed) == 0
        worst = worst_metrics(metrics, counted.worst)
        cut = FIXED_CUT if name == "fixed" else np.nan
        result[name] = summary_at(cut, complies, worst, counted.rows)
        record = calibration.record
        if name == "calibrated" and isinstance(record, RiskRecord):
            levels = record.levels(calibration.alpha)
            result["risks"] = risks_of(levels, worst, counted.rows)
        if name == "calibrated" and complies is not None:
            promised = 1 - as_fraction(calibration.alpha)
            result |= _promise(complies[counted.rows], float(promised))
        for i, row in enumerate(table):
            row[f"{name}_complies"] = None if complies is None else bool(complies[i])
            row |= {f"{name}_{m}": float(v[i]) for m, v in metrics._asdict().items()}
    return result, table


def _evaluate_sides(
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[dict[str, Any], Rows]:
    """Coverage of the sets from folds, and their sizes."""
    column, counted, result, table = _judge(calibration, region, rows, seed)
    asked = calibration.sets
    alphas = {"inner": asked.alpha_inner, "outer": asked.alpha_outer}
    failed = {
        "inner": column["n_inner"] > column["n_inner_hit"],
        "outer": column["n_outer_hit"] < column["n_foreground"],
    }
    covered = {side: counted.worst(bad) == 0 for side, bad in failed.items()}
    covered["joint"] = covered["inner"] & covered["outer"]
    level = {side: as_fraction(alphas[side]) for side in SIDES}
    promised: dict[str, float | None] = {s: float(1 - a) for s, a in level.items()}
    is_joint = asked.joint != "each"
    promised["joint"] = float(1 - as_fraction(calibration.alpha)) if is_joint else None
    sizes = side_sizes(column)
    kept = counted.rows
    axes = set(column["n_axes"].tolist())
    result |= {
        "rule": asked.joint,
        "regions": asked.regions,
        "n_axes": int(axes.pop()) if len(axes) == 1 else None,
        "uncertain_ml": mean_of(sizes["uncertain_ml"][kept]),
    }
    for name, hits in covered.items():
        result[name] = {
            "coverage": float(hits[kept].mean()),
            "n_covered": int(hits[kept].sum()),
        } | _promise(hits[kept], promised[name])
    for side in SIDES:
        result[side] |= {"transform": getattr(asked, side)} | {
            key: mean_of(values[kept])
            for key, values in sizes.items()
            if key.startswith(side)
        }
    for i, row in enumerate(table):
        row |= {k: rows[i][k] for k in rows[i] if k.startswith("n_")}
        row |= {f"{name}_covered": bool(hits[i]) for name, hits in covered.items()}
        row |= {name: float(values[i]) for name, values in sizes.items()}
    return result, table


def _promise(hits: np.ndarray, promised: float | None) -> dict[str, Any]:
    """The share that was promised, and what the observed one says of the true one."""
    delta = as_fraction(str((1 - BAND_LEVEL) / 2))
    return {
        "promised": promised,
        "observed_band": {
            "level": BAND_LEVEL,
            "low": 1 - bounds.clopper_pearson((~hits).astype(float), delta),
            "high": bounds.clopper_pearson(hits.astype(float), delta),
        },
    }


FOLD_KINDS: dict[Kind, RegionFn] = {
    "fold_cuts": _evaluate_cuts,
    "fold_sides": _evaluate_sides,
}
