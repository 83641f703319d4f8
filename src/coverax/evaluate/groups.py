"""A calibration with a threshold a group, against cases whose group is known."""

from typing import Any

from coverax.calibrate import MERGED, Calibration
from coverax.evaluate.compute import Evaluation, evaluate_cohort
from coverax.volumes import Cohort


def evaluate_groups(
    calibration: Calibration, cohort: Cohort, **options: Any
) -> Evaluation:
    """Evaluate every group with its own thresholds; one result a region and group.

    Groups that `other` serves in every region count together there, as they are promised.
    Takes the options of `evaluate_cohort`.

    Raises:
        ValueError: The cohort has no column of these groups, a case is of a group that
            was not calibrated, or no case counts.
        ExceptionGroup: Cases failed; one exception each.
    """
    column = str(calibration.policy.group_by)
    groups = {case: case.column(column) for case in cohort.cases}
    served = {
        group: calibration.of_group(group) for group in sorted(set(groups.values()))
    }
    name_of = {group: _name(group, own) for group, own in served.items()}
    parts: list[Evaluation] = []
    for group, own in {name_of[group]: own for group, own in served.items()}.items():
        mine = tuple(case for case in cohort.cases if name_of[groups[case]] == group)
        part = evaluate_cohort(own, Cohort(mine, {}), none_too=True, **options)
        for result in part.summary["results"]:
            result["group"] = group
        parts.append(part)
    results = [r for part in parts for r in part.summary["results"]]
    lacking = {
        f"{region}, group {group}": why
        for group, part in zip(dict.fromkeys(name_of.values()), parts, strict=True)
        for region, why in part.summary["not_evaluated"].items()
    }
    if not results:
        raise ValueError("; ".join(f"region {k}: {why}" for k, why in lacking.items()))
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
            "results": results,
            "not_evaluated": lacking,
        }
    )
    rows = [row for part in parts for row in part.cases]
    overlaps = tuple(overlap for part in parts for overlap in part.overlaps)
    return Evaluation(summary, rows, overlaps)


def _name(group: str, own: Calibration) -> str:
    """What a group is evaluated as: `other` where that serves it in every region."""
    serving = {t.group for t in own.thresholds} - {""}
    return MERGED if serving == {MERGED} else group
