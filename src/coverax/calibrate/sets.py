"""Inner and outer confidence sets: what surely is lesion, what surely is not.

I = {f_I > t_I} and O = {f_O >= -t_O}, with score maps f_I, f_O fixed beforehand.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from coverax.calibrate.fnr import unit_digests
from coverax.calibrate.learn import LearnedSets
from coverax.calibrate.ranks import conformal_rank
from coverax.calibrate.result import Calibration, Status, Threshold, with_digest
from coverax.calibrate.scales import RankScale, largest_at_most
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.statements import set_statement
from coverax.calibrate.units import EmptyPolicy, Table, keep_rows
from coverax.rational import Level, check_level

Joint = Literal["each", "bonferroni", "max", "ranked"]
JOINTRULES: tuple[Joint, ...] = ("each", "bonferroni", "max", "ranked")
Regions = Literal["each", "joint"]
Side = Literal["inner", "outer"]
# Levels of the curve of coverage against alpha that travels with the calibration.
CURVE_LEVELS = tuple(Fraction(k, 200) for k in range(1, 41))


@runtime_checkable
class SetTransform(Protocol):
    """What calibration needs to know of a transform."""

    @property
    def spec(self) -> str:
        """Its canonical text."""
        ...

    @property
    def tolerance(self) -> float:
        """Share of the reference that may be wrong."""
        ...


@runtime_checkable
class SetTable(Table, Protocol):
    """A score table with inner and outer scores."""

    def set_transform(self, side: Side, spec: str | None = None) -> Any:
        """The transform of one side that was asked for, or the only one."""
        ...

    def set_scores(self, transform: Any) -> np.ndarray:
        """Scores of a transform."""
        ...


class Levels(NamedTuple):
    """How the tolerated miscoverage is spent."""

    alpha: Fraction
    inner: Fraction
    outer: Fraction


class Scores(NamedTuple):
    """Scores of regions that are calibrated together, `[regions, units]`, aligned."""

    regions: list[str]
    inner: np.ndarray
    outer: np.ndarray


class SetThreshold(NamedTuple):
    """One threshold of one region, and where it came from."""

    region: str
    side: Side
    rank: int
    n_tied: int
    value: float


Scales = dict[tuple[str, str], RankScale]
Rule = Callable[[Scores, Levels, Scales], list[SetThreshold]]


def calibrate_sets(
    table: SetTable,
    alpha: Level,
    *,
    inner: str | None = None,
    outer: str | None = None,
    joint: Joint = "bonferroni",
    alpha_inner: Level | None = None,
    learned: LearnedSets | None = None,
    regions: Regions = "each",
    empty: EmptyPolicy = "include",
    unit_column: str = "unit",
    per_unit: Literal["one"] | None = None,
    seed: int = 0,
) -> Calibration:
    """Thresholds of inner and outer sets of a new case.

    With exchangeable units and transforms fixed beforehand, the inner set of a new case
    lies within its reference and the outer set holds all of it: both at once with
    probability at least `1 - alpha` under `bonferroni`, `max` and `ranked`, each on its
    own with at least `1 - alpha` under `each`; marginally over calibration sets.

    Args:
        table: Scores of the calibration cohort.
        alpha: Tolerated probability that the promise fails, in (0, 1).
        inner: Transform of the inner set; the learned one, or the table's only one.
        outer: Transform of the outer set; likewise.
        joint: `each`; `bonferroni` splits alpha; `max` takes one threshold for both
            scores as they are (sensible on a common scale); `ranked` one on the scale
            of a learning set.
        alpha_inner: What of alpha the inner side gets (`bonferroni`, `ranked`); as
            learned, or half.
        learned: Result of `learn_sets`; `ranked` needs it. Its units must be others.
        regions: `each` on its own, or `joint`: all regions of a case at once, by the
            maximum over regions.
        empty: Policy for empty references; they count by default.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit.
        seed: Of that draw.

    Returns:
        Two thresholds a region, `side` inner and outer; status TOO_FEW_CASES where the
        rank lies beyond the last unit: the inner set is then empty, the outer one
        everything.

    Raises:
        ValueError: A level is out of range, the table lacks a transform, learning and
            calibration share units, or the cases cannot calibrate (see `keep_rows`).

    References:
        Davenport (2024), Conformal confidence sets for biomedical image segmentation.
    """
    if joint not in JOINTRULES:
        raise ValueError(f"joint must be one of {', '.join(JOINTRULES)}, got {joint}")
    levels = spend(joint, alpha, alpha_inner, learned)
    chosen: dict[Side, SetTransform] = {
        "inner": table.set_transform("inner", _spec(inner, learned, "inner")),
        "outer": table.set_transform("outer", _spec(outer, learned, "outer")),
    }
    scales = _scales(joint, chosen, learned)
    kept = _keep(table, regions, empty, unit_column, per_unit, seed)
    digests = unit_digests(kept.units)
    if learned is not None:
        learned.check_apart(digests)
    rule = RULES[joint]
    groups = [
        Scores(
            names,
            *(
                np.stack([table.set_scores(chosen[side])[r] for r in rows])
                for side in ("inner", "outer")
            ),
        )
        for names, rows in kept.groups
    ]
    thresholds = tuple(
        _as_threshold(found, group, chosen)
        for group in groups
        for found in rule(group, levels, scales)
    )
    calibration = Calibration(
        method="sets",
        alpha=float(levels.alpha),
        delta=None,
        n_cases=len(set(table.column("case_id"))),
        n_units=min(t.n_units for t in thresholds),
        thresholds=thresholds,
        excluded=kept.excluded,
        options={
            "joint": joint,
            "regions": regions,
            "inner": chosen["inner"].spec,
            "outer": chosen["outer"].spec,
            "alpha_inner": str(levels.inner),
            "alpha_outer": str(levels.outer),
            "learned": None if learned is None else learned.digest,
            "learned_units": [] if learned is None else list(learned.unit_digests),
            "empty": empty,
            "unit_column": unit_column,
            "per_unit": per_unit,
            "seed": seed if per_unit else None,
            "curve": _curve(groups, rule, levels, scales),
        },
        score_definition=table.definition.to_json(),
        cases_digest=table.cases_digest,
        unit_digests=digests,
        statement=set_statement(
            thresholds,
            levels.alpha,
            (levels.inner, levels.outer),
            joint,
            regions,
            empty,
            per_unit,
        ),
    )
    return with_digest(calibration)


def spend(
    joint: Joint,
    alpha: Level,
    alpha_inner: Level | None,
    learned: LearnedSets | None = None,
) -> Levels:
    """Split alpha over the two sides, exactly.

    Raises:
        ValueError: The inner part does not lie between 0 and alpha, or was named for a
            rule that does not split.
    """
    whole = check_level("alpha", alpha)
    if alpha_inner is not None and joint not in ("bonferroni", "ranked"):
        raise ValueError(f"joint={joint} does not split alpha: drop alpha_inner")
    if joint in ("each", "max"):
        return Levels(whole, whole, whole)
    if alpha_inner is not None:
        part = check_level("alpha_inner", alpha_inner)
    else:
        part = whole * (Fraction(1, 2) if learned is None else learned.inner_share)
    if not 0 < part < whole:
        raise ValueError(
            f"alpha_inner must lie between 0 and alpha {whole}, got {part}"
        )
    return Levels(whole, part, whole - part)


def _by_side(scores: Scores, levels: Levels, _scales: Scales) -> list[SetThreshold]:
    """One threshold a side, each at its own level: `each` and `bonferroni`."""
    inner = _thresholds("inner", scores.regions, scores.inner, levels.inner)
    return inner + _thresholds("outer", scores.regions, scores.outer, levels.outer)


def _thresholds(
    side: Side, regions: list[str], scores: np.ndarray, level: Fraction
) -> list[SetThreshold]:
    worst = scores.max(axis=0)
    rank = conformal_rank(worst.size, level)
    value = rank_threshold(worst, rank)
    tied = int(np.count_nonzero(worst == value))
    return [SetThreshold(region, side, rank, tied, value) for region in regions]


def _maximum(scores: Scores, levels: Levels, _scales: Scales) -> list[SetThreshold]:
    """One threshold for the larger of both scores, as they are."""
    both = np.concatenate([scores.inner, scores.outer])
    return [
        found
        for side in ("inner", "outer")
        for found in _thresholds(side, scores.regions, both, levels.alpha)
    ]


def _ranked(scores: Scores, levels: Levels, scales: Scales) -> list[SetThreshold]:
    """One threshold on the learned scale, carried back to each side and region."""
    share = {
        "inner": float(levels.inner / levels.alpha),
        "outer": float(levels.outer / levels.alpha),
    }

    def scaled(region: str, side: Side) -> Callable[[np.ndarray], np.ndarray]:
        scale, part = scales[region, side], share[side]
        return lambda values: (scale(values) - 1) / part

    rows = [
        scaled(region, side)(getattr(scores, side)[k])
        for k, region in enumerate(scores.regions)
        for side in ("inner", "outer")
    ]
    (common,) = _thresholds("inner", [""], np.stack(rows), levels.alpha)
    return [
        common._replace(
            region=region,
            side=side,
            value=largest_at_most(scaled(region, side), common.value),
        )
        for side in ("inner", "outer")
        for region in scores.regions
    ]


RULES: dict[Joint, Rule] = {
    "each": _by_side,
    "bonferroni": _by_side,
    "max": _maximum,
    "ranked": _ranked,
}


class _KeptSets(NamedTuple):
    groups: list[tuple[list[str], list[np.ndarray]]]
    units: set[str]
    excluded: dict[str, tuple[str, ...]]


def _keep(
    table: Table,
    regions: Regions,
    empty: EmptyPolicy,
    unit_column: str,
    per_unit: Literal["one"] | None,
    seed: int,
) -> _KeptSets:
    """Row numbers of every region, ordered by case so that regions align."""
    names = list(dict.fromkeys(table.column("region")))
    ids, units = table.column("case_id"), table.column(unit_column)
    excluded = {why: set(cases) for why, cases in table.excluded.items()}
    rows: list[np.ndarray] = []
    for region in names:
        kept = keep_rows(
            table,
            region,
            empty=empty,
            unit_column=unit_column,
            per_unit=per_unit,
            seed=seed,
        )
        mine = np.flatnonzero(kept.rows)
        rows.append(mine[np.argsort(ids[mine].astype(str), kind="stable")])
        for why, cases in kept.excluded.items():
            excluded.setdefault(why, set()).update(cases)
    groups = [([name], [mine]) for name, mine in zip(names, rows, strict=True)]
    if regions == "joint":
        if any(list(ids[mine]) != list(ids[rows[0]]) for mine in rows):
            raise ValueError(
                "regions jointly need every region of every case; some cases lack one "
                "(with empty='exclude', an empty one)"
            )
        groups = [(names, rows)]
    used = {str(unit) for mine in rows for unit in units[mine]}
    return _KeptSets(groups, used, {w: tuple(sorted(c)) for w, c in excluded.items()})


def _spec(asked: str | None, learned: LearnedSets | None, side: Side) -> str | None:
    if asked is not None or learned is None:
        return asked
    return learned.spec(side)


def _scales(
    joint: Joint, chosen: dict[Side, SetTransform], learned: LearnedSets | None
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
    found: SetThreshold, group: Scores, chosen: dict[Side, SetTransform]
) -> Threshold:
    n = group.inner.shape[1]
    return Threshold(
        region=found.region,
        group="",
        side=found.side,
        tolerance=chosen[found.side].tolerance,
        n_units=n,
        rank=found.rank,
        status=Status.TOO_FEW_CASES if found.rank > n else Status.OK,
        value=found.value,
        n_tied=found.n_tied,
    )


def _curve(
    groups: Sequence[Scores], rule: Rule, levels: Levels, scales: Scales
) -> list[dict[str, Any]]:
    """Thresholds at many levels, the split in proportion, for coverage curves."""
    rows: list[dict[str, Any]] = []
    for alpha in CURVE_LEVELS:
        at = Levels(*(part * alpha / levels.alpha for part in levels))
        rows.append(
            {
                "alpha": float(alpha),
                "thresholds": [
                    [found.region, found.side, found.rank, found.value.hex()]
                    for group in groups
                    for found in rule(group, at, scales)
                ],
            }
        )
    return rows
