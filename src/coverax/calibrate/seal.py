"""From a score table to a calibration: what every method does with rows.

A method is a function from the kept rows of one region and group to a threshold. Which
rows count, what became of the others and what the file says of them is the same for
all methods, and stands here once.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from coverax.calibrate.features import (
    map_features,
    map_histograms,
    pack_histograms,
)
from coverax.calibrate.folds import Folds
from coverax.calibrate.groups import MERGED, GroupParts, group_parts
from coverax.calibrate.policy import Policy
from coverax.calibrate.ranks import conformal_rank, pac_rank
from coverax.calibrate.raters import Cases, cases_of, rater_words
from coverax.calibrate.record import (
    NO_PARTS,
    FnrRecord,
    PartsRecord,
    Record,
    RiskRecord,
    TriageRecord,
    VolumeRecord,
)
from coverax.calibrate.result import (
    Calibration,
    Status,
    Threshold,
    informative,
    with_digest,
)
from coverax.calibrate.seen import Seen, check_sources, seen_of
from coverax.calibrate.units import Kept, all_empty, keep_rows
from coverax.choices import Method
from coverax.provenance import known_column
from coverax.rational import Level, as_fraction
from coverax.shown import plural
from coverax.table import ScoreTable


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
    table: ScoreTable,
    threshold_fn: Callable[[Part], Threshold | list[Threshold]],
    statement_fn: Callable[[list[Threshold]], str],
    policy: Policy,
    nothing: Threshold,
    *,
    method: Method,
    alpha: Level,
    delta: Level | None,
    record: FnrRecord | RiskRecord | VolumeRecord | TriageRecord,
) -> Calibration:
    """Apply a method to every region and group of a table.

    A region of which every reference is empty gets `nothing`, status EMPTY_GROUP.

    Raises:
        ValueError: Cases cannot calibrate (see `keep_rows`), have no group, or every
            reference of every region is empty; or small groups are to count as one with
            confidence, which no theorem covers.
    """
    policy.check_floor(delta)
    thresholds: list[Threshold] = []
    merged: dict[str, list[str]] = {}
    kept = keep_regions(table, policy)
    for region, found in kept.items():
        if not found.rows.any():
            thresholds.append(replace(nothing, region=region))
            continue
        groups = _groups(table, found.rows, policy)
        merged[region] = groups.small
        for group, rows in groups.rows.items():
            cases = cases_of(table.column("case_id"), rows, found.references)
            made = threshold_fn(Part(region, group, cases))
            thresholds.extend(made if isinstance(made, list) else [made])
    return sealed(
        table,
        kept,
        thresholds,
        policy,
        method=method,
        alpha=alpha,
        delta=delta,
        record=record,
        parts=PartsRecord(
            merged_groups=None if policy.group_by is None else merged,
            reference=map_reference(table, kept, policy),
        ),
        statement=statement_fn(thresholds),
    )


def keep_regions(
    table: ScoreTable,
    policy: Policy,
    *,
    none_too: bool = True,
    allowed: Sequence[str] = (),
) -> dict[str, Kept]:
    """The rows of every region that count; none where every reference is empty.

    Args:
        table: The score table.
        policy: Which rows count.
        none_too: Let some regions have none, instead of raising.
        allowed: Parts of the split that may occur though something was learned from them.

    Raises:
        ValueError: Cases cannot calibrate, see `check_sources` and `keep_rows`, or no
            region has any.
    """
    check_sources(table, policy.unit_column, allowed=allowed)
    kept = {
        region: keep_rows(table, region, policy, none_too=none_too)
        for region in dict.fromkeys(table.column("region"))
    }
    if not any(found.rows.any() for found in kept.values()):
        lines = [all_empty(name, found.excluded) for name, found in kept.items()]
        raise ValueError("; ".join(lines))
    return kept


def seen_by(table: ScoreTable, kept: Mapping[str, Kept], policy: Policy) -> Seen:
    """Digests of the units that count, with all their cases and maps."""
    units = table.units(policy.unit_column)
    used = {str(u) for found in kept.values() for u in units[found.rows]}
    return seen_of(table, used, policy.unit_column)


def sealed(
    table: ScoreTable,
    kept: Mapping[str, Kept],
    thresholds: list[Threshold],
    policy: Policy,
    *,
    method: Method,
    alpha: Level,
    delta: Level | None,
    record: Record,
    statement: str,
    parts: PartsRecord = NO_PARTS,
    folds: Folds | None = None,
) -> Calibration:
    """The calibration of thresholds: whose they are, and the digest of its file.

    Args:
        table: Scores of the calibration cohort.
        kept: What `keep_regions` made of it.
        thresholds: One a region, group and side.
        policy: Which rows count.
        method: Which guarantee it is.
        alpha: Its level.
        delta: Share of calibration sets for which it may fail; None where it is marginal.
        record: What else shaped the result.
        statement: The guarantee in words.
        parts: What became of regions and groups.
        folds: How the maps of several models make one mask.
    """
    excluded = {why: set(ids) for why, ids in table.excluded.items()}
    for found in kept.values():
        for why, ids in found.excluded.items():
            excluded.setdefault(why, set()).update(ids)
    seen = seen_by(table, kept, policy)
    calibration = Calibration(
        method=method,
        alpha=float(as_fraction(alpha)),
        delta=None if delta is None else float(as_fraction(delta)),
        n_cases=len(set(table.column("case_id"))),
        n_units=min(t.n_units for t in thresholds),
        thresholds=tuple(thresholds),
        excluded={why: tuple(sorted(ids)) for why, ids in excluded.items()},
        policy=policy.settled,
        record=record,
        parts=replace(parts, gap_above_zero=gaps_of(table, thresholds)),
        folds=folds,
        definition=table.definition,
        cases_digest=table.cases_digest,
        unit_digests=seen.units,
        case_digests=seen.cases,
        map_digests=seen.maps,
        statement=statement,
    )
    return with_digest(calibration)


def gaps_of(
    table: ScoreTable, thresholds: Sequence[Threshold]
) -> dict[str, float] | None:
    """Of regions whose cut is the whole volume, the smallest positive value of a map."""
    gaps = known_column(table, "gap_above_zero")
    bad = {t.region for t in thresholds if t.status == Status.VACUOUS}
    if gaps is None or not bad:
        return None
    regions = table.column("region")
    least = {region: float(gaps[regions == region].min()) for region in sorted(bad)}
    return {region: gap for region, gap in least.items() if math.isfinite(gap)}


def threshold_of_part(
    part: Part,
    side: str,
    scores: np.ndarray,
    value: float,
    n_units: int,
    *,
    rank: int | None,
    status: Status,
    tolerance: float | None = None,
    whole_at: float = 0.0,
) -> Threshold:
    """What was found for a part: how many scores tie with it, and whether it says anything.

    Args:
        part: Whose threshold it is.
        side: What it bounds.
        scores: Scores of the units that count.
        value: The threshold.
        n_units: Units that count.
        rank: Of the threshold among them; None where it is no plain one.
        status: What the method says.
        tolerance: Tolerated share of a case, where there is one.
        whole_at: Least value that says nothing, see `informative`.
    """
    return Threshold(
        region=part.region,
        group=part.group,
        side=side,
        tolerance=tolerance,
        n_units=n_units,
        rank=rank,
        status=informative(status, value, whole_at),
        value=value,
        n_tied=int(np.count_nonzero(scores == value)),
    )


def rank_and_status(n: int, alpha: Level, delta: Level | None) -> tuple[int, Status]:
    """The rank that a threshold of `n` units has, and whether there are enough for it."""
    rank = conformal_rank(n, alpha) if delta is None else pac_rank(n, alpha, delta)
    if rank <= n:
        return rank, Status.OK
    return rank, Status.TOO_FEW_CASES if delta is None else Status.INFEASIBLE


def nothing_known(
    value: float, tolerance: float | None = None, side: str = "lesion"
) -> Threshold:
    """What a region without a unit that counts gets: no promise, the safe end."""
    return Threshold(
        region="",
        group="",
        side=side,
        tolerance=tolerance,
        n_units=0,
        rank=None,
        status=Status.EMPTY_GROUP,
        value=value,
    )


def whom(policy: Policy, new: str = "a new case") -> str:
    """Whom a statement speaks of."""
    text = "a case drawn at random from a new unit" if policy.per_unit else new
    if policy.per_unit == "all" and policy.group_by:
        # Few cases of a group weigh as much there as many: a draw among them.
        text = "a case drawn at random from those of a new unit"
    if policy.empty == "exclude":
        text += " with a non-empty reference"
    if policy.group_by:
        text += f" of a calibrated {policy.group_by}"
    if policy.group_floor:
        text += f", or of one that {MERGED} serves"
    return text


def scope(thresholds: list[Threshold], policy: Policy, *, joint: bool = False) -> str:
    """What a statement holds for on its own, in words; of regions jointly if so."""
    text = ""
    if len({t.region for t in thresholds}) > 1 and joint:
        text += "It holds for all regions of a case jointly. "
    elif len({t.region for t in thresholds}) > 1:
        text += "It holds for each region on its own, not for all of them jointly. "
    if policy.group_by:
        text += (
            f"It holds within each {policy.group_by} on its own, not for all of them at "
            "once; it must be known without the reference. "
        )
    if policy.group_floor:
        text += (
            f"Those of fewer than {policy.group_floor} units count as one, {MERGED}, and "
            "so do those never met: it holds for all of them together, not within each. "
        )
    return text + rater_words(policy.raters)


def _groups(table: ScoreTable, kept: np.ndarray, policy: Policy) -> GroupParts:
    """Row numbers of every group; of all kept rows where there is one for all."""
    rows = np.flatnonzero(kept)
    if policy.group_by is None:
        return GroupParts({"": rows}, [])
    groups = table.grouping(policy.group_by).astype(object)[rows]
    missing = np.array([g is None or g == "" or g != g for g in groups])
    if missing.any():
        first = table.column("case_id")[rows[missing]][0]
        raise ValueError(
            f"{plural(int(missing.sum()), 'case', 'has', 'have')} no "
            f"{policy.group_by}, the first is case {first}"
        )
    names = [str(group) for group in groups]
    parts = group_parts(
        names, table.units(policy.unit_column)[rows], policy.group_floor
    )
    return GroupParts(
        {g: rows[places] for g, places in parts.rows.items()}, parts.small
    )


def map_reference(
    table: ScoreTable, kept: Mapping[str, Kept], policy: Policy
) -> dict[str, dict[str, list[float] | list[str]]] | None:
    """What `monitor` compares new maps with, by region that counts.

    None of a lean table: it calibrates, but cannot be monitored.
    """
    if not table.definition.grid:
        return None
    counted = [region for region, found in kept.items() if found.rows.any()]
    return {region: _reference(table, region, policy) for region in counted} or None


def _reference(
    table: ScoreTable, region: str, policy: Policy
) -> dict[str, list[float] | list[str]]:
    """Label-free features of the cohort, sorted: no case to be found.

    Of one case a unit, empty references too: new scans come without a reference, so
    none of them can be left out for an empty one.
    """
    scans = keep_rows(table, region, policy._replace(empty="include", per_unit="one"))
    n_predicted = table.grid_curves().n_predicted[scans.rows]
    n_voxels = table.column("n_voxels")[scans.rows]
    features = map_features(n_voxels, n_predicted)
    histograms = map_histograms(n_voxels, n_predicted)
    return {name: sorted(values.tolist()) for name, values in features.items()} | {
        "histogram": pack_histograms(histograms)
    }
