"""What a map says of volume and confidence, from its counts and sums: no reference.

A score table holds them for every case, and one new map gives the same columns, so that
calibration, prediction and evaluation read the same numbers to the bit.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from coverax.rational import Level, as_fraction
from coverax.shown import plural
from coverax.table import ScoreDefinition, ScoreTable
from coverax.table.columns import GRID_PREDICTED, N_CUTS, REGION

Counts = Mapping[str, Any]


def grid_cut(cut: Level) -> float:
    """A cut of the grid at which voxels are counted, as a probability in (0, 1).

    Raises:
        ValueError: It is none, or lies outside (0, 1).
    """
    wanted = as_fraction(cut)
    if not 0 < wanted < 1:
        raise ValueError(f"a cut must lie between 0 and 1, got {cut}")
    place = wanted * N_CUTS
    if place.denominator != 1:
        near = min(max(round(place), 1), N_CUTS - 1)
        raise ValueError(
            f"voxels are counted at multiples of 1/{N_CUTS}, and {cut} is none: the "
            f"nearest is {near / N_CUTS}"
        )
    return float(wanted)


def check_counts(definition: ScoreDefinition, what: str, *, bins: bool) -> None:
    """Refuse a table without the counts and sums that are needed, or that left voxels out.

    Args:
        definition: What the table holds.
        what: What is asked of it, for messages.
        bins: Whether sums of probabilities are needed beside counts at cuts.

    Raises:
        ValueError: It holds none, or its bins do not end at 0.5, or voxels were left out
            by their reference.
    """
    if not definition.grid:
        raise ValueError(f"{what} needs the counts at cuts: score without --no-grid")
    if bins and (definition.n_bins == 0 or definition.n_bins % 2):
        raise ValueError(
            f"{what} needs sums of probabilities below and above 0.5, so an even number "
            f"of bins: the table has {definition.n_bins}; score with --bins 20"
        )
    if definition.ignore_label is not None:
        raise ValueError(
            f"{what} is read from whole maps, and the table left out voxels of label "
            f"{definition.ignore_label}, which no new map tells: score without "
            "--ignore-label"
        )


def check_voxels(table: ScoreTable, what: str) -> None:
    """Refuse cases whose voxels have no volume.

    Raises:
        ValueError: The map of a case has no spacing in mm.
    """
    unknown = ~np.isfinite(np.asarray(table.column("voxel_volume_ml"), float))
    if unknown.any():
        raise ValueError(
            f"{plural(int(unknown.sum()), 'case', 'has', 'have')} no size of voxels in "
            f"mm, the first is case {table.column('case_id')[unknown][0]}: {what} "
            "needs it"
        )


def n_predicted(columns: Counts, cut: float) -> Int[np.ndarray, " rows"]:
    """Voxels at or above a cut of the grid."""
    counts = np.asarray(columns[GRID_PREDICTED])
    return counts[:, round(cut * N_CUTS)].astype(np.int64)


def sum_p(columns: Counts) -> Float[np.ndarray, " rows"]:
    """Sum of the probabilities of a map."""
    return _sums(_bins(columns)[1])


def sum_uncertain(columns: Counts) -> Float[np.ndarray, " rows"]:
    """Sum of min(p, 1 - p) over the voxels of a map: what a perfect model would get wrong."""
    count, sums = _bins(columns)
    half = count.shape[1] // 2
    far = count[:, half:] - sums[:, half:]
    return np.maximum(_sums(np.hstack([sums[:, :half], far])), 0.0)


def soft_dice_confidence(columns: Counts) -> Float[np.ndarray, " rows"]:
    """Twice the probability inside the mask at 0.5, over that of the map and the mask.

    1 for a map without any probability: mask and map agree on nothing.

    References:
        Borges et al. (2024), Soft Dice Confidence: A Near-Optimal Confidence Estimator
        for Selective Prediction in Semantic Segmentation.
    """
    count, sums = _bins(columns)
    half = count.shape[1] // 2
    inside = n_predicted(columns, 0.5)
    # A voxel of exactly 0.5 is in the mask, and in the bin that ends there.
    n_at_half = inside - count[:, half:].sum(1)
    upper = _sums(sums[:, half:]) + 0.5 * n_at_half
    whole = sum_p(columns) + inside
    out = np.ones(len(whole))
    np.divide(2 * upper, whole, out=out, where=whole > 0)
    return out


def _bins(columns: Counts) -> tuple[np.ndarray, np.ndarray]:
    count = np.asarray(columns[REGION + "count"], np.int64)
    return count, np.asarray(columns[REGION + "sum_p"], np.float64)


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums of rows, rounded once: in whatever shape they come, the same bits."""
    return np.array([math.fsum(row) for row in values.tolist()])
