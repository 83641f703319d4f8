"""What an evaluation says of a region with two sets: its part of the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from coverax.calibrate import Band
from coverax.choices import Joint, RaterRule, Regions, Side
from coverax.evaluate.audit import Audit
from coverax.evaluate.cut_results import Law
from coverax.files import MAYBE, Json, JsonRecord
from coverax.records import record_of

C = TypeVar("C", bound="Coverage")
F = TypeVar("F", bound="FoldCoverage")

# What is wrong with a set of each side, in names of sizes.
WRONG: dict[Side, str] = {"inner": "missed", "outer": "excess"}


@dataclass(frozen=True, slots=True)
class SideSizes(JsonRecord):
    """Mean sizes of the sets of one side; None where one applies to no case.

    Attributes:
        side: `inner` or `outer`.
        size_ratio: Length of the set over that of the reference.
        volume_ratio: Volume over that of the reference.
        ml: Volume.
        wrong_voxels: Of the reference, not in the inner set; of the outer one, off it.
        wrong_ml: Their volume.
    """

    side: Side
    size_ratio: float | None
    volume_ratio: float | None
    ml: float | None
    wrong_voxels: float | None
    wrong_ml: float | None

    def to_json(self) -> Json:
        """By names that begin with the side."""
        side, wrong = self.side, WRONG[self.side]
        return {
            f"{side}_size_ratio": self.size_ratio,
            f"{side}_volume_ratio": self.volume_ratio,
            f"{side}_ml": self.ml,
            f"{side}_{wrong}_voxels": self.wrong_voxels,
            f"{side}_{wrong}_ml": self.wrong_ml,
        }

    @classmethod
    def from_json(cls, content: Json) -> "SideSizes":
        """Inverse of `to_json`."""
        side: Side = "inner" if "inner_ml" in content else "outer"
        wrong = WRONG[side]
        names = ("size_ratio", "volume_ratio", "ml", f"{wrong}_voxels", f"{wrong}_ml")
        return cls(side, *[content[f"{side}_{name}"] for name in names])


@dataclass(frozen=True, slots=True)
class Coverage(JsonRecord):
    """How many cases are covered, beside the law where there is one.

    Attributes:
        coverage: Share of the cases that count.
        n_covered: Their number.
        law: How exact the law is; None where there is none.
        expected: Share that should be covered.
        band: Bands of that share, by level.
    """

    coverage: float
    n_covered: int
    law: Law | None
    expected: float | None
    band: Sequence[Band] | None

    def without_law(self: C) -> C:
        """The same of cases already seen, which have no law."""
        return replace(self, expected=None, band=None)


@dataclass(frozen=True, slots=True)
class SideCoverage(Coverage):
    """Coverage of one side, and the sizes of its sets.

    Attributes:
        transform: What the score is taken of.
        tolerance: Share of the reference that may be wrong.
        rank: Of the threshold among the units that calibrated.
        threshold: Its value; None where it is infinite.
        sizes: Of the sets.
    """

    transform: str
    tolerance: float | None
    rank: int | None
    threshold: float | None
    sizes: SideSizes

    def to_json(self) -> Json:
        """One object, with the sizes."""
        content = JsonRecord.to_json(self)
        sizes = content.pop("sizes")
        return content | sizes

    @classmethod
    def from_json(cls, content: Json) -> "SideCoverage":
        """Inverse of `to_json`."""
        sizes = {k: v for k, v in content.items() if k.startswith(tuple(WRONG))}
        rest = {k: v for k, v in content.items() if k not in sizes}
        return record_of(cls, rest, sizes=SideSizes.from_json(sizes))


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseCoverage(JsonRecord):
    """Share of cases that are not covered at one level, with its 95 % law if any."""

    alpha: float
    inner: float
    inner_band: Sequence[float] | None = field(default=None, metadata=MAYBE)
    outer: float
    outer_band: Sequence[float] | None = field(default=None, metadata=MAYBE)
    joint: float
    joint_band: Sequence[float] | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "FalseCoverage":
        """The same of cases already seen, which have no law."""
        return replace(self, inner_band=None, outer_band=None, joint_band=None)


@dataclass(frozen=True, slots=True)
class SetsResult(JsonRecord):
    """A region with an inner and an outer set.

    Attributes:
        region: Structure.
        rule: How both sides share the promise.
        regions: Each on its own, or all jointly.
        n_counted: Cases that count.
        n_empty_reference: Cases without foreground.
        n_axes: Axes of the cases; None where they differ.
        n_calibration_units: Units that calibrated.
        n_contradictory: Cases whose inner set is larger than the outer one.
        inner: The inner sets.
        outer: The outer sets.
        joint: Cases of which both sets are right.
        uncertain_ml: Mean volume between the sets.
        fcr: False coverage at further levels.
        group: Group it is of, where each has its own threshold.
        audit: Compliance of its parts.
    """

    region: str
    rule: Joint
    regions: Regions
    n_counted: int
    n_empty_reference: int
    n_axes: int | None
    n_calibration_units: int
    n_contradictory: int
    inner: SideCoverage
    outer: SideCoverage
    joint: Coverage
    uncertain_ml: float | None
    fcr: Sequence[FalseCoverage]
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "SetsResult":
        """The same of cases already seen, which have no law."""
        return replace(
            self,
            inner=self.inner.without_law(),
            outer=self.outer.without_law(),
            joint=self.joint.without_law(),
            fcr=[point.without_law() for point in self.fcr],
        )


@dataclass(frozen=True, slots=True)
class FoldCoverage(JsonRecord):
    """How many cases are covered by sets from folds.

    Attributes:
        coverage: Share of the cases that count.
        n_covered: Their number.
        promised: Least share; None where nothing is promised of both sides at once.
        observed_band: Where the true share lies, by the observed one.
    """

    coverage: float
    n_covered: int
    promised: float | None
    observed_band: Band | None = field(metadata=MAYBE)

    def without_law(self: F) -> F:
        """The same of cases already seen, which say nothing of new ones."""
        return replace(self, observed_band=None)


@dataclass(frozen=True, slots=True)
class FoldSideCoverage(FoldCoverage):
    """Coverage of one side by sets from folds, and their sizes.

    Attributes:
        transform: What the score is taken of.
        sizes: Of the sets.
    """

    transform: str
    sizes: SideSizes

    def to_json(self) -> Json:
        """One object, with the sizes."""
        content = JsonRecord.to_json(self)
        sizes = content.pop("sizes")
        return content | sizes

    @classmethod
    def from_json(cls, content: Json) -> "FoldSideCoverage":
        """Inverse of `to_json`."""
        sizes = {k: v for k, v in content.items() if k.startswith(tuple(WRONG))}
        rest = {k: v for k, v in content.items() if k not in sizes}
        return record_of(cls, rest, sizes=SideSizes.from_json(sizes))


@dataclass(frozen=True, slots=True)
class FoldSetsResult(JsonRecord):
    """A region with an inner and an outer set from folds; as `SetsResult`.

    Attributes:
        region: Structure.
        folds: Names of the folds.
        votes_needed: None: sets count p-values.
        n_counted: Cases that count.
        n_empty_reference: Cases without foreground.
        n_calibration_units: Units that calibrated, of all folds.
        raters: What several references of a case do.
        tolerance: Share of the reference that may be wrong.
        rule: How both sides share the promise.
        regions: Each on its own, or all jointly.
        n_axes: Axes of the cases; None where they differ.
        uncertain_ml: Mean volume between the sets.
        inner: The inner sets.
        outer: The outer sets.
        joint: Cases of which both sets are right.
        group: Group it is of, where each has its own threshold.
        audit: Compliance of its parts.
    """

    region: str
    folds: Sequence[str]
    votes_needed: int | None
    n_counted: int
    n_empty_reference: int
    n_calibration_units: int
    raters: RaterRule | None
    tolerance: float | None
    rule: Joint
    regions: Regions
    n_axes: int | None
    uncertain_ml: float | None
    inner: FoldSideCoverage
    outer: FoldSideCoverage
    joint: FoldCoverage
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "FoldSetsResult":
        """The same of cases already seen, which say nothing of new ones."""
        return replace(
            self,
            inner=self.inner.without_law(),
            outer=self.outer.without_law(),
            joint=self.joint.without_law(),
        )


@dataclass(frozen=True, slots=True)
class AllRegions(JsonRecord):
    """Cases of which every region is covered; None where no case counts in each."""

    n_counted: int
    found: Coverage | None

    def to_json(self) -> Any:
        """One object, or null."""
        if self.found is None:
            return None
        return {"n_counted": self.n_counted} | self.found.to_json()

    @classmethod
    def from_json(cls, content: Json) -> "AllRegions":
        """Inverse of `to_json`, but for null."""
        rest = {k: v for k, v in content.items() if k != "n_counted"}
        return cls(content["n_counted"], record_of(Coverage, rest))
