"""Calibrations from the folds of a cross-validation: each case under its own model.

Every promise here rests on one that holds within a fold, whose model is fixed and never
saw it. What joins the folds is an inequality that needs nothing else: twice a mean of
p-values is a p-value, a union misses no more than any of its parts, and what a vote
misses a share of the folds has missed.
"""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from coverax.calibrate.controlled import calibrate_crc
from coverax.calibrate.fnr import calibrate_fnr
from coverax.calibrate.fold_rows import (
    each_fold,
    fold_rows,
    keep_folds,
    scores_of_folds,
)
from coverax.calibrate.fold_statements import closed, fold_set_statement
from coverax.calibrate.folds import (
    Folds,
    SideFolds,
    majority_alpha,
    votes_needed,
)
from coverax.calibrate.joint import spend
from coverax.calibrate.losses import LOSSES
from coverax.calibrate.policy import DEFAULT_POLICY, Policy
from coverax.calibrate.record import PartsRecord, RiskRecord, SetsRecord
from coverax.calibrate.result import (
    Calibration,
    Status,
    Threshold,
    informative,
)
from coverax.calibrate.seal import sealed, whom
from coverax.choices import Joint, LossName, Method, VoteName
from coverax.rational import Level, as_fraction, check_level
from coverax.table import SIDES, ScoreTable, Transform

SETS_POLICY = Policy(empty="include")


def calibrate_fold_sets(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = SETS_POLICY,
    *,
    inner: str | None = None,
    outer: str | None = None,
    joint: Joint = "bonferroni",
    alpha_inner: Level | None = None,
) -> Calibration:
    """Inner and outer sets of a new case from the maps of all folds' models.

    With a new unit that is exchangeable with the units of each fold, the inner set lies
    within the reference and the outer set holds all of it: both at once with
    probability at least `1 - alpha` under `bonferroni`, each on its own under `each`. A
    voxel is off the outer set (in the inner one) where the mean of its p-values over
    folds is at most half of the level of its side.

    Args:
        table: Scores of the cohort, each case under the model of its own fold, with a
            column `fold`.
        alpha: Tolerated probability that the promise fails, in (0, 1).
        policy: Which rows count; empty references do by default.
        inner: Transform of the inner set; the table's only one.
        outer: Transform of the outer set; the table's only one.
        joint: `each`, or `bonferroni`, which splits alpha.
        alpha_inner: What of alpha the inner side gets; half by default.

    Returns:
        One threshold a region and side: the score above which a voxel is left out where
        all folds agree on it. Status TOO_FEW_CASES where the folds are too small for
        any voxel to be left out.

    Raises:
        ValueError: There are fewer than two folds, a unit lies in two or a case in
            none, a transform tolerates a share of the reference or a rule was asked for
            that is not proved for folds, or cases cannot calibrate (see `keep_rows`).

    References:
        Vovk and Wang (2020), Combining p-values via averaging.
    """
    if joint not in ("each", "bonferroni"):
        raise ValueError(
            f"joint={joint} has no proof for sets from folds: each or bonferroni"
        )
    policy.check_no_weights()
    _check_policy(policy)
    parts = fold_rows(table, policy)
    levels = spend(joint, alpha, alpha_inner)
    chosen = {
        side: table.side_transform(side, spec)
        for side, spec in zip(SIDES, (inner, outer), strict=True)
    }
    for transform in chosen.values():
        _check_exact(transform)
    kept = keep_folds(table, parts, policy)
    level_of = {"inner": levels.inner, "outer": levels.outer}
    sides = [
        SideFolds(
            region,
            side,
            level_of[side] / 2,
            scores_of_folds(table, parts, found, chosen[side]),
        )
        for region, found in kept.items()
        for side in SIDES
    ]
    thresholds = [_side_threshold(each, chosen[each.side]) for each in sides]
    return sealed(
        table,
        kept,
        thresholds,
        policy,
        method="sets",
        alpha=alpha,
        delta=None,
        folds=Folds(tuple(parts), None, tuple(sides)),
        record=SetsRecord(
            joint=joint,
            regions="each",
            inner=chosen["inner"].spec,
            outer=chosen["outer"].spec,
            alpha_inner=str(levels.inner),
            alpha_outer=str(levels.outer),
        ),
        statement=fold_set_statement(thresholds, levels, joint, policy, len(parts)),
    )


def calibrate_fold_crc(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName = "fnr",
    vote: VoteName | Level = "majority",
) -> Calibration:
    """Cuts of all folds' maps whose vote keeps the expected loss at most alpha.

    A voxel is in the mask where more than a share `vote` of the folds mark it: at least
    v of K. It is missed only where `K - v + 1` of them miss it, so that the vote misses
    at most `K / (K - v + 1)` of what they miss in the mean, and each is calibrated at
    `alpha (K - v + 1) / K`. Marginally over calibration sets, for a new unit
    exchangeable with those of each fold.

    Args:
        table: Scores of the cohort with a column `fold`, with loss curves.
        alpha: Tolerated expected loss of the vote, in (0, 1).
        policy: Which rows count.
        loss: `fnr`; with the union `missed_lesions` too.
        vote: `majority`, `union`, or a share in [0, 1).

    Returns:
        One threshold a region and fold; INFEASIBLE where no cut passes.

    Raises:
        ValueError: The vote is proved for other losses alone, there are fewer than two
            folds, a unit lies in two or a case in none, or cases cannot calibrate.
    """
    _check_policy(policy)
    parts = fold_rows(table, policy)
    names = tuple(parts)
    votes = votes_needed(vote, len(names))
    _check_loss(loss, votes)
    level = majority_alpha(alpha, Fraction(votes - 1, len(names)))
    each = each_fold(
        table, parts, lambda part: calibrate_crc(part, level, policy, loss=loss)
    )
    promise = (
        f"For {whom(policy)} the expected {LOSSES[loss].words} is at most "
        f"{float(as_fraction(alpha))} in the mask of the voxels that at least {votes} of "
        f"{len(names)} folds mark, marginally over calibration sets. It speaks of the "
        "mean over new cases, not of every case. Each fold is calibrated at "
        f"{float(level):.6g} on its own cases: "
    )
    promise += (
        "the union misses no more than any of the masks. "
        if votes == 1
        else f"a voxel is missed only where {len(names) - votes + 1} or more folds miss it. "
    )
    return _join(
        table,
        each,
        policy,
        promise,
        Folds(names, votes),
        method="crc",
        alpha=alpha,
        level=level,
    )


