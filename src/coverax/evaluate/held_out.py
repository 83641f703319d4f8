"""Whether the cases of an evaluation were looked at before."""

from typing import Any, NamedTuple

from coverax.calibrate import Calibration
from coverax.provenance import count_parts


class HeldOut(NamedTuple):
    """What of an evaluation was seen before; fields as in `evaluation.json`."""

    n_units_seen_in_calibration: int
    n_cases_of_spent_parts: dict[str, int]
    held_out: bool


def held_out_facts(calibration: Calibration, rows: list[dict[str, Any]]) -> HeldOut:
    """Units that calibrated or were learned from, by name, case id or map.

    Files of an older calibration record units alone: then these alone are compared.

    Args:
        calibration: Carries digests of what it has seen.
        rows: One a case and region, with `unit`, `case_id`, `part`, `map_fingerprint`.
    """
    known = calibration.seen.units_among(
        *([row[k] for row in rows] for k in ("unit", "case_id", "map_fingerprint"))
    )
    part_of = {row["case_id"]: row["part"] for row in rows}
    spent = count_parts(part_of.values())
    return HeldOut(len(known), spent, not known and not spent)


def unknown_notes(calibration: Calibration) -> list[str]:
    """What is not known of whether cases calibrated, a line each."""
    if not calibration.of_sites:
        return []
    return [
        "the calibration is of sums of sites, which name no case: that none of these "
        "cases calibrated is taken for granted"
    ]
