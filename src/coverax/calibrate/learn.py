"""Choosing transforms and the split of alpha on a learning set.

The learning units are spent: a calibration refuses them, so that the choice is fixed
before calibration looks at anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from coverax.calibrate.cross_fit import cross_fitted, share_out
from coverax.calibrate.policy import Policy
from coverax.calibrate.ranks import conformal_rank
from coverax.calibrate.raters import cases_of
from coverax.calibrate.scales import RankScale
from coverax.calibrate.seal import keep_regions, seen_by
from coverax.calibrate.seen import Seen
from coverax.calibrate.units import Kept
from coverax.choices import EmptyPolicy, OnePerUnit, RaterRule, Side
from coverax.files import (
    Json,
    PathLike,
    check_fields,
    digest_json,
    publish_json,
    read_sealed_json,
    sound,
)
from coverax.provenance import FITTED, LEARNING
from coverax.rational import Level, as_fraction, check_level
from coverax.table import ScoreTable, Transform

SCHEMA = 2
_SEEN = ("unit", "case", "map")
SHARES = tuple(Fraction(k, 10) for k in range(1, 10))


@dataclass(frozen=True, slots=True)
class LearnedSets:
    """Transforms, split and scale from a learning set.

    Attributes:
        alpha: Level the choice was made for.
        inner: Chosen transform of the inner set.
        outer: Chosen transform of the outer set.
        inner_share: Share of alpha for the inner side.
        scores: Learning scores of the chosen transforms, by region and side.
        n_calibration: Calibration units the split was chosen for.
        candidates: Cross-fitted sets of every transform at every share: `mean_width`
            (mm), `mean_size` (mL), `share_empty`.
        unit_digests: Short hashes of the units used.
        digest: SHA-256 of the content of the file.
        case_digests: Short hashes of the case ids of these units.
        map_digests: Fingerprints of their maps.
    """

    alpha: float
    inner: str
    outer: str
    inner_share: Fraction
    scores: dict[tuple[str, str], tuple[float, ...]]
    n_calibration: int
    candidates: tuple[Json, ...]
    unit_digests: tuple[str, ...]
    digest: str = ""
    case_digests: tuple[str, ...] = ()
    map_digests: tuple[str, ...] = ()

    @property
    def seen(self) -> Seen:
        """What was looked at."""
        return Seen(self.unit_digests, self.case_digests, self.map_digests)

    @property
    def scales(self) -> dict[tuple[str, str], RankScale]:
        """The scale of every region and side."""
        return {key: RankScale.of(np.array(s)) for key, s in self.scores.items()}

    def spec(self, side: Side) -> str:
        """The chosen transform of a side."""
        return self.inner if side == "inner" else self.outer

    def to_json(self) -> Json:
        """The content of `transforms.json`."""
        content: Json = {
            "schema": SCHEMA,
            "what": "transforms",
            "alpha": self.alpha,
            "inner": self.inner,
            "outer": self.outer,
            "inner_share": str(self.inner_share),
            "scores": [
                {"region": region, "side": side, "hex": [s.hex() for s in scores]}
                for (region, side), scores in self.scores.items()
            ],
            "n_calibration": self.n_calibration,
            "candidates": list(self.candidates),
            "n_units": len(self.unit_digests),
            **{f"{k}_digests": list(v) for k, v in zip(_SEEN, self.seen, strict=True)},
        }
        return content | {"digest": digest_json(content)}

    def write(self, path: PathLike) -> None:
        """Write `transforms.json`; it appears complete or not at all."""
        path = Path(path)
        publish_json(path, self.to_json())


def read_learned(path: PathLike) -> LearnedSets:
    """Read `transforms.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is another file, of another schema, or was altered.
    """
    path = Path(path)
    content, digest = read_sealed_json(
        path, "choice of transforms", SCHEMA, "learn-sets"
    )
    if content.get("what") != "transforms":
        raise ValueError(f"{path}: not a coverax choice of transforms")
    with sound(path, "choice of transforms"):
        return _learned_from_json(content, digest)


def _learned_from_json(content: Json, digest: str) -> LearnedSets:
    found = LearnedSets(
        alpha=content["alpha"],
        inner=content["inner"],
        outer=content["outer"],
        inner_share=check_level("inner_share", content["inner_share"]),
        scores={
            (entry["region"], entry["side"]): tuple(map(float.fromhex, entry["hex"]))
            for entry in content["scores"]
        },
        n_calibration=content["n_calibration"],
        candidates=tuple(content["candidates"]),
        **{f"{k}_digests": tuple(content.get(f"{k}_digests", ())) for k in _SEEN},
        digest=digest,
    )
    check_fields(found)
    return found


def learn_sets(
    table: ScoreTable,
    alpha: Level,
    *,
    n_calibration: int | None = None,
    tolerance: Level = 0.0,
    shares: Sequence[Fraction] = SHARES,
    n_folds: int = 5,
    n_axes: int = 3,
    empty: EmptyPolicy = "include",
    unit_column: str = "unit",
    per_unit: OnePerUnit | None = None,
    seed: int = 0,
    raters: RaterRule | None = None,
) -> LearnedSets:
    """Choose the transforms and the split with the least left to look at.

    For every transform and share, thresholds from all folds but one give sets on that
    one. A set of volume V is as wide as its cube root: the width of the band between
    two sets is then near their distance in mm, whatever the size of the lesion, and an
    inner set that is empty loses the whole lesion's width. At each share the inner
    transform of the largest and the outer one of the least mean width are taken; the
    share is the one with the narrowest mean band. A share competes if its ranks lie
    within the `n_calibration` units, which must certify it, and within the other folds,
    which must show what it costs; where no share does both, the most even one is taken.

    Args:
        table: Scores and set sizes of the learning cohort.
        alpha: Level that will be asked for.
        n_calibration: Units that will calibrate; as many as the learning units if None.
        tolerance: Only transforms of this tolerance compete.
        shares: Candidate shares of alpha for the inner side.
        n_folds: Folds of units.
        n_axes: 3, or 2 for cohorts of single slices (square roots of areas).
        empty: Policy for empty references.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit.
        seed: Seed of draws and folds.
        raters: What several references of a case do: `worst` or `draw`.

    Raises:
        ValueError: A side has no transform, there are fewer units than folds, or no
            share can be certified by `n_calibration` units.
    """
    level = check_level("alpha", alpha)
    competing = _competing(table, tolerance)
    policy = Policy(empty, unit_column, per_unit, seed, raters=raters)
    policy.check_no_weights()
    each = keep_regions(table, policy, none_too=False, allowed=(LEARNING, FITTED))
    kept = {region: np.flatnonzero(found.rows) for region, found in each.items()}
    scores = {(t.side, t.spec): _worst_scores(table, t, each) for t in competing}
    n_learning = min(rows.size for rows in kept.values())
    if n_learning < n_folds:
        raise ValueError(f"{n_folds} folds need as many units")
    n_calibration = n_learning if n_calibration is None else n_calibration
    shares = _competing_shares(
        level, shares, n_calibration, n_learning - math.ceil(n_learning / n_folds)
    )
    candidates = cross_fitted(
        table,
        [(each, scores[each.side, each.spec]) for each in competing],
        kept,
        level,
        shares,
        share_out(table, kept, n_folds, seed),
        n_axes,
    )
    best = min(
        (_best_at(candidates, share) for share in shares), key=lambda found: found[0]
    )
    _, share, inner, outer = best
    chosen = [
        t for t in competing if (t.side, t.spec) in {("inner", inner), ("outer", outer)}
    ]
    seen = seen_by(table, each, policy)
    learned = LearnedSets(
        alpha=float(level),
        inner=inner,
        outer=outer,
        inner_share=share,
        scores={
            (region, t.side): tuple(map(float, np.sort(scores[t.side, t.spec][rows])))
            for region, rows in kept.items()
            for t in chosen
        },
        n_calibration=n_calibration,
        candidates=tuple(candidates),
        unit_digests=seen.units,
        case_digests=seen.cases,
        map_digests=seen.maps,
    )
    return replace(learned, digest=learned.to_json()["digest"])


def _competing(table: ScoreTable, tolerance: Level) -> list[Transform]:
    """The transforms of a tolerance; both sides must have one."""
    wanted = float(as_fraction(tolerance))
    competing = [t for t in table.definition.transforms if t.tolerance == wanted]
    for side in ("inner", "outer"):
        if not any(t.side == side for t in competing):
            raise ValueError(
                f"the table has no {side} transform of tolerance {tolerance} to choose"
            )
    return competing


def _competing_shares(
    level: Fraction, shares: Sequence[Fraction], n_calibration: int, n_folded: int
) -> list[Fraction]:
    """Shares that can be certified, and of those the ones that learning can judge."""

    def even(share: Fraction) -> Fraction:
        return min(share, 1 - share)

    def within(share: Fraction, n: int) -> bool:
        return conformal_rank(n, level * even(share)) <= n

    certifiable = [share for share in shares if within(share, n_calibration)]
    most_even = max(map(even, shares))
    if not certifiable:
        raise ValueError(
            f"{n_calibration} calibration units cannot certify both sides at alpha "
            f"{float(level):g}: no set but the empty and the full; at least "
            f"{math.ceil(1 / (level * most_even)) - 1} are needed"
        )
    judged = [share for share in certifiable if within(share, n_folded)]
    return judged or [share for share in certifiable if even(share) == most_even]


def _worst_scores(
    table: ScoreTable, transform: Transform, each: dict[str, Kept]
) -> np.ndarray:
    """Scores of a transform; the row of a case holds the worst over its references."""
    own = table.side_scores(transform)
    out = own.copy()
    for found in each.values():
        rows = np.flatnonzero(found.rows)
        out[rows] = cases_of(table.column("case_id"), rows, found.references).worst(own)
    return out


def _best_at(candidates: list[Json], share: Fraction):
    """Mean width of the band between the best sets at a share, and which they are."""
    mine = [c for c in candidates if c["inner_share"] == str(share)]
    inner = max((c for c in mine if c["side"] == "inner"), key=_width)
    outer = min((c for c in mine if c["side"] == "outer"), key=_width)
    return _width(outer) - _width(inner), share, inner["transform"], outer["transform"]


def _width(candidate: Json) -> float:
    return candidate["mean_width"]
