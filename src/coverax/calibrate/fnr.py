"""Conformal Lesion Segmentation: false-negative-rate control of a new case."""

import math
from dataclasses import replace

import numpy as np

from coverax.calibrate.hierarchical import hierarchical_threshold
from coverax.calibrate.policy import Policy
from coverax.calibrate.record import FnrRecord
from coverax.calibrate.result import Calibration, Status, Threshold
from coverax.calibrate.seal import (
    Part,
    calibrate_parts,
    nothing_known,
    rank_and_status,
    scope,
    threshold_of_part,
    whom,
)
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.statements import lost_first
from coverax.calibrate.threshold import SIDE_OF, WHOLE_AT
from coverax.calibrate.ties import broken_rank_threshold, tie_numbers
from coverax.calibrate.weighted import check_weights, weighted_threshold
from coverax.choices import EmptyPolicy, FnrScore, PerUnit, RaterRule
from coverax.rational import Level, as_fraction, check_level
from coverax.table import ScoreTable, fnr_scores


def calibrate_fnr(
    table: ScoreTable,
    alpha: Level,
    *,
    tolerance: Level | None = None,
    score: FnrScore = "critical",
    delta: Level | None = None,
    empty: EmptyPolicy = "exclude",
    unit_column: str = "unit",
    per_unit: PerUnit | None = None,
    seed: int = 0,
    group_by: str | None = None,
    group_floor: int = 0,
    weights: str | None = None,
    largest_weight: Level | None = None,
    raters: RaterRule | None = None,
    break_ties: bool = False,
) -> Calibration:
    """Threshold that keeps the false-negative rate of a new case below a tolerance.

    With exchangeable units, the mask `{probs >= probability}` of a new case misses more
    than `tolerance` of its foreground with probability at most `alpha`, marginally over
    calibration sets and for each region on its own. With `delta` and i.i.d. units, that
    holds for all but a share `delta` of calibration sets.

    With `score="mass"` the same holds for the mask `{probs >= c}` whose cut c each map has
    for itself: the largest of its values with more than the threshold's share of the sum
    of its probabilities at or above it.

    Args:
        table: Scores of the calibration cohort.
        alpha: Tolerated probability that a new case misses more, in (0, 1).
        tolerance: Tolerated false-negative rate; the table's, where it has one.
        score: `critical`, one cut for all maps; or `mass`, of tables scored with it.
        delta: Share of calibration sets for which the promise may fail; None for the
            marginal one.
        empty: Policy for empty references.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit; `all` keeps them, each unit
            weighing the same: the promise is then for one case of a new unit.
        seed: Seed of the draws, of cases and raters and of ties.
        group_by: Column of groups, known without the reference: each gets a threshold
            of its own and the promise holds within it.
        group_floor: Groups of fewer units are merged into one, `other`.
        weights: Column of likelihood ratios of the new population over this one.
        largest_weight: Largest weight of a new unit that is served; by default the
            largest of the column.
        raters: Where cases have several references, `worst` promises against all of
            them and `draw` against one drawn at random.
        break_ties: Break ties at random, by names and seed, so that cases tied with the
            threshold are served as often as promised and no more.

    Returns:
        One threshold a region and group; status TOO_FEW_CASES (INFEASIBLE with `delta`) where the
        rank lies beyond the last unit: the threshold is then `inf`, the whole volume.
        VACUOUS where the cut is probability 0, or the share 1, which is the whole volume
        too.

    Raises:
        ValueError: A level is out of range, the table has no such tolerance or score, or
            its cases cannot calibrate (see `keep_rows`).

    References:
        Tan et al. (2025), Conformal Lesion Segmentation for 3D Medical Images.
        Romano, Sesia and Candes (2020), Classification with valid and adaptive coverage,
        for scores that are shares of a mass.
    """
    check_level("alpha", alpha)
    chosen = choose_tolerance(table, tolerance)
    policy = Policy(empty, unit_column, per_unit, seed, group_by, group_floor, raters)
    check_combination(delta, per_unit, weights)
    if break_ties and (weights is not None or per_unit == "all"):
        raise ValueError("ties are broken among units of one case and equal weight")
    if weights is not None and largest_weight is None:
        largest_weight = max(check_weights(table.weights(weights)))
    scores, side = fnr_scores(table, chosen, score), SIDE_OF[score]
    units = table.units(unit_column)

    record = FnrRecord(tie_seed=seed if break_ties else None)
    if weights is not None and largest_weight is not None:
        record = FnrRecord(None, weights, float(as_fraction(largest_weight)))

    def threshold_of(part: Part) -> Threshold:
        own = part.cases.worst(scores)
        if weights is not None and largest_weight is not None:
            w = table.weights(weights)[part.rows]
            value = weighted_threshold(own, w, largest_weight, alpha)
            return _by_mass(part, side, chosen, own, value, own.size)
        if per_unit == "all":
            mine = units[part.rows]
            value = hierarchical_threshold(own, mine, alpha)
            return _by_mass(part, side, chosen, own, value, len(set(mine)))
        numbers = None
        if break_ties:
            numbers = tie_numbers(table.column("case_id")[part.rows], seed)
        return _by_rank(part, side, chosen, own, alpha, delta, numbers)

    return calibrate_parts(
        table,
        threshold_of,
        lambda found: (
            _statement(found, alpha, delta, policy, largest_weight)
            + (_BROKEN if break_ties else "")
        ),
        policy,
        nothing_known(math.inf, chosen, side),
        method="fnr",
        alpha=alpha,
        delta=delta,
        record=record,
    )


