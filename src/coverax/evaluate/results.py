"""What an evaluation says: the types of `evaluation.json`."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coverax.calibrate import Froc
from coverax.evaluate.cut_results import CutResult, FoldCutResult
from coverax.evaluate.nnunet_summary import Overlap
from coverax.evaluate.other_results import IntervalResult, ReleaseResult
from coverax.evaluate.set_results import AllRegions, FoldSetsResult, SetsResult
from coverax.files import MAYBE, JsonRecord
from coverax.shown import Shown, few, short

RegionResult = (
    CutResult
    | SetsResult
    | FoldCutResult
    | FoldSetsResult
    | IntervalResult
    | ReleaseResult
)
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary(JsonRecord):
    """The content of `evaluation.json`.

    Attributes:
        schema: Of the file.
        calibration_digest: Of the calibration that is evaluated.
        method: Which guarantee it is.
        alpha: Its level.
        delta: Share of calibration sets for which it may fail; None if marginal.
        statement: The guarantee in words.
        n_cases: Cases evaluated.
        n_units: Their units.
        n_units_seen_in_calibration: Units that calibrated or were learned from.
        n_cases_of_spent_parts: Cases of parts of a split that something was fitted on.
        held_out: No unit and no case was seen before: laws and bands apply.
        seed: Of the draw of one case a unit.
        excluded: Reason to case ids.
        results: One a region, and group where each has its own threshold.
        not_evaluated: Region to the reason why it has no result.
        all_regions: All regions at once, where that is the promise.
        froc: Lesions found against false lesions, one a region, of all scans; where the
            scores that calibrated kept both.
    """

    schema: int = 1
    calibration_digest: str
    method: str
    alpha: float
    delta: float | None
    statement: str
    n_cases: int
    n_units: int
    n_units_seen_in_calibration: int
    n_cases_of_spent_parts: Mapping[str, int]
    held_out: bool
    seed: int
    excluded: Mapping[str, Sequence[str]]
    results: Sequence[RegionResult]
    not_evaluated: Mapping[str, str]
    all_regions: AllRegions | None = field(default=None, metadata=MAYBE)
    froc: Sequence[Froc] | None = field(default=None, metadata=MAYBE)

    def check_results(self) -> None:
        """Refuse an evaluation without a result.

        Raises:
            ValueError: No region has one; it says why.
        """
        if not self.results:
            lacking = self.not_evaluated.items()
            raise ValueError("; ".join(f"region {k}: {why}" for k, why in lacking))

    def without_law(self, regions: Container[str] | None = None) -> "Summary":
        """The same where no exact law or band holds, as of cases already seen.

        Args:
            regions: Of these, and of all at once; None for every region.
        """
        every = self.all_regions
        if every is not None and every.found is not None:
            every = replace(every, found=every.found.without_law())
        results = [
            result.without_law()
            if regions is None or result.region in regions
            else result
            for result in self.results
        ]
        return replace(self, results=results, all_regions=every)


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation(Shown):
    """What happened on cases with references.

    Attributes:
        summary: The content of `evaluation.json`.
        cases: One row a case and region, the content of `cases.csv`.
        overlaps: The masks of all cases, the content of `summary.json`.
        maps: What tells copies: case, unit, region and fingerprint of each map.
        froc: One row a region and cut, the content of `froc.csv`.
        lesions: What that was made of, one row a case and region.
    """

    summary: Summary
    cases: Rows
    overlaps: tuple[Overlap, ...] = ()
    maps: Rows = field(default_factory=list)
    froc: Rows = field(default_factory=list)
    lesions: Rows = field(default_factory=list)

    def _facts(self) -> dict[str, object]:
        found = self.summary
        return {
            "method": found.method,
            "alpha": found.alpha,
            "cases": found.n_cases,
            "units": found.n_units,
            "held_out": found.held_out,
            "results": few(map(_words, found.results)),
            "not_evaluated": len(found.not_evaluated),
            "left out": sum(map(len, found.excluded.values())),
        }

    def _details(self) -> dict[str, object]:
        every = "; ".join(map(_words, self.summary.results))
        lacking = "; ".join(f"{k}: {v}" for k, v in self.summary.not_evaluated.items())
        more = {"results": every, "not_evaluated": lacking or "none"}
        return self._facts() | more | {"statement": self.summary.statement}


def _words(result: RegionResult) -> str:
    """What happened in a region, for people."""
    group = f" ({result.group})" if result.group else ""
    if isinstance(result, CutResult | FoldCutResult):
        at = result.calibrated
        what = f"FNR {short(at.fnr_mean)}"
        if at.n_compliant is not None:
            what = f"{at.n_compliant} of {result.n_counted} comply"
    elif isinstance(result, ReleaseResult):
        what = f"{result.release.n_released} of {result.n_counted} released"
    else:
        own = result.interval if isinstance(result, IntervalResult) else result.joint
        what = f"{own.n_covered} of {result.n_counted} covered"
    return f"{result.region}{group}: {what}"
