"""Intervals in mL of the volume of a structure of a new case, or of its change."""

import math
from dataclasses import replace

import numpy as np

from coverax.calibrate.change import (
    Measured,
    Pairs,
    change_score,
    measured,
    pairs_of_table,
)
from coverax.calibrate.fnr import check_combination
from coverax.calibrate.hierarchical import hierarchical_threshold
from coverax.calibrate.interval import Interval
from coverax.calibrate.map_facts import check_counts, check_voxels
from coverax.calibrate.policy import Policy
from coverax.calibrate.record import VolumeRecord
from coverax.calibrate.result import Calibration, Status, Threshold, with_digest
from coverax.calibrate.seal import (
    Part,
    calibrate_parts,
    nothing_known,
    rank_and_status,
    scope,
    threshold_of_part,
    whom,
)
from coverax.calibrate.seen import check_sources, seen_of
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.statements import lost_first
from coverax.calibrate.units import check_one_model
from coverax.choices import OneSided, Regions, VolumeScale
from coverax.rational import Level, as_fraction, check_level
from coverax.table import ScoreTable

WITH_EMPTY = Policy(empty="include")
_WHAT = "an interval of the volume"


def calibrate_volume(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = WITH_EMPTY,
    *,
    delta: Level | None = None,
    estimate: str = "cut=0.5",
    scale: VolumeScale = "mass",
    one_sided: OneSided | None = None,
    regions: Regions = "each",
    change: bool = False,
) -> Calibration:
    """Interval of the volume of the reference of a new case, from its map alone.

    The score of a case is `|V - Vhat| / scale`, all of it read from the map but the
    volume V of the reference. With exchangeable units V of a new case lies in
    `Vhat +- threshold * scale` with probability at least `1 - alpha`, marginally over
    calibration sets; with `delta` and i.i.d. units, for all but a share `delta` of them.

    With `change` the same holds of the change from the earlier to the later of the two
    visits of a new unit: the score of a pair is the error of the difference of its two
    estimates over the sum of their scales, and the pairs are exchangeable.

    Args:
        table: Scores of the calibration cohort, with voxel counts and bins.
        alpha: Tolerated probability that the volume lies outside, in (0, 1).
        policy: Which rows count. An empty reference has volume 0 and counts unless it is
            to be excluded.
        delta: Share of calibration sets for which the promise may fail; None for the
            marginal one.
        estimate: `cut=C`, voxels at or above a multiple of 1/1024, or `sum`, the sum of
            the probabilities.
        scale: What an error is divided by: `mass`, the sum of min(p, 1 - p) over the
            map; `log`, the error is that of the logarithm; `none`, it is in mL.
        one_sided: `at-least` or `at-most` bounds the volume on one side alone.
        regions: `each` promises for each region on its own, `joint` for all regions of
            a case at once, by the largest score among them.
        change: Bound the change between visits (a column `visit` of the cohort, see
            `pair_visits`); every unit has two, and both are of one group.

    Returns:
        One threshold a region and group, side `volume` or `change`; its value is an order statistic
        of the scores. Status TOO_FEW_CASES (INFEASIBLE with `delta`) where the rank lies
        beyond the last unit, VACUOUS where the score there is infinite.

    Raises:
        ValueError: A level or option is out of range, the table lacks the counts, a case
            has no size of voxels, or its cases cannot calibrate (see `keep_rows`).

    References:
        Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World.
    """
    check_level("alpha", alpha)
    check_combination(delta, policy.per_unit, None)
    interval = Interval(estimate, scale, one_sided)
    check_counts(table.definition, _WHAT, bins=interval.needs_bins)
    check_voxels(table, _WHAT)
    own_table, side = table, "volume"
    if change:
        _check_change(policy, interval)
        check_sources(table, policy.unit_column)
        check_one_model(table)  # the earlier visits too
        pairs = pairs_of_table(table, policy.unit_column, policy.group_by)
        own_table, side = pairs.later, "change"
        scores = _change_scores(pairs, interval)
    else:
        voxel_ml = np.asarray(table.column("voxel_volume_ml"), float)
        n_foreground = table.column("n_foreground")
        scores = interval.scores(table.columns, n_foreground, voxel_ml)
    if regions == "joint":
        scores = _over_regions(own_table, scores, policy)
    units = own_table.column(policy.unit_column)

    def threshold_of(part: Part) -> Threshold:
        own = part.cases.worst(scores)
        if policy.per_unit == "all":
            mine = units[part.rows]
            value = hierarchical_threshold(own, mine, alpha)
            status = Status.TOO_FEW_CASES if value == math.inf else Status.OK
            n_units, rank = len(set(mine)), None
        else:
            n_units = own.size
            rank, status = rank_and_status(n_units, alpha, delta)
            value = rank_threshold(own, rank)
        return threshold_of_part(
            part,
            side,
            own,
            value,
            n_units,
            rank=rank,
            status=status,
            whole_at=math.inf,
        )

    found = calibrate_parts(
        own_table,
        threshold_of,
        lambda found: _statement(
            found, alpha, delta, policy, interval, regions, change
        ),
        policy,
        replace(nothing_known(math.inf), side=side),
        method="volume",
        alpha=alpha,
        delta=delta,
        record=VolumeRecord(estimate, scale, one_sided, regions, change or None),
    )
    return _with_both_visits(found, table) if change else found


