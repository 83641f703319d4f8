"""A calibration with a threshold for each bin of maps, against cases with references."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from coverax.calibrate import Calibration
from coverax.evaluate.cohorts import left_out, promised_regions
from coverax.evaluate.compute import CohortRows, count_cohort
from coverax.evaluate.froc import with_froc
from coverax.evaluate.groups import joined
from coverax.evaluate.results import Evaluation
from coverax.predict import check_map_kind, group_of_map
from coverax.scores import load_case
from coverax.stream import HERE, Where, gather, map_cases
from coverax.volumes import Case, Cohort, declared_bytes, read_probs


def evaluate_strata(
    calibration: Calibration,
    cohort: Cohort,
    *,
    threads: int | None = None,
    where: Where = HERE,
    seed: int = 0,
    allow_missing: bool = False,
    allow_hard_masks: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
    **options: Any,
) -> Evaluation:
    """Evaluate every bin with its own thresholds; one result a region and bin.

    Every case is read once to see where its map belongs, and once more a region. Takes
    the options of `evaluate_cohort`.

    Raises:
        ValueError: A bin was not calibrated, or no case counts.
        ExceptionGroup: Cases failed; one exception each.
    """
    reading: dict[str, Any] = {"threads": threads, "where": where}
    groups: dict[Case, dict[str, str]] = {}
    failures = gather(
        map_cases(
            GroupsOf(calibration), cohort.cases, **reading, size_of=declared_bytes
        ),
        cohort.cases,
        groups.__setitem__,
        name=lambda case: case.case_id,
        allow_missing=allow_missing,
        on_case=on_case,
        on_failure=on_failure,
    )
    excluded = left_out(cohort, failures)
    found: list[Evaluation] = []
    for region in dict.fromkeys(t.region for t in calibration.thresholds):
        parts: dict[str, tuple[Calibration, CohortRows]] = {}
        for name in sorted({own[region] for own in groups.values() if region in own}):
            mine = tuple(
                case for case, own in groups.items() if own.get(region) == name
            )
            served = calibration.of_map({region: name})
            parts[name] = (
                served,
                count_cohort(
                    served,
                    Cohort(mine, {}),
                    allow_missing=allow_missing,
                    **reading,
                    **options,
                ),
            )
        if parts:
            one = joined(
                calibration, parts, excluded, seed, allow_hard_masks=allow_hard_masks
            )
            found.append(one)
    return _all_regions(found)


@dataclass(frozen=True, slots=True)
class GroupsOf:
    """Bins of the maps of one case, by region; it travels to other processes."""

    calibration: Calibration

    def __call__(self, case: Case) -> dict[str, str]:
        """From its files."""
        definition = promised_regions(self.calibration)

        def read_map(*args: Any, **options: Any) -> Any:
            def check(file: Any) -> None:
                check_map_kind(file, definition=definition)

            return read_probs(*args, check_header=check, **options)

        views = load_case(case, definition, read_map=read_map).views
        return {v.region.name: str(group_of_map(self.calibration, v)) for v in views}


def _all_regions(found: list[Evaluation]) -> Evaluation:
    """The evaluations of regions as one."""
    if not found:
        raise ValueError("no case could be evaluated")
    every = [one.summary for one in found]
    summary = replace(
        every[0],
        n_cases=max(one.n_cases for one in every),
        n_units=max(one.n_units for one in every),
        n_units_seen_in_calibration=max(
            one.n_units_seen_in_calibration for one in every
        ),
        held_out=all(one.held_out for one in every),
        results=[result for one in every for result in one.results],
        not_evaluated={k: why for one in every for k, why in one.not_evaluated.items()},
    )
    summary.check_results()
    rows = [row for one in found for row in one.cases]
    overlaps = tuple(o for one in found for o in one.overlaps)
    lesions = [row for one in found for row in one.lesions]
    return with_froc(Evaluation(summary, rows, overlaps), lesions)
