"""Releases: what a calibration says of one map, and the list of all."""

from typing import Any

import numpy as np

from coverax.calibrate import Calibration, Triage, TriageRecord, is_released
from coverax.calibrate.map_facts import grid_cut
from coverax.predict.masks import RegionMasks, at_or_above, volume_ml
from coverax.predict.volumes import map_counts
from coverax.scores import View

TRIAGE = "triage.csv"
_COLUMNS = ("released", "uncertainty", "dice_floor")


def triage_of(calibration: Calibration) -> Triage:
    """What the masks of a calibration are released by.

    Raises:
        ValueError: It is of another method.
    """
    record = calibration.record
    if not isinstance(record, TriageRecord):
        raise ValueError(
            f"a calibration of method {calibration.method} releases nothing"
        )
    return Triage(record.loss, record.bad_below, record.confidence, record.cut)


def verdict(
    calibration: Calibration, region: str, uncertainty: float
) -> dict[str, Any]:
    """Whether a mask goes out, and the Dice that it has at least."""
    triage = triage_of(calibration)
    limit = calibration.threshold_of(region, "release").value
    floor = None
    if triage.has_floor:
        value = calibration.threshold_of(region, "floor").value
        floor = triage.floor(uncertainty, value)
    found = bool(is_released(np.array([uncertainty]), limit)[0])
    return dict(zip(_COLUMNS, (found, uncertainty, floor), strict=True))


def release_masks(calibration: Calibration, view: View) -> RegionMasks:
    """The mask of one map at the recorded cut, and whether it may go out unread."""
    triage, region = triage_of(calibration), view.region.name
    cut = grid_cut(triage.cut)
    unsure = float(triage.uncertainty(map_counts(calibration, view))[0])
    mask = at_or_above(view.probs, cut)
    n_predicted = int(np.count_nonzero(mask))
    entry = {
        "status": calibration.threshold_of(region, "release").status.name,
        "mask_cut": cut,
        "n_predicted": n_predicted,
        "volume_ml": volume_ml(n_predicted, view),
        **verdict(calibration, region, unsure),
    }
    return RegionMasks({"": mask}, 1, entry)


def triage_rows(sidecars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `triage.csv`; a region that was refused has none, and goes nowhere."""
    return [
        {"case_id": sidecar["case_id"], "region": entry["region"]}
        | {name: entry[name] for name in _COLUMNS}
        for sidecar in sidecars
        for entry in sidecar["masks"]
        if entry["mask"] is not None
    ]
