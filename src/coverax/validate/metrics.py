"""Metrics of every case at the threshold every other case would set."""

import numpy as np
from jaxtyping import Float

from coverax.calibrate import Cases, Counts
from coverax.calibrate.losses import (
    dice_loss,
    fnr_loss,
    fpr_loss,
    missed_lesions_loss,
    with_lesions,
)
from coverax.scores import ScoreTable


def critical_metrics(
    table: ScoreTable, region: str, tolerance: float, cases: Cases
) -> dict[str, Float[np.ndarray, "cases cases"]]:
    """FNR, missed cases, FPR, PC, Dice and volume of case i at the score of case j.

    Exact: the counts are those of a second pass at the cohort's own thresholds. Empty
    without that pass (`score --curves`); a metric that does not apply to some case (the
    volume of voxels of unknown size) is left out. With lesions in the table their
    detection rate comes with it (1 where there is none). Of several references each
    metric takes the one it is worst on.

    Args:
        table: Score table.
        region: Its region.
        tolerance: Tolerance whose critical probabilities are the thresholds.
        cases: Cases of that region.
    """
    curves = table.critical_curves(region)
    if curves is None:
        return {}
    mine = np.flatnonzero(table.column("region") == region)
    rows, own = cases.members, np.searchsorted(mine, cases.members)
    cuts = -cases.worst(-table.critical_probability(tolerance))
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
    voxel_ml = table.column("voxel_volume_ml")[rows, None].astype(np.float64)
    fnr = cases.worst_of(fnr_loss(counts))
    metrics = {
        "fnr": fnr,
        "p_fnr": (fnr == 1).astype(np.float64),
        "fpr": cases.worst_of(fpr_loss(counts)),
        "pc": cases.worst_of(counts.n_predicted / n_voxels),
        "dice": 1 - cases.worst_of(dice_loss(counts)),
        "volume_ml": cases.worst_of(counts.n_predicted * voxel_ml),
    }
    peaks = table.lesion_peaks()
    if peaks is not None:
        missed = with_lesions(counts, [peaks[row] for row in rows])
        metrics["lesion_detection"] = 1 - cases.worst_of(missed_lesions_loss(missed))
    return {name: m for name, m in metrics.items() if not np.isnan(m).any()}