def calibrate_fold_fnr(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    tolerance: Level | None = None,
) -> Calibration:
    """Cuts of all folds' maps whose union keeps the false-negative rate of a new case.

    The union of the masks misses no more than any of them, and each misses more than
    `tolerance` of the foreground with probability at most `alpha`: so does the union,
    for a new unit exchangeable with those of a fold, marginally.

    Args:
        table: Scores of the cohort with a column `fold`.
        alpha: Tolerated probability that a new case misses more, in (0, 1).
        policy: Which rows count.
        tolerance: Tolerated false-negative rate; the table's, where it has one.

    Returns:
        One threshold a region and fold; TOO_FEW_CASES where a fold has too few units.

    Raises:
        ValueError: There are fewer than two folds, a unit lies in two or a case in
            none, or cases cannot calibrate.
    """
    _check_policy(policy)
    parts = fold_rows(table, policy)
    own = policy._asdict()
    each = each_fold(
        table,
        parts,
        lambda part: calibrate_fnr(part, alpha, tolerance=tolerance, **own),
    )
    chosen = next(iter(each.values())).thresholds[0].tolerance
    promise = (
        f"With probability at least {float(1 - as_fraction(alpha))}, the union of the "
        f"masks of {len(parts)} folds misses at most {chosen} of the "
        f"reference voxels of {whom(policy)}. Each mask is calibrated at "
        f"{float(as_fraction(alpha))} on the cases of its fold, and the union misses no "
        "more than any of them. "
    )
    return _join(
        table,
        each,
        policy,
        promise,
        Folds(tuple(parts), 1),
        method="fnr",
        alpha=alpha,
        level=check_level("alpha", alpha),
    )


def _check_policy(policy: Policy) -> None:
    """Refuse what is not proved for folds."""
    if policy.group_by is not None:
        raise ValueError(
            "groups are not calibrated from folds: a fold has too few units of each, and "
            "the promise is stated for all"
        )
    if policy.raters == "draw":
        raise ValueError(
            "a drawn rater is not proved for folds: calibrate against the worst "
            "(raters='worst', --raters worst)"
        )


def _check_exact(transform: Transform) -> None:
    if transform.tolerance:
        raise ValueError(
            f"transform {transform} tolerates a share of the reference: each fold may "
            "miss other voxels of it, so the mean of p-values does not keep the share; "
            "sets from folds take transforms without a tolerance"
        )


def _check_loss(loss: LossName, votes: int) -> None:
    allowed = ("fnr", "missed_lesions") if votes == 1 else ("fnr",)
    if loss not in allowed:
        raise ValueError(
            f"loss {getattr(loss, 'name', loss)} has no proof for folds with {votes} votes needed: a vote is "
            "proved to keep the share of missed voxels (fnr), a union that of missed "
            "lesions too"
        )


def _side_threshold(side: SideFolds, transform: Transform) -> Threshold:
    status = Status.OK
    if not side.known.can_leave_out(side.level):
        n_units = sum(side.known.sizes)
        status = Status.TOO_FEW_CASES if n_units else Status.EMPTY_GROUP
    value = side.known.largest_kept(side.level)
    if side.side == "outer":
        status = informative(status, value, transform.kind.whole_at)
    return Threshold(
        region=side.region,
        group="",
        side=side.side,
        tolerance=transform.tolerance,
        n_units=sum(side.known.sizes),
        rank=None,
        status=status,
        value=value,
    )


def _join(
    table: ScoreTable,
    each: Mapping[str, Calibration],
    policy: Policy,
    promise: str,
    folds: Folds,
    *,
    method: Method,
    alpha: Level,
    level: Fraction,
) -> Calibration:
    """One calibration of those of all folds, region by region."""
    first = next(iter(each.values()))
    named = [replace(t, fold=name) for name, c in each.items() for t in c.thresholds]
    regions = list(dict.fromkeys(t.region for t in named))
    thresholds = sorted(named, key=lambda t: regions.index(t.region))
    lost = "".join(
        f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): this fold marks the "
        "whole volume. "
        for t in thresholds
        if t.status != Status.OK
    )
    record = first.record
    if isinstance(record, RiskRecord):
        record = replace(record, attainable=[])  # it is that of one fold
    return sealed(
        table,
        keep_folds(table, fold_rows(table, policy), policy),
        thresholds,
        policy,
        method=method,
        alpha=alpha,
        delta=None,
        folds=folds,
        record=record,
        parts=PartsRecord(fold_alpha=str(level)),  # no reference: it is of one model
        statement=closed(promise, lost, thresholds, policy),
    )
