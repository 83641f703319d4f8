"""A calibration with a threshold a group, against cases whose group is known."""

from typing import Any

from coverax.calibrate import Calibration
from coverax.evaluate.compute import Evaluation, evaluate_cohort
from coverax.volumes import Cohort


def evaluate_groups(
    calibration: Calibration, cohort: Cohort, **options: Any
) -> Evaluation:
    """Evaluate every group with its own thresholds; one result a region and group.

    Takes the options of `evaluate_cohort`.

    Raises:
        ValueError: The cohort has no column of these groups, or a case is of a group
            that was not calibrated.
        ExceptionGroup: Cases failed; one exception each.
    """
    column = calibration.options["group_by"]
    groups = {case: case.column(column) for case in cohort.cases}
    parts: list[Evaluation] = []
    for group in sorted(set(groups.values())):
        mine = tuple(case for case in cohort.cases if groups[case] == group)
        own = calibration.of_group(group)
        evaluation = evaluate_cohort(own, Cohort(mine, {}), **options)
        for result in evaluation.summary["results"]:
            result["group"] = group
        parts.append(evaluation)
    first = parts[0].summary
    totals = {
        name: sum(part.summary[name] for part in parts)
        for name in ("n_cases", "n_units", "n_units_seen_in_calibration")
    }
    excluded = {why: list(ids) for why, ids in cohort.excluded.items()}
    for part in parts:
        for why, ids in part.summary["excluded"].items():
            excluded.setdefault(why, []).extend(ids)
    summary = (
        first
        | totals
        | {
            "held_out": totals["n_units_seen_in_calibration"] == 0,
            "excluded": excluded,
            "results": [r for part in parts for r in part.summary["results"]],
        }
    )
    return Evaluation(summary, [row for part in parts for row in part.cases])
