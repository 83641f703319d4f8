"""Rows of an evaluation: what is known of each region of a case, and what is refused."""

from typing import Any

from coverax.calibrate import Calibration
from coverax.evaluate.results import Rows
from coverax.provenance import check_no_copies, check_not_masks, kind_of_values
from coverax.scores import CaseRows
from coverax.volumes import Case

MARKS = ("case_id", "unit", "region", "map_fingerprint")  # what tells copies


def about_case(case: Case, unit_column: str) -> dict[str, Any]:
    """What a row says of its case."""
    return {
        "case_id": case.case_id,
        "unit": case.column(unit_column),
        "group": case.group,
        "rater": case.rater,
        "part": case.part,
        "prediction_file": str(case.probs),
        "reference_file": str(case.labels),
    }


def rows_of_case(about: dict[str, Any], result: CaseRows) -> Rows:
    """What is known of each region of a case."""
    content = result.facts["content"]
    return [
        {
            **about,
            "region": region.name,
            "voxel_volume_ml": result.facts["voxel_volume_ml"],
            "map_fingerprint": content[region.name].fingerprint,
            "map_values": kind_of_values(*content[region.name]),
            **columns,
        }
        for region, columns in result.rows
    ]


def check_hard_masks(calibration: Calibration, maps: Rows, *, allow: bool) -> None:
    """Refuse maps that hold 0 and 1 alone, unless asked for or calibrated on."""
    check_not_masks(
        [(row["case_id"], row["region"], row["map_values"]) for row in maps],
        allow=allow or calibration.definition.allow_hard_masks,
    )


def refuse_copies(calibration: Calibration, maps: Rows) -> None:
    """Refuse one map under the names of several units, as scoring does."""
    case_ids, units, regions, marks = ([r[k] for r in maps] for k in MARKS)
    allow = calibration.definition.allow_duplicates
    check_no_copies(case_ids, units, regions, marks, allow=allow)
