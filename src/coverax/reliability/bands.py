"""Calibration by distance to the surface of the reference."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from coverax.reliability.bootstrap import interval, resampled, unit_weights
from coverax.reliability.errors import calibration_errors
from coverax.reliability.statistics import HasBins, pooled
from coverax.scores import band_prefix, read_bins


def band_results(
    rows: pa.Table,
    edges_mm: tuple[float, ...],
    *,
    level: float,
    n_draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Pooled errors of each band of one region, outermost first.

    The error of a band is that of its voxels alone: near a border a calibrated map has
    bands that are not, since distance to the reference is not known to the map. It says
    where confidences fail, not that they should not.

    Args:
        rows: Rows of the region.
        edges_mm: Signed distances between bands, ascending, positive inside.
        level: Of the percentile intervals over units.
        n_draws: Bootstrap samples; 0 for no intervals.
        seed: Of the bootstrap.
    """
    units = tuple(rows.column("unit").to_pylist())
    ends = (-math.inf, *edges_mm, math.inf)
    results = []
    for k, (low, high) in enumerate(pairwise(ends)):
        statistics = read_bins(rows, band_prefix(k))
        result: dict[str, Any] = {
            "from_mm": low if math.isfinite(low) else None,
            "to_mm": high if math.isfinite(high) else None,
            "n_voxels": int(np.sum(statistics.count)),
            "n_foreground": int(np.sum(statistics.sum_y)),
            "pooled": {
                n: _plain(v[0]) for n, v in _measures(pooled(statistics)).items()
            },
        }
        if n_draws:
            weights = unit_weights(len(set(units)), n_draws, seed)
            draws = _measures(resampled(statistics, units, weights))
            result["pooled_interval"] = {
                name: [_plain(end) for end in interval(values, level)]
                for name, values in draws.items()
            }
        results.append(result)
    return results


def _measures(statistics: HasBins) -> dict[str, np.ndarray]:
    """Errors, and what is compared: mean probability and frequency of the band."""
    count = np.asarray(statistics.count, np.float64).sum(1)
    n_voxels = np.where(count > 0, count, np.nan)
    return {
        "mean_probability": np.asarray(statistics.sum_p).sum(1) / n_voxels,
        "frequency": np.asarray(statistics.sum_y).sum(1) / n_voxels,
        **calibration_errors(statistics)._asdict(),
    }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
