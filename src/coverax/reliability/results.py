"""What a reliability says: the types of `reliability.json`.

Measures go by their names: `ece`, `brier` and so on; a value is None where the measure
does not exist. Ends of intervals are None without draws, and where fewer than two units
are drawn from.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coverax.files import MAYBE, Json, JsonRecord
from coverax.records import record_of

Values = Mapping[str, float | None]
Ends = Mapping[str, Sequence[float | None] | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured(JsonRecord):
    """Measures with the ends of their intervals.

    Attributes:
        macro: Means over cases.
        macro_interval: Their ends.
        pooled: Of all voxels together.
        pooled_interval: Their ends.
    """

    macro: Values
    macro_interval: Ends
    pooled: Values
    pooled_interval: Ends


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult(JsonRecord):
    """One class in the cases of one group; as `ClassResult`."""

    n_cases: int
    n_units: int
    n_absent: int
    n_voxels: int
    macro: Values
    macro_interval: Ends
    pooled: Values
    pooled_interval: Ends


@dataclass(frozen=True, slots=True, kw_only=True)
class BandResult(JsonRecord):
    """The voxels of a band of distances to the surface of the reference.

    Attributes:
        from_mm: Where it begins, positive inside; None for the outermost.
        to_mm: Where it ends; None for the innermost.
        n_voxels: Its voxels.
        n_foreground: Those of the reference.
        pooled: Measures of them.
        pooled_interval: Their ends.
    """

    from_mm: float | None
    to_mm: float | None
    n_voxels: int
    n_foreground: int
    pooled: Values
    pooled_interval: Ends


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult(JsonRecord):
    """One class over the cohort.

    Attributes:
        region: Its name.
        n_cases: Cases.
        n_units: Their units.
        n_absent: Cases whose reference lacks it.
        n_voxels: Voxels of all cases.
        n_clipped: Voxels of probability 0 or 1 that were wrong, clipped in the log loss.
        macro: Means over cases.
        macro_interval: Their ends.
        pooled: Of all voxels together.
        pooled_interval: Their ends.
        groups: The same by group, where there are several.
        adaptive_ce_grid: Error in bins of equal size; NaN where it does not exist, None
            where the table has no grid.
        bands: By distance to the surface, outermost first, where the table has bands.
    """

    region: str
    n_cases: int
    n_units: int
    n_absent: int
    n_voxels: int
    n_clipped: int
    macro: Values
    macro_interval: Ends
    pooled: Values
    pooled_interval: Ends
    groups: Mapping[str, GroupResult] | None = field(default=None, metadata=MAYBE)
    adaptive_ce_grid: float | None = field(default=None, metadata=MAYBE)
    bands: Sequence[BandResult] | None = field(default=None, metadata=MAYBE)

    def to_json(self) -> Json:
        """Its fields; an error that does not exist is null."""
        content = JsonRecord.to_json(self)
        error = self.adaptive_ce_grid
        if error is not None and not math.isfinite(error):
            content["adaptive_ce_grid"] = None
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class TopLabel(JsonRecord):
    """Errors of the most probable class; as `Measured`."""

    pooled: Values
    pooled_interval: Ends
    macro: Values
    macro_interval: Ends


@dataclass(frozen=True, slots=True)
class SoftmaxScores(JsonRecord):
    """All classes together.

    Attributes:
        nll: Mean log loss of the true class.
        brier: Multi-class Brier score.
        interval: Their ends.
    """

    nll: float | None
    brier: float | None
    interval: Ends


@dataclass(frozen=True, slots=True)
class Difference(JsonRecord):
    """A measure of two models.

    Attributes:
        first: Of the first model.
        second: Of the second.
        difference: Second less first.
        interval: Its ends; None without draws and with one unit.
    """

    first: float | None
    second: float | None
    difference: float | None
    interval: Sequence[float] | None


Differences = Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class GroupDifferences(JsonRecord):
    """Pooled and macro measures of a class in one group."""

    pooled: Differences
    macro: Differences


@dataclass(frozen=True, slots=True)
class Comparison(JsonRecord):
    """Two models on the same cases, by class.

    Attributes:
        regions: Pooled measures; `softmax` is all classes together.
        macro: Means over cases.
        groups: Both by group of the first table, where there are several.
    """

    regions: Mapping[str, Differences]
    macro: Mapping[str, Differences]
    groups: Mapping[str, Mapping[str, GroupDifferences]]


@dataclass(frozen=True, slots=True)
class Against(JsonRecord):
    """A comparison, and the table of the second model."""

    table: str
    found: Comparison

    def to_json(self) -> Json:
        """One object."""
        return {"table": self.table} | self.found.to_json()

    @classmethod
    def from_json(cls, content: Json) -> "Against":
        """Inverse of `to_json`."""
        rest = {k: v for k, v in content.items() if k != "table"}
        return cls(content["table"], record_of(Comparison, rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilitySummary(JsonRecord):
    """The content of `reliability.json`.

    Attributes:
        schema: Of the file.
        n_bins: Bins of probabilities.
        n_soft_bins: Soft bins of `soft_ace`, where the table has them.
        absent: What macro means do with cases whose reference lacks the class.
        left_out: Regions not reported.
        level: Of intervals.
        one_sided: Measures without a lower end, and why.
        n_draws: Bootstrap samples.
        seed: Of the bootstrap.
        cases_digest: SHA-256 of the case ids.
        excluded: Reason to case ids.
        regions: One a class.
        mean_over_regions: Means of their measures.
        top_label: The most probable class, of a softmax.
        softmax: All classes together, of a softmax.
        against: Another model on the same cases.
    """

    schema: int = 1
    n_bins: int
    absent: str
    left_out: Sequence[str]
    level: float
    one_sided: Mapping[str, str]
    n_draws: int
    seed: int
    cases_digest: str
    excluded: Mapping[str, Sequence[str]]
    n_soft_bins: int | None = field(default=None, metadata=MAYBE)
    regions: Sequence[ClassResult]
    mean_over_regions: Measured
    top_label: TopLabel | None = field(default=None, metadata=MAYBE)
    softmax: SoftmaxScores | None = field(default=None, metadata=MAYBE)
    against: Against | None = field(default=None, metadata=MAYBE)
