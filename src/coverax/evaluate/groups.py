"""A calibration with a threshold a group, against cases whose group is known."""

from dataclasses import replace
from typing import Any

from coverax.calibrate import MERGED, Calibration
from coverax.evaluate.compute import Evaluation, evaluate_cohort, refuse_copies
from coverax.evaluate.results import Summary
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
    parts: dict[str, Evaluation] = {}
    for name, own in {name_of[group]: own for group, own in served.items()}.items():
        mine = tuple(case for case in cohort.cases if name_of[groups[case]] == name)
        parts[name] = evaluate_cohort(own, Cohort(mine, {}), none_too=True, **options)
    # Each group has looked at its own maps; copies may lie in two.
    refuse_copies(calibration, [own for part in parts.values() for own in part.maps])
    summary = _joined({name: part.summary for name, part in parts.items()}, cohort)
    summary.check_results()
    rows = [row for part in parts.values() for row in part.cases]
    overlaps = tuple(overlap for part in parts.values() for overlap in part.overlaps)
    return Evaluation(summary, rows, overlaps)


def _joined(parts: dict[str, Summary], cohort: Cohort) -> Summary:
    """The summaries of groups as one."""
    every = list(parts.values())
    spent: dict[str, int] = {}
    excluded = {why: list(ids) for why, ids in cohort.excluded.items()}
    for part in every:
        for name, n in part.n_cases_of_spent_parts.items():
            spent[name] = spent.get(name, 0) + n
        for why, ids in part.excluded.items():
            excluded.setdefault(why, []).extend(ids)
    return replace(
        every[0],
        n_cases=sum(part.n_cases for part in every),
        n_units=sum(part.n_units for part in every),
        n_units_seen_in_calibration=sum(p.n_units_seen_in_calibration for p in every),
        n_cases_of_spent_parts=spent,
        held_out=all(part.held_out for part in every),
        excluded=excluded,
        results=[
            replace(result, group=name)
            for name, part in parts.items()
            for result in part.results
        ],
        not_evaluated={
            f"{region}, group {name}": why
            for name, part in parts.items()
            for region, why in part.not_evaluated.items()
        },
    )


def _name(group: str, own: Calibration) -> str:
    """What a group is evaluated as: `other` where that serves it in every region."""
    serving = {t.group for t in own.thresholds} - {""}
    return MERGED if serving == {MERGED} else group
