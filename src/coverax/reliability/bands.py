"""Calibration by distance to the surface of the reference."""

import math
from itertools import pairwise

import numpy as np

from coverax.engine.results import BinStatistics
from coverax.reliability.bootstrap import drawn_weights, pooled_intervals, resampled
from coverax.reliability.errors import calibration_errors
from coverax.reliability.results import BandResult
from coverax.reliability.statistics import plain, pooled
from coverax.scores import ScoreTable, band_prefix, read_bins


def band_results(
    rows: ScoreTable,
    edges_mm: tuple[float, ...],
    *,
    level: float,
    n_draws: int,
    seed: int,
) -> list[BandResult]:
    """Pooled errors of each band of one region, outermost first.

    The error of a band is that of its voxels alone: near a border a calibrated map has
    bands that are not, since distance to the reference is not known to the map. It says
    where confidences fail, not that they should not.

    Args:
        rows: Rows of the region.
        edges_mm: Signed distances between bands, ascending, positive inside.
        level: Level of the percentile intervals over units.
        n_draws: Bootstrap samples; 0 for no intervals, nor are there any of one unit.
        seed: Seed of the bootstrap.
    """
    units = tuple(rows.column("unit").tolist())
    weights = drawn_weights(units, n_draws, seed)
    ends = (-math.inf, *edges_mm, math.inf)
    results: list[BandResult] = []
    for k, (low, high) in enumerate(pairwise(ends)):
        statistics = read_bins(rows.columns, band_prefix(k))
        draws = None
        if weights is not None:
            draws = _measures(resampled(statistics, units, weights))
        measures = _measures(pooled(statistics))
        result = BandResult(
            from_mm=low if math.isfinite(low) else None,
            to_mm=high if math.isfinite(high) else None,
            n_voxels=int(np.sum(statistics.count)),
            n_foreground=int(np.sum(statistics.sum_y)),
            pooled={name: plain(values[0]) for name, values in measures.items()},
            pooled_interval=pooled_intervals(draws, level),
        )
        results.append(result)
    return results


def _measures(statistics: BinStatistics) -> dict[str, np.ndarray]:
    """Errors, and what is compared: mean probability and frequency of the band."""
    count = np.asarray(statistics.count, np.float64).sum(1)
    n_voxels = np.where(count > 0, count, np.nan)
    return {
        "mean_probability": np.asarray(statistics.sum_p).sum(1) / n_voxels,
        "frequency": np.asarray(statistics.sum_y).sum(1) / n_voxels,
        **calibration_errors(statistics)._asdict(),
    }