def _check_change(policy: Policy, interval: Interval) -> None:
    """Refuse options that a change has no meaning for.

    Raises:
        ValueError: One is asked for.
    """
    if policy.empty != "include":
        raise ValueError(
            "a change counts whatever the references hold: an empty one is of volume 0 "
            "(empty='include', --empty include)"
        )
    if policy.per_unit is not None:
        raise ValueError(
            "a change is of the two visits of a unit, which counts once: per_unit "
            "(--per-unit) goes without it"
        )
    if interval.scale == "log":
        raise ValueError(
            "a change is a difference in mL: scale must be mass or none (--scale)"
        )


def _change_scores(pairs: Pairs, interval: Interval) -> np.ndarray:
    """The score of every pair of rows."""
    first, second = (_visit_volumes(t, interval) for t in (pairs.earlier, pairs.later))
    return np.array(
        [
            change_score(interval, one, other, (true_one, true_other))
            for (one, true_one), (other, true_other) in zip(first, second, strict=True)
        ]
    )


def _visit_volumes(
    table: ScoreTable, interval: Interval
) -> list[tuple[Measured, float]]:
    """Of each row what its map says, and the volume of its reference."""
    voxel_ml = np.asarray(table.column("voxel_volume_ml"), float)
    true_ml = np.asarray(table.column("n_foreground") * voxel_ml, float)
    own = measured(interval, table.columns, voxel_ml)
    return list(zip(own, true_ml.tolist(), strict=True))


def _with_both_visits(calibration: Calibration, table: ScoreTable) -> Calibration:
    """A calibration of later visits that knows the earlier ones of its units too."""
    ids = table.column("case_id")
    seen = seen_of(
        table,
        table.units(calibration.policy.unit_column),
        calibration.policy.unit_column,
    )
    found = replace(
        calibration,
        n_cases=len(set(ids)),
        cases_digest=table.cases_digest,
        case_digests=seen.cases,
        map_digests=seen.maps,
    )
    return with_digest(found)


def _over_regions(table: ScoreTable, scores: np.ndarray, policy: Policy) -> np.ndarray:
    """Each row with the largest score over the regions of its case and rater.

    Raises:
        ValueError: Cases are left out by region, or lack one.
    """
    if policy.empty == "exclude":
        raise ValueError(
            "jointly over regions every case counts in every region: empty references "
            "are of volume 0 there (empty='include', --empty include)"
        )
    names = zip(table.column("case_id"), table.column("rater"), strict=True)
    _, owner, n_rows = np.unique(
        np.array([f"{case_id}\n{rater}" for case_id, rater in names]),
        return_inverse=True,
        return_counts=True,
    )
    n_regions = len(set(table.column("region")))
    lacking = n_rows[owner] != n_regions
    if lacking.any():
        raise ValueError(
            f"case {table.column('case_id')[lacking][0]} does not have all {n_regions} "
            "regions, and the promise is for all of them at once"
        )
    largest = np.full(n_rows.size, -np.inf)
    np.maximum.at(largest, owner, scores)
    return largest[owner]


def _bounded(policy: Policy, change: bool) -> str:
    """What is promised of whom, in words."""
    if not change:
        return f"the volume of the reference of {whom(policy)}"
    return (
        "the change of the volume of the reference from the earlier to the later visit of "
        f"{whom(policy, 'a new unit')}"
    )


def _statement(
    thresholds: list[Threshold],
    alpha: Level,
    delta: Level | None,
    policy: Policy,
    interval: Interval,
    regions: Regions,
    change: bool,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    confidence = float(1 - as_fraction(alpha))
    ends = {
        None: "lies in the interval",
        "at-least": "is at least the lower end",
        "at-most": "is at most the upper end",
    }[interval.one_sided]
    text = (
        f"With probability at least {confidence}, {_bounded(policy, change)} {ends}. "
    )
    if delta is not None:
        text += (
            f"This holds for all but a share {float(as_fraction(delta))} of "
            "calibration sets, and needs the units to be independent and identically "
            "distributed. "
        )
    else:
        text += (
            "The probability is over the calibration units and the new one together "
            "(marginal), and needs them to be exchangeable. "
        )
    text += (
        f"It speaks of the {'change' if change else 'volume'} that the raters of these references would mark, not of "
        "the mask written beside it, nor of single voxels. It assumes that the model "
        "never saw a calibration or new unit, and that estimate, scale and alpha were "
        "fixed before looking. "
    )
    words = scope(thresholds, policy, joint=regions == "joint")
    lost = "".join(
        f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): the only safe "
        "interval has no ends. "
        for t in thresholds
        if t.status != Status.OK
    )
    some_hold = any(t.status == Status.OK for t in thresholds)
    return lost_first(text + words, lost, some_hold=some_hold).strip()
