"""Metrics of every case at the threshold every other case would set."""

import numpy as np
from jaxtyping import Float, Int

from coverax.calibrate.losses import Counts, dice_loss, fnr_loss, fpr_loss
from coverax.scores import ScoreTable


def critical_metrics(
    table: ScoreTable, region: str, tolerance: float, rows: Int[np.ndarray, " rows"]
) -> dict[str, Float[np.ndarray, "rows rows"]]:
    """FNR, missed cases, FPR, PC, Dice and volume of row i at the score of row j.

    Exact: the counts are those of a second pass at the cohort's own thresholds. Empty
    without that pass (`score --curves`); a metric that does not apply to some row (the
    volume of voxels of unknown size) is left out.

    Args:
        table: Score table.
        region: Its region.
        tolerance: Tolerance whose critical probabilities are the thresholds.
        rows: Rows of that region.
    """
    curves = table.critical_curves(region)
    if curves is None:
        return {}
    mine = np.flatnonzero(table.column("region") == region)
    own = np.searchsorted(mine, rows)
    cuts = table.critical_probability(tolerance)[rows]
    # An empty reference sets the cut to infinity: an empty mask, one place further on.
    place = np.where(
        np.isfinite(cuts), np.searchsorted(curves.cuts, cuts), curves.cuts.size
    )
    empty = np.zeros((rows.size, 1), curves.n_predicted.dtype)
    n_voxels = table.column("n_voxels")[rows, None]
    counts = Counts(
        cuts,
        n_voxels,
        table.column("n_foreground")[rows, None],
        np.hstack([curves.n_predicted[own], empty])[:, place],
        np.hstack([curves.n_true_positive[own], empty])[:, place],
    )
    fnr = fnr_loss(counts)
    metrics = {
        "fnr": fnr,
        "p_fnr": (fnr == 1).astype(np.float64),
        "fpr": fpr_loss(counts),
        "pc": counts.n_predicted / n_voxels,
        "dice": 1 - dice_loss(counts),
        "volume_ml": counts.n_predicted
        * table.column("voxel_volume_ml")[rows, None].astype(np.float64),
    }
    return {name: m for name, m in metrics.items() if not np.isnan(m).any()}
