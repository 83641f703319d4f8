"""Intervals of volumes: what a calibration says of one map, and the list of all."""

import math
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, Interval, VolumeRecord
from coverax.predict.masks import RegionMasks, at_or_above
from coverax.scores import View, count_columns, lone_batch, resolve_engine

VOLUMES = "volumes.csv"


def interval_of(calibration: Calibration) -> Interval:
    """How the volumes of a calibration are estimated.

    Raises:
        ValueError: It is of another method.
    """
    record = calibration.record
    if not isinstance(record, VolumeRecord):
        raise ValueError(f"a calibration of method {calibration.method} has no volumes")
    return Interval(record.estimate, record.scale, record.one_sided)


def map_counts(calibration: Calibration, view: View) -> dict[str, np.ndarray]:
    """Counts and sums of one map, as the score table has them; the bits of any engine."""
    engine = resolve_engine("host")
    batch = lone_batch(engine, view, spatial=False)
    return count_columns(engine, batch, calibration.definition)


def voxel_ml_of(view: View) -> float:
    """Volume of a voxel of a view.

    Raises:
        ValueError: The map does not tell it.
    """
    if view.grid is None:
        raise ValueError("a volume in mL needs the grid of the voxels: give spacing_mm")
    view.grid.check_sizes()
    return view.grid.voxel_volume_ml


def interval_masks(calibration: Calibration, view: View) -> RegionMasks:
    """The interval of one map, and the mask at the cut of its estimate.

    Raises:
        ValueError: The map has no size of voxels in mm.
    """
    voxel_ml = voxel_ml_of(view)
    interval = interval_of(calibration)
    threshold = calibration.threshold_of(view.region.name)
    columns = map_counts(calibration, view)
    found = interval.bounds(columns, voxel_ml, threshold.value)
    mask = at_or_above(view.probs, interval.mask_cut)
    entry = {
        "status": threshold.status.name,
        "mask_cut": interval.mask_cut,
        "n_predicted": int(np.count_nonzero(mask)),
        "volume_ml": found.volume_ml,
        "low_ml": found.low_ml,
        "high_ml": found.high_ml if math.isfinite(found.high_ml) else None,
    }
    return RegionMasks({"": mask}, 1, entry)


def volume_rows(sidecars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `volumes.csv`; a region that was refused has none."""
    return [
        {"case_id": sidecar["case_id"], "region": entry["region"]}
        | {name: entry[name] for name in ("volume_ml", "low_ml", "high_ml")}
        for sidecar in sidecars
        for entry in sidecar["masks"]
        if entry["mask"] is not None
    ]
