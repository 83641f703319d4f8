"""A calibration with a threshold a group, against cases whose group is known."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from coverax.calibrate import MERGED, Calibration, pair_visits
from coverax.evaluate.compute import CohortRows, count_cohort, judged
from coverax.evaluate.froc import with_froc
from coverax.evaluate.references import draw_over_all
from coverax.evaluate.results import Evaluation, Summary
from coverax.evaluate.rows import refuse_copies
from coverax.evaluate.set_results import AllRegions, Coverage
from coverax.predict import visits_of
from coverax.volumes import Cohort

_log = logging.getLogger("coverax")


def evaluate_groups(
    calibration: Calibration,
    cohort: Cohort,
    *,
    seed: int = 0,
    allow_hard_masks: bool = False,
    **options: Any,
) -> Evaluation:
    """Evaluate every group with its own thresholds; one result a region and group.

    Groups that `other` serves in every region count together there, as they are promised.
    Where one case of each unit is drawn, it is drawn over all groups, as in calibration.
    Takes the options of `evaluate_cohort`.

    Raises:
        ValueError: The cohort has no column of these groups, a case is of a group that
            was not calibrated, or no case counts.
        ExceptionGroup: Cases failed; one exception each.
    """
    column = str(calibration.policy.group_by)
    if (visits := visits_of(calibration, cohort.cases)) is not None:
        pair_visits(visits)

    def count(own: Calibration, mine: list[int]) -> CohortRows:
        cases = tuple(cohort.cases[i] for i in mine)
        return count_cohort(own, Cohort(cases, {}), **options)

    groups = [case.column(column) for case in cohort.cases]
    return by_group(
        calibration,
        groups,
        count,
        cohort.excluded,
        seed,
        allow_hard_masks=allow_hard_masks,
    )


def by_group(
    calibration: Calibration,
    groups: Sequence[str],
    count_fn: Callable[[Calibration, list[int]], CohortRows],
    excluded: Mapping[str, Sequence[str]],
    seed: int,
    *,
    allow_hard_masks: bool,
) -> Evaluation:
    """The evaluations of the cases of each group, as one.

    Args:
        calibration: By groups.
        groups: Of each case.
        count_fn: From what serves a group, and the places of its cases, to their rows.
        excluded: Reason to case ids.
        seed: Seed of the draw of one case a unit.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.

    Raises:
        ValueError: A case is of a group that was not calibrated, or no case counts.
    """
    served = {group: calibration.of_group(group) for group in sorted(set(groups))}
    name_of = {group: _name(group, own) for group, own in served.items()}
    parts: dict[str, tuple[Calibration, CohortRows]] = {}
    for name, own in {name_of[group]: own for group, own in served.items()}.items():
        mine = [i for i, group in enumerate(groups) if name_of[group] == name]
        parts[name] = own, count_fn(own, mine)
    found = joined(
        calibration, parts, excluded, seed, allow_hard_masks=allow_hard_masks
    )
    found.summary.check_results()
    return found


def joined(
    calibration: Calibration,
    counted: dict[str, tuple[Calibration, CohortRows]],
    excluded: Mapping[str, Sequence[str]],
    seed: int,
    *,
    allow_hard_masks: bool,
) -> Evaluation:
    """The evaluation of all groups, each by what serves it.

    Raises:
        ValueError: Cases of several units share a map, or maps are hard masks.
    """
    draw_over_all(
        calibration, [r for _, own in counted.values() for r in own.rows], seed
    )
    parts = {
        name: judged(own, *rows, seed, allow_hard_masks=allow_hard_masks)
        for name, (own, rows) in counted.items()
    }
    # Each group has looked at its own maps; copies may lie in two.
    refuse_copies(calibration, [own for part in parts.values() for own in part.maps])
    summary = _joined({name: part.summary for name, part in parts.items()}, excluded)
    rows = [row for part in parts.values() for row in part.cases]
    overlaps = tuple(overlap for part in parts.values() for overlap in part.overlaps)
    if calibration.policy.per_unit == "one":
        summary = _without_law_beside_refused(calibration, summary)
    lesions = [row for part in parts.values() for row in part.lesions]
    return with_froc(Evaluation(summary, rows, overlaps), lesions)


def _without_law_beside_refused(calibration: Calibration, summary: Summary) -> Summary:
    """No law for regions that were refused in a group, where units own several cases.

    Calibration drew over that group too, and no case of it can be drawn here.
    """
    regions = {part.region for part in calibration.refused_parts}
    if not (regions and calibration.excluded.get("not_drawn")):
        return summary
    _log.warning(
        "calibration drew one case of each unit over groups that it then refused, whose "
        "cases cannot be drawn here, so that no law or band is given for region %s",
        ", ".join(sorted(regions)),
    )
    return summary.without_law(regions)


def _joined(
    parts: dict[str, Summary], left_out: Mapping[str, Sequence[str]]
) -> Summary:
    """The summaries of groups as one."""
    every = list(parts.values())
    spent: dict[str, int] = {}
    excluded = {why: list(ids) for why, ids in left_out.items()}
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
        all_regions=_at_once([part.all_regions for part in every]),
        froc=None,
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


def _at_once(parts: Sequence[AllRegions | None]) -> AllRegions | None:
    """All regions at once over all groups; of several the law of none."""
    every = [part for part in parts if part is not None]
    if len(every) < 2:
        return every[0] if every else None
    n = sum(part.n_counted for part in every)
    hits = sum(part.found.n_covered for part in every if part.found is not None)
    return AllRegions(n, Coverage(hits / n, hits, None, None, None) if n else None)


def _name(group: str, own: Calibration) -> str:
    """What a group is evaluated as: `other` where that serves it in every region."""
    serving = {t.group for t in own.thresholds} - {""}
    return MERGED if serving == {MERGED} else group
