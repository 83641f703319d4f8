"""A calibration from folds against cases with references and one map a fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Band, Calibration, bounds
from coverax.choices import Kind
from coverax.evaluate.cohorts import (
    check_regions,
    left_out,
    promised_regions,
    unit_column_of,
)
from coverax.evaluate.compute import RegionFn, summarise
from coverax.evaluate.cut_results import FoldCutResult
from coverax.evaluate.cuts import ABOUT, FIXED_CUT, check_nsd_tolerance
from coverax.evaluate.references import Counted, count_rows
from coverax.evaluate.results import Evaluation, Rows
from coverax.evaluate.rows import (
    about_case,
    check_hard_masks,
    refuse_copies,
)
from coverax.evaluate.set_results import (
    FoldCoverage,
    FoldSetsResult,
    FoldSideCoverage,
)
from coverax.evaluate.sets import mean_of, mean_sizes_of, side_sizes
from coverax.evaluate.summary import Masks, complies_at
from coverax.predict import check_map_kind
from coverax.predict.fold_tally import Sides, Votes, new_tally
from coverax.predict.folds import check_folds, common_maps, fold_definitions
from coverax.provenance import kind_of_values
from coverax.rational import as_fraction
from coverax.scores import ScoreDefinition, View, load_case, mask_shapes
from coverax.stream import HERE, Where, gather, map_cases
from coverax.table import SIDES
from coverax.volumes import Case, Cohort, declared_bytes, read_probs

BAND_LEVEL = 0.95


def evaluate_folds(
    calibration: Calibration,
    cohort: Cohort,
    maps: Sequence[Mapping[str, Path]],
    *,
    threads: int | None = None,
    where: Where = HERE,
    seed: int = 0,
    nsd_tolerance_mm: float | None = None,
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
        where: Where cases are read.
        seed: Seed of the draw of one case a unit.
        nsd_tolerance_mm: Measure surfaces too, which agree within this distance.
        allow_missing: Leave out cases that fail, and record them.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        none_too: Return without results where no case counts, instead of raising.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed or lack a map; one exception each.
        ValueError: The calibration is of another number of folds, or no case was left.
    """
    check_nsd_tolerance(calibration, nsd_tolerance_mm)
    folds = check_folds(calibration, len(maps))
    definition = promised_regions(calibration)
    unit_column = unit_column_of(calibration, cohort)
    check_regions(calibration, cohort)
    wanted = {case.case_id for case in cohort.cases}
    own = [{i: Path(p) for i, p in each.items() if i in wanted} for each in maps]
    paths, _ = common_maps(own, folds, allow_missing=allow_missing)

    found: dict[Case, Rows] = {}
    outcomes = map_cases(
        RowsOfFolds(calibration, definition, paths, nsd_tolerance_mm),
        cohort.cases,
        threads=threads,
        where=where,
        size_of=declared_bytes,
    )
    failures = gather(
        outcomes,
        cohort.cases,
        found.__setitem__,
        name=lambda case: case.case_id,
        allow_missing=allow_missing,
        on_case=on_case,
        on_failure=on_failure,
    )
    rows = [
        about_case(case, unit_column) | row
        for case in cohort.cases
        for row in found.get(case, [])
    ]
    each_map = [
        {**row, "map_fingerprint": content.fingerprint, "map_values": _values(content)}
        for row in rows
        for content in row.pop("content")
    ]
    check_hard_masks(calibration, each_map, allow=allow_hard_masks)
    refuse_copies(calibration, each_map)
    evaluation = summarise(
        calibration,
        rows,
        left_out(cohort, failures),
        seed,
        region_fn=FOLD_KINDS[calibration.kind],
        maps=each_map,
    )
    if not none_too:
        evaluation.summary.check_results()
    return evaluation


@dataclass(frozen=True, slots=True)
class RowsOfFolds:
    """Counts of one case; it travels to other processes."""

    calibration: Calibration
    definition: ScoreDefinition
    paths: Mapping[str, Sequence[Path]]
    nsd_tolerance_mm: float | None = None

    def __call__(self, case: Case) -> Rows:
        """One row a region."""
        if case.case_id not in self.paths:
            raise ValueError("it lacks the map of a fold")
        own = self.paths[case.case_id]
        nsd = self.nsd_tolerance_mm
        return _rows(self.calibration, self.definition, case, own, nsd)


