"""Whether the cases of an evaluation were looked at before, and what is then not said."""

from typing import Any

from coverax.calibrate import Calibration
from coverax.provenance import count_parts


def held_out_facts(
    calibration: Calibration, rows: list[dict[str, Any]]
) -> dict[str, Any]:
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
    return {
        "n_units_seen_in_calibration": len(known),
        "n_cases_of_spent_parts": spent,
        "held_out": not known and not spent,
    }


def without_law(result: Any) -> Any:
    """A result without its exact law and bands: they are not of cases already seen."""
    if isinstance(result, list):
        return [without_law(entry) for entry in result]
    if not isinstance(result, dict):
        return result
    nothing = {"expected_ecr": None, "ecr_band": [], "expected": None, "band": None}
    return {
        key: nothing[key] if key in nothing else without_law(value)
        for key, value in result.items()
        if not key.endswith("_band") or key in nothing
    }
