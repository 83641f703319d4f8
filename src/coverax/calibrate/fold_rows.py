"""The rows of a table that count in each fold."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Bool

from coverax.calibrate.folds import FoldScores, sorted_folds
from coverax.calibrate.policy import DEFAULT_POLICY, Policy
from coverax.calibrate.raters import cases_of
from coverax.calibrate.seal import keep_regions
from coverax.calibrate.units import Kept
from coverax.shown import plural
from coverax.table import FOLD, ScoreTable, Transform

T = TypeVar("T")


def fold_rows(
    table: ScoreTable, policy: Policy = DEFAULT_POLICY
) -> dict[str, Bool[np.ndarray, " rows"]]:
    """The rows of each fold, by its name, in the order in which maps are given.

    Raises:
        ValueError: The table has no column `fold`, a case lies in none, a unit in two,
            there are fewer than two, or one lacks a region.
    """
    if FOLD not in table.columns:
        raise ValueError(
            "the table has no column fold: name the fold of each case in cohort.csv "
            "(`coverax import nnunet --folds` does) and score again"
        )
    folds = np.array([str(name).strip() for name in table.column(FOLD)], object)
    outside = table.column("case_id")[folds == ""]
    if outside.size:
        raise ValueError(
            f"{plural(outside.size, 'case', 'lies', 'lie')} in no fold, the first is "
            f"case {outside[0]}: every row of cohort.csv names one"
        )
    home: dict[str, str] = {}
    for unit, fold in zip(table.units(policy.unit_column), folds, strict=True):
        if home.setdefault(str(unit), fold) != fold:
            raise ValueError(
                f"unit {unit} lies in fold {home[str(unit)]} and in fold {fold}: the "
                "model of a fold has seen it in another; a unit belongs to one fold"
            )
    names = [str(name) for name in sorted_folds(sorted(set(folds)))]
    if len(names) < 2:
        raise ValueError(
            f"folds are two or more, the table has {', '.join(names)} alone"
        )
    parts = {name: folds == name for name in names}
    regions = table.column("region")
    for name, rows in parts.items():
        lacking = sorted(set(regions) - set(regions[rows]))
        if lacking:
            raise ValueError(f"fold {name} has no case of region {', '.join(lacking)}")
    return parts


def each_fold(
    table: ScoreTable, parts: Mapping[str, np.ndarray], fn: Callable[[ScoreTable], T]
) -> dict[str, T]:
    """Something of the rows of every fold.

    Raises:
        ValueError: A fold cannot be calibrated; it is named.
    """
    found: dict[str, T] = {}
    for name, rows in parts.items():
        try:
            found[name] = fn(table.select(rows))
        except ValueError as error:
            raise ValueError(f"fold {name}: {error}") from None
    return found


def keep_folds(
    table: ScoreTable, parts: Mapping[str, np.ndarray], policy: Policy
) -> dict[str, Kept]:
    """The rows of every region that count, each fold settled on its own."""
    each = each_fold(table, parts, lambda part: keep_regions(part, policy))
    out: dict[str, Kept] = {}
    for region in dict.fromkeys(table.column("region")):
        rows, references = np.zeros((2, table.n_rows), bool)
        excluded: dict[str, tuple[str, ...]] = {}
        for name, mine in parts.items():
            found = each[name][region]
            rows[mine], references[mine] = found.rows, found.references
            for why, ids in found.excluded.items():
                excluded[why] = (*excluded.get(why, ()), *ids)
        out[region] = Kept(rows, references, excluded)
    return out


def scores_of_folds(
    table: ScoreTable,
    parts: Mapping[str, np.ndarray],
    found: Kept,
    transform: Transform,
) -> FoldScores:
    """Scores of a region in each fold, the worst over references, ascending."""
    ids, own = table.column("case_id"), table.side_scores(transform)
    each: list[np.ndarray] = []
    for mine in parts.values():
        rows = np.flatnonzero(found.rows & mine)
        cases = cases_of(ids, rows, found.references & mine)
        each.append(np.sort(cases.worst(own)) if rows.size else np.zeros(0))
    return FoldScores(tuple(parts), tuple(each))
