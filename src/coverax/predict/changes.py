"""Changes between visits: what is kept of each map, and the list of all pairs."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from coverax.calibrate import (
    Calibration,
    Measured,
    Visit,
    change_bounds,
    measured,
    pair_visits,
)
from coverax.predict.masks import RegionMasks, at_or_above
from coverax.predict.volumes import interval_of, map_counts, voxel_ml_of
from coverax.scores import View
from coverax.table import VISIT
from coverax.volumes import Case, sessions_of, units_of

CHANGES = "changes.csv"


def visits_of(
    calibration: Calibration, cases: Iterable[Case] | Iterable[str]
) -> dict[str, Visit] | None:
    """Units and visits of cases, and their groups; None where no change is promised, or nothing tells them.

    Args:
        calibration: What is promised.
        cases: Of a cohort; or case ids alone, which tell them if they are names of BIDS.

    Raises:
        ValueError: The cohort lacks the column of units or of visits.
    """
    if calibration.kind != "change":
        return None
    each, unit = list(cases), calibration.policy.unit_column
    if names := [case for case in each if isinstance(case, str)]:
        sessions, units = sessions_of(names), units_of(names)
        return {i: Visit(units[i], sessions[i]) for i in sessions} or None
    by = calibration.policy.group_by
    return {
        case.case_id: Visit(
            case.column(unit), case.column(VISIT), "" if by is None else case.column(by)
        )
        for case in each
        if isinstance(case, Case)
    }


def check_visits(
    calibration: Calibration,
    visits: Mapping[str, Visit] | None,
    maps: Mapping[str, Any],
    groups: Mapping[str, str],
) -> None:
    """Refuse maps that are no pairs of visits, before the first mask is made.

    Raises:
        ValueError: A change is promised and visits are not named, or have no pairs; or
            they are named and none is promised.
    """
    if calibration.kind != "change":
        if visits is not None:
            raise ValueError("visits belong to a calibration of a change (--change)")
        return
    if visits is None:
        raise ValueError(
            "the calibration is of the change between two visits: give the new cases as a "
            "cohort with a column visit (--cohort), or by case (visits)"
        )
    if lost := sorted(maps.keys() - visits.keys()):
        raise ValueError(f"case {lost[0]}: its visit is not named")
    pair_visits({i: visits[i]._replace(group=groups.get(i, "")) for i in maps})


def visit_masks(calibration: Calibration, view: View) -> RegionMasks:
    """What one map says of its volume, and the mask at the cut of its estimate.

    Raises:
        ValueError: The map has no size of voxels in mm.
    """
    interval = interval_of(calibration)
    threshold = calibration.threshold_of(view.region.name)
    voxel_ml = np.array([voxel_ml_of(view)])
    (own,) = measured(interval, map_counts(calibration, view), voxel_ml)
    mask = at_or_above(view.probs, interval.mask_cut)
    entry = {
        "status": threshold.status.name,
        "mask_cut": interval.mask_cut,
        "n_predicted": int(np.count_nonzero(mask)),
        **own._asdict(),
        "threshold": threshold.value.hex(),
    }
    return RegionMasks({"": mask}, 1, entry)


def change_rows(
    calibration: Calibration,
    sidecars: Sequence[Mapping[str, Any]],
    visits: Mapping[str, Visit],
) -> list[dict[str, Any]]:
    """Rows of `changes.csv`; a pair of which a map failed has none."""
    interval = interval_of(calibration)
    known = {s["case_id"]: {e["region"]: e for e in s["masks"]} for s in sidecars}
    rows: list[dict[str, Any]] = []
    for unit, (first, second) in sorted(pair_visits(visits).items()):
        for region, later in known.get(second, {}).items():
            earlier = known.get(first, {}).get(region)
            if earlier is None or None in (earlier["mask"], later["mask"]):
                continue
            limit = float.fromhex(later["threshold"])
            found = change_bounds(interval, _own(earlier), _own(later), limit)
            rows.append(
                {
                    "unit": unit,
                    "region": region,
                    "earlier": first,
                    "later": second,
                    "earlier_ml": earlier["volume_ml"],
                    "later_ml": later["volume_ml"],
                    "change_ml": found.change_ml,
                    "low_ml": _finite(found.low_ml),
                    "high_ml": _finite(found.high_ml),
                    "excludes_zero": found.excludes_zero,
                }
            )
    return rows


def _own(entry: Mapping[str, Any]) -> Measured:
    return Measured(entry["volume_ml"], entry["scale_ml"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