def check_combination(
    delta: Level | None, per_unit: PerUnit | None, weights: str | None
) -> None:
    """Refuse what no theorem covers together.

    Raises:
        ValueError: Two of confidence, weighted units and weights were asked for.
    """
    asked = {"delta": delta, "per_unit='all'": per_unit == "all", "weights": weights}
    both = [name for name, value in asked.items() if value]
    if len(both) > 1:
        raise ValueError(f"{' and '.join(both)} cannot be combined: choose one")


def choose_tolerance(table: ScoreTable, tolerance: Level | None) -> float:
    """The table's tolerance that was asked for, or its only one.

    Raises:
        ValueError: The table has another one, or several and none was named.
    """
    have = ", ".join(map(str, table.tolerances))
    if tolerance is None:
        if len(table.tolerances) == 1:
            return table.tolerances[0]
        raise ValueError(f"the table has scores for tolerances {have}: choose one")
    wanted = as_fraction(tolerance)
    for known in table.tolerances:
        if as_fraction(known) == wanted:
            return known
    raise ValueError(
        f"the table has no scores for tolerance {tolerance}, only for {have}; "
        "score again with --tolerance"
    )


def _by_rank(
    part: Part,
    side: str,
    tolerance: float,
    scores: np.ndarray,
    alpha: Level,
    delta: Level | None,
    numbers: np.ndarray | None,
) -> Threshold:
    rank, status = rank_and_status(scores.size, alpha, delta)
    tie = None
    if numbers is None:
        value = rank_threshold(scores, rank)
    else:
        value, tie = broken_rank_threshold(scores, numbers, rank)
    found = threshold_of_part(
        part,
        side,
        scores,
        value,
        scores.size,
        rank=rank,
        status=status,
        tolerance=tolerance,
        whole_at=WHOLE_AT[side],
    )
    return replace(found, tie=tie)


def _by_mass(
    part: Part,
    side: str,
    tolerance: float,
    scores: np.ndarray,
    value: float,
    n_units: int,
) -> Threshold:
    """A threshold by mass has no rank.

    A score here is at most 1, so an infinite threshold is the mass at infinity.
    """
    status = Status.TOO_FEW_CASES if math.isinf(value) and value > 0 else Status.OK
    return threshold_of_part(
        part,
        side,
        scores,
        value,
        n_units,
        rank=None,
        status=status,
        tolerance=tolerance,
        whole_at=WHOLE_AT[side],
    )


def _statement(
    thresholds: list[Threshold],
    alpha: Level,
    delta: Level | None,
    policy: Policy,
    largest_weight: Level | None,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    confidence = float(1 - as_fraction(alpha))
    text = (
        f"With probability at least {confidence}, the mask of {whom(policy)} misses at "
        f"most {thresholds[0].tolerance} of its reference voxels. "
    )
    if thresholds[0].score == "mass":
        text += _BY_MASS
    if delta is not None:
        text += (
            f"This holds for all but a share {float(as_fraction(delta))} of "
            "calibration sets, and needs the units to be independent and identically "
            "distributed. "
        )
    elif largest_weight is not None:
        text += (
            "The probability is over the calibration units and the new one together "
            "(marginal), and needs independent units and weights that are the true "
            "likelihood ratios of the new population over the calibration population; "
            "estimated ones make it approximate. It is for new units of weight at most "
            f"{float(as_fraction(largest_weight))}: the share of heavier ones comes off "
            "the probability. "
        )
    else:
        text += (
            "The probability is over the calibration units and the new one together "
            "(marginal), and needs them to be exchangeable. "
        )
    text += (
        "It assumes that the model never saw a calibration or new unit, and that "
        "method, alpha and tolerance were fixed before looking. "
    )
    some_hold = any(t.status == Status.OK for t in thresholds)
    text += scope(thresholds, policy) + _whole(thresholds)
    return lost_first(text, _lost(thresholds), some_hold=some_hold).strip()


_BY_MASS = (
    "Each map has a cut of its own: the largest of its values at or above which lies more "
    "than one share, the threshold, of the sum of its probabilities. "
)
_BROKEN = (
    " Ties are broken at random, by a number from the name of each case and the recorded "
    "seed: a new case that would tie with the threshold is cut just above it where its "
    "number is too large. The probability is over these numbers too, and is then the "
    "rank over n + 1 exactly."
)


def _lost(thresholds: list[Threshold]) -> str:
    """Where nothing can be promised."""
    return "".join(
        f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): the only safe mask is "
        "the whole volume. "
        for t in thresholds
        if t.status != Status.OK
    )


def _whole(thresholds: list[Threshold]) -> str:
    """What the masks are where the promise is kept by saying nothing."""
    text = ""
    for t in thresholds:
        if t.status == Status.VACUOUS:
            ends = "probability 0" if t.is_cut else "the whole mass"
            text += (
                f"In {t.name} the threshold is {ends}: too many references have "
                "voxels that the model gives 0. "
            )
        elif t.status == Status.OK and math.isinf(t.value):
            text += f"In {t.name}: the mask is empty (empty references dominate). "
    return text
