"""Releases: what a calibration says of one map, and the list of all."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from coverax.calibrate import (
    Calibration,
    Triage,
    TriageRecord,
    given_number,
    is_released,
)
from coverax.calibrate.map_facts import grid_cut
from coverax.predict.masks import RegionMasks, at_or_above, volume_ml
from coverax.predict.volumes import map_counts
from coverax.scores import View
from coverax.stream import check_failures
from coverax.volumes import Case

# Case id to what the cohort gives as its confidence; by region, where it differs.
Given = Mapping[str, float | Mapping[str, float]]
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
    return Triage(
        record.loss,
        record.bad_below,
        record.confidence,
        record.cut,
        record.confident_at,
    )


def confidence_column(calibration: Calibration) -> str | None:
    """The column of the cohort that masks are ranked by; None where their maps tell."""
    record = calibration.record
    if not isinstance(record, TriageRecord) or record.confident_at is None:
        return None
    return record.confidence


def cohort_confidences(
    calibration: Calibration, cases: Iterable[Case]
) -> dict[str, dict[str, float]] | None:
    """What a cohort gives as confidence: case id to region ("" for all) to number.

    None where the calibration ranks masks by their maps.

    Raises:
        ValueError: The cohort has no such column.
        ExceptionGroup: Cells are no finite numbers; one exception each.
    """
    name = confidence_column(calibration)
    if name is None:
        return None
    found: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    for case in cases:
        value = case.column(name)
        try:
            number = given_number(value, name)
        except ValueError as error:
            failures[case.case_id] = str(error)
            continue
        found.setdefault(case.case_id, {})[case.region or ""] = number
    check_failures(failures, len(found) + len(failures))
    return found


def check_given(
    calibration: Calibration,
    given: Given | None,
    case_ids: Iterable[str],
    *,
    allow_missing: bool,
) -> None:
    """Refuse maps without the confidence that ranks them, before the first mask is made.

    Raises:
        ValueError: None are given, or they are and the calibration takes none.
        ExceptionGroup: Of some cases there is none; one exception each.
    """
    name = confidence_column(calibration)
    if name is None:
        if given is not None:
            raise ValueError("the calibration takes no confidences: its maps tell them")
        return
    if given is None:
        raise ValueError(
            f"the calibration ranks masks by {name} of the cohort: give the new cases as "
            f"a cohort that has it (--cohort), or by case (confidences)"
        )
    lacking = [case_id for case_id in case_ids if case_id not in given]
    if lacking and not allow_missing:
        why = f"no {name}, the confidence, is given for it"
        check_failures(dict.fromkeys(lacking, why), len(given) + len(lacking))


def given_of(
    calibration: Calibration, given: Given | None, case_id: str, region: str
) -> float | None:
    """The confidence of a region of a case; None where its map tells it.

    Raises:
        ValueError: None is given, or it is no finite number.
    """
    name = confidence_column(calibration)
    if name is None:
        return None
    own = (given or {}).get(case_id)
    if isinstance(own, Mapping):
        own = own.get(region, own.get(""))
    if own is None:
        raise ValueError(f"region {region}: no {name}, the confidence, is given for it")
    return given_number(own, name)


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


def release_masks(
    calibration: Calibration, view: View, given: float | None = None
) -> RegionMasks:
    """The mask of one map at the recorded cut, and whether it may go out unread.

    Args:
        calibration: Of releases.
        view: The map.
        given: What the cohort gives as its confidence, where that ranks masks.
    """
    triage, region = triage_of(calibration), view.region.name
    cut = grid_cut(triage.cut)
    known = (
        map_counts(calibration, view)
        if given is None
        else {triage.confidence: np.array([given])}
    )
    unsure = float(triage.uncertainty(known)[0])
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
