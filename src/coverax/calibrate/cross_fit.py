"""What the sets of every transform would cost: thresholds from the other folds.

No unit that calibrates is looked at, and none is counted by a threshold of its own fold.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from coverax.calibrate.ranks import conformal_rank
from coverax.calibrate.split import rank_threshold
from coverax.files import Json
from coverax.table import ScoreTable, Transform
from coverax.table.transforms import on_map


def share_out(
    table: ScoreTable, kept: dict[str, np.ndarray], n_folds: int, seed: int
) -> np.ndarray:
    """Fold of every row: a seeded share-out of the sorted case ids."""
    ids = table.column("case_id").astype(str)
    names = sorted({i for rows in kept.values() for i in ids[rows]})
    order = np.random.default_rng(seed).permutation(len(names))
    fold = dict(zip(names, order % n_folds, strict=True))
    return np.array([fold.get(i, -1) for i in ids])


def cross_fitted(
    table: ScoreTable,
    scored: Sequence[tuple[Transform, np.ndarray]],
    kept: dict[str, np.ndarray],
    level: Fraction,
    shares: Sequence[Fraction],
    folds: np.ndarray,
    n_axes: int,
) -> list[Json]:
    """The sets of every transform at every share, each fold by the others' thresholds.

    Args:
        table: Set sizes of the learning cohort.
        scored: Transforms, each with its scores, one a row.
        kept: Region to the rows that count.
        level: Of both sides together.
        shares: Shares of it for the inner side.
        folds: Fold of every row.
        n_axes: Axes of the volumes, whose root of a size is a width.
    """
    return [
        {"side": transform.side, "transform": transform.spec, "inner_share": str(share)}
        | sets
        for transform, scores in scored
        for share, sets in zip(
            shares,
            _costs(
                table,
                transform,
                scores,
                kept,
                _parts(transform, level, shares),
                folds,
                n_axes,
            ),
            strict=True,
        )
    ]


def _parts(
    transform: Transform, level: Fraction, shares: Sequence[Fraction]
) -> list[Fraction]:
    """What of the level the transform's side gets at each share."""
    inner = transform.side == "inner"
    return [level * (share if inner else 1 - share) for share in shares]


def _costs(
    table: ScoreTable,
    transform: Transform,
    scores: np.ndarray,
    kept: dict[str, np.ndarray],
    levels: Sequence[Fraction],
    folds: np.ndarray,
    n_axes: int,
) -> list[dict[str, float]]:
    """Mean width, mean size and share of empty sets, cross-fitted, at each level.

    Millimetres and millilitres, or voxels where a voxel's volume is unknown. A rank
    beyond the other folds is their last.
    """
    cuts, counts = table.side_sizes(transform)
    voxel_ml = table.column("voxel_volume_ml")
    known = np.isfinite(voxel_ml)
    whole = table.column("n_voxels") * (transform.side == "outer")
    parts = [
        (rows[folds[rows] != fold], rows[folds[rows] == fold])
        for rows in kept.values()
        for fold in np.unique(folds[rows])
    ]
    order = np.concatenate([mine for _, mine in parts])

    def voxels(others: np.ndarray, mine: np.ndarray, level: Fraction) -> np.ndarray:
        rank = min(conformal_rank(others.size, level), others.size)
        threshold = rank_threshold(scores[others], rank)
        if threshold == np.inf:
            return whole[mine]
        inner = transform.side == "inner"
        cut = on_map(transform, threshold if inner else -threshold)
        return _counts_at(cut, cuts, counts[mine], whole[mine], inner=inner)

    def means(level: Fraction) -> dict[str, float]:
        n = np.concatenate([voxels(*part, level) for part in parts])
        ml = n * np.where(known, voxel_ml, 1.0)[order]
        mm = (n * np.where(known, 1000 * voxel_ml, 1.0)[order]) ** (1 / n_axes)
        return {
            "mean_width": float(mm.mean()),
            "mean_size": float(ml.mean()),
            "share_empty": float((n == 0).mean()),
        }

    return [means(level) for level in levels]


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
