"""Choosing transforms and the split of alpha on a learning set.

The learning units are spent: a calibration refuses them, so that the choice is fixed
before calibration looks at anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from coverax.calibrate.fnr import unit_digests
from coverax.calibrate.ranks import conformal_rank
from coverax.calibrate.raters import RaterRule, cases_of
from coverax.calibrate.scales import RankScale
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.units import EmptyPolicy, Kept, Table, keep_rows
from coverax.files import digest_json, publish_json, read_sealed_json
from coverax.rational import Level, check_level

SCHEMA = 1
SHARES = tuple(Fraction(k, 10) for k in range(1, 10))
Side = Literal["inner", "outer"]


@runtime_checkable
class LearningTable(Table, Protocol):
    """A score table with set sizes."""

    def set_scores(self, transform: Any) -> np.ndarray:
        """Scores of a transform."""
        ...

    def set_sizes(self, transform: Any) -> tuple[np.ndarray, np.ndarray]:
        """Cuts of the score map, and voxels at or above each."""
        ...


@dataclass(frozen=True, slots=True)
class LearnedSets:
    """Transforms, split and scale from a learning set.

    Attributes:
        alpha: Level the choice was made for.
        inner: Chosen transform of the inner set.
        outer: Chosen transform of the outer set.
        inner_share: Share of alpha for the inner side.
        scores: Learning scores of the chosen transforms, by region and side.
        candidates: Mean cross-fitted set size of every transform at every share.
        unit_digests: Short hashes of the units used.
        digest: Of the file.
    """

    alpha: float
    inner: str
    outer: str
    inner_share: Fraction
    scores: dict[tuple[str, str], tuple[float, ...]]
    candidates: tuple[dict[str, Any], ...]
    unit_digests: tuple[str, ...]
    digest: str = ""

    @property
    def scales(self) -> dict[tuple[str, str], RankScale]:
        """The scale of every region and side."""
        return {key: RankScale.of(np.array(s)) for key, s in self.scores.items()}

    def spec(self, side: Side) -> str:
        """The chosen transform of a side."""
        return self.inner if side == "inner" else self.outer

    def check_apart(self, digests: Sequence[str]) -> None:
        """Refuse units that were learned from.

        Raises:
            ValueError: Some of them were.
        """
        shared = set(self.unit_digests) & set(digests)
        if shared:
            raise ValueError(
                f"{len(shared)} of {len(digests)} calibration units were used to choose "
                "transforms; a choice made on them voids the guarantee: calibrate on "
                "other units"
            )

    def to_json(self) -> dict[str, Any]:
        """The content of `transforms.json`."""
        content: dict[str, Any] = {
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
            "candidates": list(self.candidates),
            "n_units": len(self.unit_digests),
            "unit_digests": list(self.unit_digests),
        }
        return content | {"digest": digest_json(content)}

    def write(self, path: Path) -> None:
        """Write `transforms.json`; it appears complete or not at all."""
        publish_json(path, self.to_json())


def read_learned(path: Path) -> LearnedSets:
    """Read `transforms.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is another file, of another schema, or was altered.
    """
    content, digest = read_sealed_json(
        path, "choice of transforms", SCHEMA, "learn-sets"
    )
    if content.get("what") != "transforms":
        raise ValueError(f"{path}: not a coverax choice of transforms")
    return LearnedSets(
        alpha=content["alpha"],
        inner=content["inner"],
        outer=content["outer"],
        inner_share=Fraction(content["inner_share"]),
        scores={
            (entry["region"], entry["side"]): tuple(map(float.fromhex, entry["hex"]))
            for entry in content["scores"]
        },
        candidates=tuple(content["candidates"]),
        unit_digests=tuple(content["unit_digests"]),
        digest=digest,
    )


def learn_sets(
    table: LearningTable,
    alpha: Level,
    *,
    tolerance: float = 0.0,
    shares: Sequence[Fraction] = SHARES,
    n_folds: int = 5,
    empty: EmptyPolicy = "include",
    unit_column: str = "unit",
    per_unit: Literal["one"] | None = None,
    seed: int = 0,
    raters: RaterRule | None = None,
) -> LearnedSets:
    """Choose the transforms and the split with the least left to look at.

    For every transform and share, thresholds from all folds but one give sets on that
    one. At each share the inner transform with the largest mean inner set and the outer
    one with the smallest mean outer set are taken; the share is the one with the least
    mean volume between them.

    Args:
        table: Scores and set sizes of the learning cohort.
        alpha: Level that will be asked for.
        tolerance: Only transforms of this tolerance compete.
        shares: Candidate shares of alpha for the inner side.
        n_folds: Folds of units.
        empty: Policy for empty references.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit.
        seed: Of draws and folds.
        raters: What several references of a case do: `worst` or `draw`.

    Raises:
        ValueError: A side has no transform, or there are fewer units than folds.
    """
    level = check_level("alpha", alpha)
    competing = [t for t in table.definition.transforms if t.tolerance == tolerance]
    sides: dict[Side, list[Any]] = {
        side: [t for t in competing if t.side == side] for side in ("inner", "outer")
    }
    for side, transforms in sides.items():
        if not transforms:
            raise ValueError(
                f"the table has no {side} transform of tolerance {tolerance} to choose"
            )
    each = {
        region: keep_rows(
            table,
            region,
            empty=empty,
            unit_column=unit_column,
            per_unit=per_unit,
            seed=seed,
            raters=raters,
        )
        for region in dict.fromkeys(table.column("region"))
    }
    kept = {region: np.flatnonzero(found.rows) for region, found in each.items()}
    scores = {(t.side, t.spec): _worst_scores(table, t, each) for t in competing}
    units = table.column(unit_column)
    if min(rows.size for rows in kept.values()) < n_folds:
        raise ValueError(f"{n_folds} folds need as many units")
    folds = _folds(table, kept, n_folds, seed)
    candidates = [
        {
            "side": transform.side,
            "transform": transform.spec,
            "inner_share": str(share),
            "mean_size": size,
        }
        for transform in competing
        for share, size in zip(
            shares,
            _mean_sizes(
                table,
                transform,
                scores[transform.side, transform.spec],
                kept,
                _parts(transform, level, shares),
                folds,
            ),
            strict=True,
        )
    ]
    best = min(
        (_best_at(candidates, share) for share in shares), key=lambda found: found[0]
    )
    _, share, inner, outer = best
    chosen = [
        t for t in competing if (t.side, t.spec) in {("inner", inner), ("outer", outer)}
    ]
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
        candidates=tuple(candidates),
        unit_digests=unit_digests(
            {str(u) for rows in kept.values() for u in units[rows]}
        ),
    )
    return replace(learned, digest=learned.to_json()["digest"])


def _worst_scores(
    table: LearningTable, transform: Any, each: dict[str, Kept]
) -> np.ndarray:
    """Scores of a transform; the row of a case holds the worst over its references."""
    own = table.set_scores(transform)
    out = own.copy()
    for found in each.values():
        rows = np.flatnonzero(found.rows)
        out[rows] = cases_of(table.column("case_id"), rows, found.references).worst(own)
    return out


def _best_at(candidates: list[dict[str, Any]], share: Fraction):
    """Volume between the best sets at a share, and which they are."""
    mine = [c for c in candidates if c["inner_share"] == str(share)]
    inner = max((c for c in mine if c["side"] == "inner"), key=_size)
    outer = min((c for c in mine if c["side"] == "outer"), key=_size)
    return _size(outer) - _size(inner), share, inner["transform"], outer["transform"]


def _size(candidate: dict[str, Any]) -> float:
    return candidate["mean_size"]


def _folds(
    table: Table, kept: dict[str, np.ndarray], n_folds: int, seed: int
) -> np.ndarray:
    """Fold of every row: a seeded share-out of the sorted case ids."""
    ids = table.column("case_id").astype(str)
    names = sorted({i for rows in kept.values() for i in ids[rows]})
    order = np.random.default_rng(seed).permutation(len(names))
    fold = dict(zip(names, order % n_folds, strict=True))
    return np.array([fold.get(i, -1) for i in ids])


def _parts(
    transform: Any, level: Fraction, shares: Sequence[Fraction]
) -> list[Fraction]:
    """What of the level the transform's side gets at each share."""
    inner = transform.side == "inner"
    return [level * (share if inner else 1 - share) for share in shares]


def _mean_sizes(
    table: LearningTable,
    transform: Any,
    scores: np.ndarray,
    kept: dict[str, np.ndarray],
    levels: Sequence[Fraction],
    folds: np.ndarray,
) -> list[float]:
    """Mean cross-fitted set size at each level: mL, or voxels where a mL is unknown."""
    cuts, counts = table.set_sizes(transform)
    voxel_ml = table.column("voxel_volume_ml")
    voxel_ml = np.where(np.isfinite(voxel_ml), voxel_ml, 1.0)
    whole = table.column("n_voxels") * (transform.side == "outer")
    parts = [
        (rows[folds[rows] != fold], rows[folds[rows] == fold])
        for rows in kept.values()
        for fold in np.unique(folds[rows])
    ]

    def held(others: np.ndarray, mine: np.ndarray, level: Fraction) -> np.ndarray:
        threshold = rank_threshold(scores[others], conformal_rank(others.size, level))
        if threshold == np.inf:
            return whole[mine] * voxel_ml[mine]
        inner = transform.side == "inner"
        cut = _on_map(transform, threshold if inner else -threshold)
        at_cut = _counts_at(cut, cuts, counts[mine], whole[mine], inner=inner)
        return at_cut * voxel_ml[mine]

    return [
        float(np.concatenate([held(*part, level) for part in parts]).mean())
        for level in levels
    ]


def _on_map(transform: Any, cut: float) -> float:
    """A cut of the score as a cut of the map that sizes were counted on."""
    return 1 / (1 + np.exp(-cut)) if transform.name == "logit" else cut


def _counts_at(
    cut: float, cuts: np.ndarray, counts: np.ndarray, whole: np.ndarray, *, inner: bool
) -> np.ndarray:
    """Voxels of the sets at a cut, from the nearest cut counted at on the safe side.

    An inner set is counted a little small and an outer one a little large, which keeps
    `>` and `>=` apart: distances on a lattice lie on their own thresholds.
    """
    above = int(np.searchsorted(cuts, cut, side="right"))
    if inner:
        return counts[:, above] if above < cuts.size else np.zeros(len(counts))
    return counts[:, above - 1] if above > 0 else whole
