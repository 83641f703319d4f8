"""Inner and outer confidence sets: what surely is lesion, what surely is not.

I = {f_I > t_I} and O = {f_O >= -t_O}, with score maps f_I, f_O fixed beforehand.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from coverax.calibrate.joint import (
    JOINTRULES,
    RULES,
    Confidence,
    Levels,
    Rule,
    Scales,
    Scores,
    SetThreshold,
    spend,
)
from coverax.calibrate.learn import LearnedSets
from coverax.calibrate.policy import Policy
from coverax.calibrate.raters import Cases, cases_of
from coverax.calibrate.record import CurveCut, CurvePoint, PartsRecord, SetsRecord
from coverax.calibrate.result import Calibration, Status, Threshold, informative
from coverax.calibrate.seal import (
    keep_regions,
    map_reference,
    nothing_known,
    sealed,
    seen_by,
)
from coverax.calibrate.seen import Seen
from coverax.calibrate.statements import set_statement
from coverax.calibrate.units import Kept
from coverax.choices import (
    BoundName,
    EmptyPolicy,
    Joint,
    OnePerUnit,
    RaterRule,
    Regions,
    Side,
)
from coverax.files import Json
from coverax.rational import Level, check_level
from coverax.table import SIDES, ScoreTable, Transform

# Levels of the curve of coverage against alpha that travels with the calibration.
CURVE_LEVELS = tuple(Fraction(k, 200) for k in range(1, 41))


def calibrate_sets(
    table: ScoreTable,
    alpha: Level,
    *,
    inner: str | None = None,
    outer: str | None = None,
    joint: Joint = "bonferroni",
    alpha_inner: Level | None = None,
    delta: Level | None = None,
    bound: BoundName = "clopper_pearson",
    learned: LearnedSets | None = None,
    regions: Regions = "each",
    empty: EmptyPolicy = "include",
    unit_column: str = "unit",
    per_unit: OnePerUnit | None = None,
    seed: int = 0,
    raters: RaterRule | None = None,
) -> Calibration:
    """Thresholds of inner and outer sets of a new case.

    With exchangeable units and transforms fixed beforehand, the inner set of a new case
    lies within its reference and the outer set holds all of it: both at once with
    probability at least `1 - alpha` under `bonferroni`, `max` and `ranked`, each on its
    own with at least `1 - alpha` under `each`; marginally over calibration sets. That
    is conformal risk control of the binary loss "the set fails". With `delta` and
    i.i.d. units it holds for all but a share `delta` of calibration sets: RCPS on the
    same loss.

    Args:
        table: Scores of the calibration cohort.
        alpha: Tolerated probability that the promise fails, in (0, 1).
        inner: Transform of the inner set; the learned one, or the table's only one.
        outer: Transform of the outer set; the learned one, or the table's only one.
        joint: `each`; `bonferroni` splits alpha; `max` takes one threshold for both
            scores as they are (sensible on a common scale); `ranked` one on the scale
            of a learning set.
        alpha_inner: What of alpha the inner side gets (`bonferroni`, `ranked`); as
            learned, or half.
        delta: Share of calibration sets for which the promise may fail; `bonferroni`
            gives each side half of it. None for the marginal one.
        bound: Upper bound of the failure rate, with `delta`; Clopper-Pearson is exact.
        learned: Result of `learn_sets`; `ranked` needs it. Its units must be others.
        regions: `each` on its own, or `joint`: all regions of a case at once, by the
            maximum over regions.
        empty: Policy for empty references; they count by default.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit.
        seed: Seed of draws, and of the order of units for bound `wsr`.
        raters: Where cases have several references, `worst` promises against all of
            them and `draw` against one drawn at random.

    Returns:
        Two thresholds a region, `side` inner and outer; status TOO_FEW_CASES (with
        `delta`, INFEASIBLE) where the rank lies beyond the last unit: the inner set is then empty, the outer one
        everything. VACUOUS where a threshold keeps every voxel of any map.

    Raises:
        ValueError: A level is out of range, the table lacks a transform, learning and
            calibration share units, or the cases cannot calibrate (see `keep_rows`).

    References:
        Davenport (2024), Conformal confidence sets for biomedical image segmentation.
    """
    if joint not in JOINTRULES:
        raise ValueError(f"joint must be one of {', '.join(JOINTRULES)}, got {joint}")
    confidence = None
    if delta is not None:
        confidence = Confidence(check_level("delta", delta), bound, seed)
    levels = spend(joint, alpha, alpha_inner, learned, confidence)
    chosen: dict[Side, Transform] = {
        "inner": table.side_transform("inner", _spec(inner, learned, "inner")),
        "outer": table.side_transform("outer", _spec(outer, learned, "outer")),
    }
    scales = _scales(joint, chosen, learned)
    policy = Policy(empty, unit_column, per_unit, seed, raters=raters)
    policy.check_no_weights()
    kept = keep_regions(table, policy, none_too=regions == "each")
    if learned is not None:
        learned.seen.check_apart(seen_by(table, kept, policy))
    rule = RULES[joint]
    groups = [
        Scores(names, *(_worst(table, chosen[side], each) for side in SIDES))
        for names, each in _aligned(table, kept, regions)
    ]
    thresholds = [
        _as_threshold(found, group, chosen, has_delta=delta is not None)
        for group in groups
        for found in rule(group, levels, scales)
    ]
    thresholds += _of_nothing(kept, chosen)
    return sealed(
        table,
        kept,
        thresholds,
        policy,
        method="sets",
        alpha=alpha,
        delta=delta,
        record=SetsRecord(
            joint=joint,
            regions=regions,
            inner=chosen["inner"].spec,
            outer=chosen["outer"].spec,
            alpha_inner=str(levels.inner),
            alpha_outer=str(levels.outer),
            learned=None if learned is None else learned.digest,
            **_learned_seen(learned),
            bound=None if delta is None else bound,
            order_seed=seed if delta is not None and bound == "wsr" else None,
            curve=_curve(groups, rule, levels, scales),
        ),
        parts=PartsRecord(reference=map_reference(table, kept, policy)),
        statement=set_statement(thresholds, levels, joint, regions, policy, delta),
    )


def _worst(table: ScoreTable, transform: Transform, each: list[Cases]) -> np.ndarray:
    """Scores of a transform, the worst over references, `[regions, units]`."""
    scores = table.side_scores(transform)
    return np.stack([cases.worst(scores) for cases in each])


def _aligned(
    table: ScoreTable, kept: Mapping[str, Kept], regions: Regions
) -> list[tuple[list[str], list[Cases]]]:
    """Regions that are calibrated together, their cases in the order of their names.

    A region without a case that counts is calibrated with none.
    """
    ids = table.column("case_id")
    each: dict[str, Cases] = {}
    for region, found in kept.items():
        if not found.rows.any():
            continue
        mine = np.flatnonzero(found.rows)
        mine = mine[np.argsort(ids[mine].astype(str), kind="stable")]
        each[region] = cases_of(ids, mine, found.references)
    if regions == "each":
        return [([region], [cases]) for region, cases in each.items()]
    first, *others = (list(ids[cases.rows]) for cases in each.values())
    if any(other != first for other in others):
        raise ValueError(
            "regions jointly need every region of every case; some cases lack one "
            "(with empty='exclude', an empty one)"
        )
    return [(list(each), list(each.values()))]


def _spec(asked: str | None, learned: LearnedSets | None, side: Side) -> str | None:
    if asked is not None or learned is None:
        return asked
    return learned.spec(side)


def _scales(
    joint: Joint, chosen: dict[Side, Transform], learned: LearnedSets | None
) -> Scales:
    if joint != "ranked":
        return {}
    if learned is None:
        raise ValueError(
            "joint='ranked' needs the scale of a learning set: transforms.json of "
            "`coverax learn-sets` (--transforms)"
        )
    for side in ("inner", "outer"):
        if chosen[side].spec != learned.spec(side):
            raise ValueError(
                f"the scale was learned for {side} {learned.spec(side)}, not for "
                f"{chosen[side].spec}"
            )
    return learned.scales


def _as_threshold(
    found: SetThreshold,
    group: Scores,
    chosen: dict[Side, Transform],
    *,
    has_delta: bool,
) -> Threshold:
    n = group.inner.shape[1]
    status = Status.OK
    if found.rank > n:
        status = Status.INFEASIBLE if has_delta else Status.TOO_FEW_CASES
    if found.side == "outer":
        status = informative(status, found.value, chosen["outer"].kind.whole_at)
    return Threshold(
        region=found.region,
        group="",
        side=found.side,
        tolerance=chosen[found.side].tolerance,
        n_units=n,
        rank=found.rank,
        status=status,
        value=found.value,
        n_tied=found.n_tied,
    )


def _of_nothing(
    kept: Mapping[str, Kept], chosen: Mapping[Side, Transform]
) -> list[Threshold]:
    """Both thresholds of regions without a unit that counts."""
    nothing = nothing_known(math.inf)
    return [
        replace(nothing, side=side, tolerance=chosen[side].tolerance, region=region)
        for region, found in kept.items()
        if not found.rows.any()
        for side in SIDES
    ]


def _learned_seen(learned: LearnedSets | None) -> Json:
    """Digests of what the transforms were chosen on; none where nothing was learned."""
    seen = Seen(()) if learned is None else learned.seen
    return {f"learned_{k}": list(v) for k, v in seen._asdict().items()}


def _curve(
    groups: Sequence[Scores], rule: Rule, levels: Levels, scales: Scales
) -> list[CurvePoint]:
    """Thresholds at many levels, the split in proportion, for coverage curves.

    None for bounds that cost a table of losses at each level.
    """
    rows: list[CurvePoint] = []
    if levels.confidence and levels.confidence.bound != "clopper_pearson":
        return rows
    for alpha in CURVE_LEVELS:
        at = levels.at(alpha)
        cuts = [
            CurveCut(found.region, found.side, found.rank, found.value)
            for group in groups
            for found in rule(group, at, scales)
        ]
        rows.append(CurvePoint(float(alpha), tuple(cuts)))
    return rows
