"""Whether a cohort can be evaluated under a calibration, and how its maps are read."""

from collections.abc import Iterable
from dataclasses import replace

from coverax.calibrate import Calibration
from coverax.scores import ScoreDefinition
from coverax.volumes import Case, Cohort


def left_out(cohort: Cohort, failures: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Reason to case ids: what the cohort left out, and what failed."""
    failed = tuple(case.case_id for case in failures)
    return dict(cohort.excluded) | ({"failed": failed} if failed else {})


def promised_regions(calibration: Calibration) -> ScoreDefinition:
    """How to read the maps, of the regions that have a threshold."""
    definition = calibration.definition
    known = {threshold.region for threshold in calibration.thresholds}
    regions = tuple(r for r in definition.regions if r.name in known)
    return replace(definition, regions=regions)


def check_regions(calibration: Calibration, cohort: Cohort) -> None:
    """Refuse a cohort that names a region without a threshold."""
    known = {threshold.region for threshold in calibration.thresholds}
    named = {case.region for case in cohort.cases if case.region is not None}
    if named - known:
        raise ValueError(
            f"the cohort names region {', '.join(sorted(named - known))}; the "
            f"calibration is for {', '.join(sorted(known))}"
        )


def unit_column_of(calibration: Calibration, cohort: Cohort) -> str:
    """What was exchangeable in calibration, and is here: seen units, one case of each."""
    name = calibration.policy.unit_column
    for case in cohort.cases:
        try:
            unit = case.column(name)
        except ValueError as error:
            raise ValueError(
                f"the units of the calibration are of column {name}, and {error}: "
                "nothing can say which of them calibrated"
            ) from None
        if not unit:
            raise ValueError(f"case {case.case_id} has no {name}, the unit")
    return name
