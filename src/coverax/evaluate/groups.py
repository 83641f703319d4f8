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
        ValueError: Groups are of another column than the cohort's `group`, or a case is
            of a group that was not calibrated.
        ExceptionGroup: Cases failed; one exception each.
    """
    column = calibration.options["group_by"]
    if column != "group":
        raise ValueError(
            f"the calibration is by {column}, which cohort.csv does not have; evaluation "
            "knows column group alone"
        )
    parts: list[Evaluation] = []
    for group in sorted({case.group for case in cohort.cases}):
        mine = tuple(case for case in cohort.cases if case.group == group)
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
    spent: dict[str, int] = {}
    for part in parts:
        for name, n in part.summary["n_cases_of_spent_parts"].items():
            spent[name] = spent.get(name, 0) + n
    excluded = {why: list(ids) for why, ids in cohort.excluded.items()}
    for part in parts:
        for why, ids in part.summary["excluded"].items():
            excluded.setdefault(why, []).extend(ids)
    summary = (
        first
        | totals
        | {
            "n_cases_of_spent_parts": spent,
            "held_out": all(part.summary["held_out"] for part in parts),
            "excluded": excluded,
            "results": [r for part in parts for r in part.summary["results"]],
        }
    )
    return Evaluation(summary, [row for part in parts for row in part.cases])