def _rows(
    calibration: Calibration,
    definition: ScoreDefinition,
    case: Case,
    paths: Sequence[Path],
    nsd_tolerance_mm: float | None,
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
        _row(
            calibration, tallies[name], means[name] / len(paths), view, nsd_tolerance_mm
        )
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
    calibration: Calibration,
    tally: Votes | Sides,
    mean: np.ndarray,
    view: View,
    nsd_tolerance_mm: float | None,
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
    row |= mask_shapes(view, masks, neighbours, nsd_tolerance_mm)
    return row


class _Judged(NamedTuple):
    column: dict[str, np.ndarray]
    counted: Counted
    about: dict[str, Any]  # fields that both kinds of result begin with
    table: Rows


def _judge(calibration: Calibration, region: str, rows: Rows, seed: int) -> _Judged:
    """What both kinds say of a region and its cases."""
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    counted = count_rows(calibration, region, column, seed)
    folds = calibration.folds
    own = [t for t in calibration.thresholds if t.region == region]
    about = {
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
    return _Judged(column, counted, about, table)


def _evaluate_cuts(
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[FoldCutResult, Rows]:
    """The mask by votes beside the mean of the maps at the fixed cut."""
    column, counted, about, table = _judge(calibration, region, rows, seed)
    votes, fixed = (
        Masks.of(
            name,
            column,
            np.full(len(rows), k),
            complies_at(about["tolerance"], column, k, counted),
            counted,
        )
        for k, name in enumerate(("calibrated", "fixed"))
    )
    promised = band = None
    if votes.complies is not None:
        promised = float(1 - as_fraction(calibration.alpha))
        band = _observed_band(votes.complies[counted.rows])
    result = FoldCutResult(
        **about,
        calibrated=votes.at(np.nan),
        risks=votes.risks(calibration),
        promised=promised,
        observed_band=band,
        fixed=fixed.at(FIXED_CUT),
    )
    for i, row in enumerate(table):
        row |= votes.columns(i) | fixed.columns(i)
    return result, table


def _evaluate_sides(
    calibration: Calibration, region: str, rows: Rows, seed: int
) -> tuple[FoldSetsResult, Rows]:
    """Coverage of the sets from folds, and their sizes."""
    column, counted, about, table = _judge(calibration, region, rows, seed)
    asked, kept = calibration.sets, counted.rows
    alphas = {"inner": asked.alpha_inner, "outer": asked.alpha_outer}
    transforms = {"inner": asked.inner, "outer": asked.outer}
    failed = {
        "inner": column["n_inner"] > column["n_inner_hit"],
        "outer": column["n_outer_hit"] < column["n_foreground"],
    }
    covered = {side: counted.worst(bad) == 0 for side, bad in failed.items()}
    covered["joint"] = covered["inner"] & covered["outer"]
    shares = {name: float(hits[kept].mean()) for name, hits in covered.items()}
    numbers = {name: int(hits[kept].sum()) for name, hits in covered.items()}
    bands = {name: _observed_band(hits[kept]) for name, hits in covered.items()}
    sizes = side_sizes(column)
    inner, outer = (
        FoldSideCoverage(
            coverage=shares[side],
            n_covered=numbers[side],
            promised=float(1 - as_fraction(alphas[side])),
            observed_band=bands[side],
            transform=transforms[side],
            sizes=mean_sizes_of(side, sizes, kept),
        )
        for side in SIDES
    )
    promised = None
    if asked.joint != "each":
        promised = float(1 - as_fraction(calibration.alpha))
    axes = set(column["n_axes"].tolist())
    result = FoldSetsResult(
        **about,
        rule=asked.joint,
        regions=asked.regions,
        n_axes=int(axes.pop()) if len(axes) == 1 else None,
        uncertain_ml=mean_of(sizes["uncertain_ml"][kept]),
        inner=inner,
        outer=outer,
        joint=FoldCoverage(shares["joint"], numbers["joint"], promised, bands["joint"]),
    )
    for i, row in enumerate(table):
        row |= {k: rows[i][k] for k in rows[i] if k.startswith("n_")}
        row |= {f"{name}_covered": bool(hits[i]) for name, hits in covered.items()}
        row |= {name: float(values[i]) for name, values in sizes.items()}
    return result, table


def _observed_band(hits: np.ndarray) -> Band:
    """What the observed share says of the true one."""
    delta = as_fraction(str((1 - BAND_LEVEL) / 2))
    return Band(
        level=BAND_LEVEL,
        low=float(1 - bounds.clopper_pearson((~hits).astype(float), delta)),
        high=float(bounds.clopper_pearson(hits.astype(float), delta)),
    )


FOLD_KINDS: dict[Kind, RegionFn] = {
    "fold_cuts": _evaluate_cuts,
    "fold_sides": _evaluate_sides,
}
