"""A score table against its own guarantee: what `coverax validate` writes."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from coverax.calibrate import (
    Band,
    Histogram,
    Policy,
    cases_of,
    check_sources,
    compliance_band,
    conformal_rank,
    draw_one_per_unit,
    fold_rows,
    froc_at,
    froc_of_table,
    keep_rows,
    split_threshold,
)
from coverax.rational import Level, as_fraction, check_level
from coverax.scores import ScoreTable
from coverax.shown import plural
from coverax.table import FOLD
from coverax.validate.audit import audits
from coverax.validate.exact import AllSplits, Pool, make_pool, splits_of
from coverax.validate.exchangeability import conformal_p_value, order_test
from coverax.validate.metrics import critical_metrics
from coverax.validate.order import acquisition_order
from coverax.validate.plan import Plan, check_method, scores_of
from coverax.validate.results import (
    HeldOutGroup,
    OrderResult,
    RandomSplits,
    ScoresResult,
    SplitsResult,
    Spread,
    Validation,
    WholeUnits,
)
from coverax.validate.splits import random_splits
from coverax.validate.units import all_unit_splits
from coverax.validate.validated import Validated

BAND = 0.95
_PERMUTATIONS = (
    "Splits of one pool are exchangeable by construction: these numbers check the "
    "method and show its spread, and say nothing about new cases from elsewhere."
)
_HELD_OUT = (
    "Groups held out in turn are evidence about exchangeability between groups: coverage "
    "below the band says that one group's cases do not stand for another's. One "
    f"exchangeable group leaves its band in up to {1 - BAND:.0%} of cohorts, so of many "
    "groups and levels some do by chance; ties carry coverage above it."
)
_FOLDS = (
    "Each fold is validated on its own, under the model that never saw it: no law is "
    "known of all folds together. What `calibrate --folds` promises of the masks from "
    "all folds is seen on a held-out set alone, with `coverax evaluate`."
)
_SETS = (
    "Inner and outer: each side on its own at the level alpha (joint=each; under "
    "bonferroni, at the share of alpha that the side gets). Joint: both at once, by one "
    "threshold for the larger of both scores (joint=max)."
)
_NO_CURVES = "the table was scored without --curves"
_OWN_CUTS = "masks by mass have a cut of their own in each map"
_ORDER = (
    "Order of acquisition is evidence about drift: a small p-value means that later "
    "cases differ from earlier ones."
)


def validate_table(table: ScoreTable, plan: Plan) -> Validation:
    """Validate a method on every region: the missed share, or inner and outer sets.

    Of sets each side is validated on its own, and both at once by one threshold for the
    larger of both scores (`joint="max"`), each at the levels of the plan.

    Where units own several cases one of each is drawn, by the plan's seed, so that the
    law of all splits is in closed form; beside it stand the mean over all splits of whole
    units with all their cases, and random splits of them.

    Raises:
        ValueError: A level is out of range, a region has fewer than two units, the
            table holds scores of sets and the plan names no method, or it lacks a
            transform.
    """
    check_method(table, plan)
    if FOLD in table.columns and len(set(table.column(FOLD))) > 1:
        return _validate_folds(table, plan)
    regions = list(dict.fromkeys(table.column("region")))
    results = [
        _validate_scores(table, plan, region, validated)
        for region in regions
        for validated in scores_of(table, plan)
    ]
    evidence = {"splits": _PERMUTATIONS}
    if plan.method == "sets":
        evidence["sets"] = _SETS
    if plan.hold_out_by:
        evidence["hold_out"] = _HELD_OUT
    if plan.order_by:
        evidence["order"] = _ORDER
    curves, without = froc_of_table(table)
    if without:
        evidence["froc"] = "; ".join(f"no FROC of {k}: {v}" for k, v in without.items())
    has_curves = table.critical_curves(regions[0]) is not None
    lacking = "sets have none here" if plan.method == "sets" else _NO_CURVES
    by_mass = plan.score == "mass"
    if by_mass:
        lacking = _OWN_CUTS
    return Validation(
        method=plan.method or "fnr",
        score="mass" if by_mass else None,
        cases_digest=table.cases_digest,
        score_definition=table.definition,
        seed=plan.seed,
        raters=plan.raters,
        metrics="at every threshold, exactly"
        if has_curves and plan.method != "sets" and not by_mass
        else f"coverage alone: {lacking}",
        evidence=evidence,
        results=results,
        froc=[froc_at(region, curve) for region, curve in curves.items()] or None,
    )


def _validate_folds(table: ScoreTable, plan: Plan) -> Validation:
    """Every fold on its own: the model is fixed there, and the law exact."""
    each = {
        name: validate_table(table.select(rows), plan)
        for name, rows in fold_rows(table).items()
    }
    whole = next(iter(each.values()))
    results = [
        replace(entry, fold=name) for name, own in each.items() for entry in own.results
    ]
    return replace(
        whole,
        cases_digest=table.cases_digest,
        evidence={"folds": _FOLDS, **whole.evidence},
        results=results,
        froc=None,  # maps of several models make no one curve
    )


def _validate_scores(
    table: ScoreTable, plan: Plan, region: str, validated: Validated
) -> ScoresResult:
    check_sources(table, "unit")
    units, ids = table.column("unit"), table.column("case_id")
    policy = Policy(
        plan.counts_empty, per_unit="all", seed=plan.seed, raters=plan.raters
    )
    kept = keep_rows(table, region, policy)
    rows = np.flatnonzero(draw_one_per_unit(ids, units, kept.rows, plan.seed))
    if rows.size < 2:
        raise ValueError(
            f"region {region}: {plural(rows.size, 'unit')}, two are needed"
        )
    every = cases_of(ids, np.flatnonzero(kept.rows), kept.references)
    drawn = cases_of(ids, rows, kept.references)
    scores = drawn.worst(validated.scores)
    metrics = {}
    has_cuts = plan.score == "critical" and validated.side is None
    if has_cuts and validated.tolerance is not None:
        metrics = critical_metrics(table, region, validated.tolerance, drawn)
    pool = make_pool(scores, metrics)
    hold_out = order = None
    if plan.hold_out_by:
        groups = table.grouping(plan.hold_out_by)[rows].astype(str)
        hold_out = _hold_out(scores, groups, plan)
    if plan.order_by:
        order = _order_result(table, plan.order_by, rows, scores, plan.seed)
    whole = _Whole(every.worst(validated.scores), units[every.rows])
    return ScoresResult(
        region=region,
        side=validated.side,
        transform=validated.transform,
        tolerance=validated.tolerance,
        n_units=int(rows.size),
        n_cases=int(every.rows.size),
        splits=[
            entry
            for fraction in plan.fractions
            for entry in _splits(pool, whole, fraction, plan, n_units=rows.size)
        ],
        hold_out=hold_out,
        order=order,
        audit=audits(table, drawn, scores, plan.alphas),
    )


class _Whole(NamedTuple):
    """Scores of all cases of all units."""

    scores: np.ndarray
    units: np.ndarray


def _splits(
    pool: Pool, whole: _Whole, fraction: Level, plan: Plan, *, n_units: int
) -> list[SplitsResult]:
    """All splits of units at one share, one entry a level."""
    n = _n_calibration(fraction, n_units)
    random = None
    if plan.n_splits:
        random = random_splits(
            whole.scores,
            n,
            list(plan.alphas),
            n_splits=plan.n_splits,
            seed=plan.seed,
            units=whole.units,
        )
    found: list[SplitsResult] = []
    for k, alpha in enumerate(plan.alphas):
        entry = _entry(splits_of(pool, n, alpha), alpha, fraction)
        if whole.scores.size > n_units and not plan.closed:
            entry = replace(entry, whole_units=_whole_units(*whole, n, alpha))
        if random is not None:
            entry = replace(entry, random=_random(random[:, k], plan))
        found.append(entry)
    return found


def _order_result(
    table: ScoreTable, column: str, rows: np.ndarray, scores: np.ndarray, seed: int
) -> OrderResult:
    order, kind = _order(table, column, rows)
    found = order_test(scores[order], seed=seed)
    return OrderResult(
        by=column,
        sorted_as=kind,
        n=found.n,
        max_capital=found.max_capital,
        p_value_capital=found.p_value_capital,
        p_value_uniform=found.p_value_uniform,
    )


def _order(table: ScoreTable, column: str, rows: np.ndarray) -> tuple[np.ndarray, str]:
    """Rows in the order of a column of the cohort."""
    if column not in table.cohort_columns:
        raise ValueError(
            f"cases cannot be ordered by {column!r}: the cohort gives "
            f"{', '.join(table.cohort_columns)}"
        )
    try:
        return acquisition_order(
            table.column(column)[rows], table.column("case_id")[rows]
        )
    except ValueError as error:
        raise ValueError(f"column {column}: {error}") from None


def _n_calibration(fraction: Level, n_units: int) -> int:
    """The nearest whole number of units, one at least on either side."""
    exact = check_level("fraction", fraction) * n_units
    return min(max(int(exact + as_fraction("0.5")), 1), n_units - 1)


def _entry(exact: AllSplits, alpha: Level, fraction: Level) -> SplitsResult:
    n, rank = exact.n_calibration, exact.rank
    n_test = exact.n_cases - n
    low, high = compliance_band(n, rank, n_test, BAND)
    return SplitsResult(
        alpha=float(as_fraction(alpha)),
        fraction=float(as_fraction(fraction)),
        n_calibration=n,
        n_test=n_test,
        rank=rank,
        status="OK" if rank <= n else "TOO_FEW_CASES",
        expected=min(1.0, rank / (n + 1)),
        coverage_mean=exact.coverage_mean,
        coverage_sd=float(np.sqrt(exact.coverage_variance)),
        band=Band(BAND, low, high),
        metrics={
            name: Spread(_finite(mean), _finite(np.sqrt(exact.metric_variances[name])))
            for name, mean in exact.metric_means.items()
        },
    )


def _whole_units(
    scores: np.ndarray, units: np.ndarray, n: int, alpha: Level
) -> WholeUnits:
    """All cases of all units over every split of units, where that can be counted."""
    try:
        mean = all_unit_splits(scores, units, n, alpha)
    except ValueError as too_many:
        return WholeUnits(None, why=str(too_many))
    return WholeUnits(mean, least=float(1 - as_fraction(alpha)))


def _random(coverage: np.ndarray, plan: Plan) -> RandomSplits:
    counts, edges = np.histogram(coverage, np.arange(51) / 50)
    return RandomSplits(
        n_splits=plan.n_splits,
        coverage_mean=float(coverage.mean()),
        coverage_sd=float(coverage.std(ddof=1)) if coverage.size > 1 else None,
        histogram=Histogram(edges.tolist(), counts.tolist()),
    )


def _hold_out(scores: np.ndarray, groups: np.ndarray, plan: Plan) -> list[HeldOutGroup]:
    """Each group tested with a threshold from all the others."""
    out: list[HeldOutGroup] = []
    for group in sorted(set(groups)):
        mine = groups == group
        if mine.all():
            raise ValueError(
                f"all units are of group {group}: none is left to hold out"
            )
        rest = scores[~mine]
        p_values = conformal_p_value(rest, scores[mine])
        for alpha in plan.alphas:
            threshold = split_threshold(rest, alpha)
            rank = conformal_rank(rest.size, alpha)
            low, high = compliance_band(rest.size, rank, int(mine.sum()), BAND)
            coverage = float((scores[mine] <= threshold).mean())
            out.append(
                HeldOutGroup(
                    group=str(group),
                    alpha=float(as_fraction(alpha)),
                    n_calibration=int(rest.size),
                    n_test=int(mine.sum()),
                    rank=rank,
                    coverage=coverage,
                    band=Band(BAND, low, high),
                    in_band=low <= coverage <= high,
                    median_p_value=float(np.median(p_values)),
                )
            )
    return out


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
