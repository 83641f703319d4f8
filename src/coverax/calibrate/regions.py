"""From a score table to a calibration: what every method does with rows.

A method is a function from the kept rows of one region and group to a threshold. Which
rows count, what became of the others and what the file says of them is the same for
all methods, and stands here once.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate.features import (
    map_features,
    map_histograms,
    pack_histograms,
)
from coverax.calibrate.groups import MERGED, GroupParts, group_parts
from coverax.calibrate.raters import Cases, cases_of, rater_words
from coverax.calibrate.result import Calibration, Threshold, with_digest
from coverax.calibrate.units import CurveTable, Table, keep_rows
from coverax.choices import EmptyPolicy, PerUnit, RaterRule
from coverax.files import digest_ids
from coverax.rational import Level, as_fraction


class Policy(NamedTuple):
    """Which rows count, and what is calibrated on its own.

    Attributes:
        empty: Policy for empty references.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit; `all` keeps all of them, each unit
            weighing the same; None refuses units with several cases.
        seed: Of that draw.
        group_by: Column of groups, each with a threshold of its own.
        group_floor: Groups of fewer units count as one, `other`.
        raters: What several references of a case do: `worst`, `draw`, or None to
            refuse them.
    """

    empty: EmptyPolicy = "exclude"
    unit_column: str = "unit"
    per_unit: PerUnit | None = None
    seed: int = 0
    group_by: str | None = None
    group_floor: int = 0
    raters: RaterRule | None = None


class Part(NamedTuple):
    """Cases that get one threshold together.

    Facts of cases are columns at `rows`; what depends on the reference goes through
    `cases.worst`.
    """

    region: str
    group: str
    cases: Cases

    @property
    def rows(self) -> np.ndarray:
        """One row of each case."""
        return self.cases.rows


def calibrate_parts(
    table: CurveTable,
    threshold_fn: Callable[[Part], Threshold],
    statement_fn: Callable[[list[Threshold]], str],
    policy: Policy,
    *,
    method: str,
    alpha: Level,
    delta: Level | None,
    options: dict[str, Any],
) -> Calibration:
    """Apply a method to every region and group of a table.

    Raises:
        ValueError: Cases cannot calibrate (see `keep_rows`), or have no group.
    """
    thresholds: list[Threshold] = []
    excluded = {why: set(ids) for why, ids in table.excluded.items()}
    units = table.column(policy.unit_column)
    used: set[str] = set()
    reference: dict[str, dict[str, list[Any]]] = {}
    merged: dict[str, list[str]] = {}
    for region in list(dict.fromkeys(table.column("region"))):
        kept = keep_rows(
            table,
            region,
            empty=policy.empty,
            unit_column=policy.unit_column,
            per_unit=policy.per_unit,
            seed=policy.seed,
            raters=policy.raters,
        )
        groups = _groups(table, kept.rows, policy)
        merged[region] = groups.small
        for group, rows in groups.rows.items():
            cases = cases_of(table.column("case_id"), rows, kept.references)
            thresholds.append(threshold_fn(Part(region, group, cases)))
        used |= set(units[kept.rows])
        if table.definition.grid:  # a lean table calibrates, but cannot be monitored
            reference[region] = _reference(table, region, policy)
        for why, ids in kept.excluded.items():
            excluded.setdefault(why, set()).update(ids)
    calibration = Calibration(
        method=method,
        alpha=float(as_fraction(alpha)),
        delta=None if delta is None else float(as_fraction(delta)),
        n_cases=len(set(table.column("case_id"))),
        n_units=min(t.n_units for t in thresholds),
        thresholds=tuple(thresholds),
        excluded={why: tuple(sorted(ids)) for why, ids in excluded.items()},
        options={
            "empty": policy.empty,
            "unit_column": policy.unit_column,
            "per_unit": policy.per_unit,
            "seed": policy.seed if has_draw(policy) else None,
            "raters": policy.raters,
        }
        | _group_options(policy, merged)
        | options
        | ({"reference": reference} if reference else {}),
        score_definition=table.definition.to_json(),
        cases_digest=table.cases_digest,
        unit_digests=unit_digests(used),
        statement=statement_fn(thresholds),
    )
    return with_digest(calibration)


def unit_digests(units: set[str]) -> tuple[str, ...]:
    """Short hashes of units, sorted: recognisable, but no list of names."""
    return tuple(sorted(digest_ids([unit])[:12] for unit in units))


def has_draw(policy: Policy) -> bool:
    """Whether a case of each unit, or a rater of each case, is drawn."""
    return policy.per_unit == "one" or policy.raters == "draw"


def whom(policy: Policy) -> str:
    """Whom a statement speaks of."""
    text = "a case drawn at random from a new unit" if policy.per_unit else "a new case"
    if policy.empty == "exclude":
        text += " with a non-empty reference"
    if policy.group_by:
        text += f" of a calibrated {policy.group_by}"
    return text


def scope(thresholds: list[Threshold], policy: Policy) -> str:
    """What a statement holds for on its own, in words."""
    text = ""
    if len({t.region for t in thresholds}) > 1:
        text += "It holds for each region on its own, not for all of them jointly. "
    if policy.group_by:
        text += (
            f"It holds within each {policy.group_by} on its own, not for all of them at "
            "once; it must be known without the reference. "
        )
    if policy.group_floor and any(t.group == MERGED for t in thresholds):
        text += (
            f"Those of fewer than {policy.group_floor} units count as one, {MERGED}: it "
            "holds for them together, not within each. "
        )
    return text + rater_words(policy.raters)


def _groups(table: Table, kept: np.ndarray, policy: Policy) -> GroupParts:
    """Row numbers of every group; of all kept rows where there is one for all."""
    rows = np.flatnonzero(kept)
    if policy.group_by is None:
        return GroupParts({"": rows}, [])
    groups = grouping(table, policy.group_by).astype(object)[rows]
    missing = np.array([g is None or g == "" or g != g for g in groups])
    if missing.any():
        first = table.column("case_id")[rows[missing]][0]
        raise ValueError(
            f"{missing.sum()} cases have no {policy.group_by}, the first is case {first}"
        )
    names = [str(group) for group in groups]
    parts = group_parts(
        names, table.column(policy.unit_column)[rows], policy.group_floor
    )
    return GroupParts(
        {g: rows[places] for g, places in parts.rows.items()}, parts.small
    )


def grouping(table: Table, name: str) -> np.ndarray:
    """A column of groups; a score table refuses what a new case does not know."""
    own = getattr(table, "grouping", table.column)
    return own(name)


def _reference(table: CurveTable, region: str, policy: Policy) -> dict[str, list[Any]]:
    """Label-free features of the cohort, sorted: no case to be found.

    Of one case a unit, empty references too: new scans come without a reference, so
    none of them can be left out for an empty one.
    """
    scans = keep_rows(
        table,
        region,
        empty="include",
        unit_column=policy.unit_column,
        per_unit="one",
        seed=policy.seed,
        raters=policy.raters,
    )
    n_predicted = table.grid_curves().n_predicted[scans.rows]
    n_voxels = table.column("n_voxels")[scans.rows]
    features = map_features(n_voxels, n_predicted)
    histograms = map_histograms(n_voxels, n_predicted)
    return {name: sorted(values.tolist()) for name, values in features.items()} | {
        "histogram": pack_histograms(histograms)
    }


def _group_options(policy: Policy, merged: dict[str, list[str]]) -> dict[str, Any]:
    if policy.group_by is None:
        return {}
    return {
        "group_by": policy.group_by,
        "group_floor": policy.group_floor,
        "merged_groups": merged,
    }
