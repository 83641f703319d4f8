"""What a validation says: the types of `validation.json`, and of a look for drift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from coverax.calibrate import Audit, Band, Froc, Histogram
from coverax.choices import FnrScore, RaterRule, ValidatedMethod
from coverax.files import MAYBE, Json, JsonRecord
from coverax.table import ScoreDefinition


@dataclass(frozen=True, slots=True)
class Spread(JsonRecord):
    """A metric over all splits: mean and standard deviation, None where infinite."""

    mean: float | None
    sd: float | None


@dataclass(frozen=True, slots=True)
class WholeUnits(JsonRecord):
    """Every split of units with all their cases.

    Attributes:
        coverage_mean: Mean coverage; None where splits are too many to count.
        least: What theory promises of it.
        why: Why it could not be counted.
    """

    coverage_mean: float | None
    least: float | None = field(default=None, metadata=MAYBE)
    why: str | None = field(default=None, metadata=MAYBE)


@dataclass(frozen=True, slots=True)
class RandomSplits(JsonRecord):
    """Coverage in random splits.

    Attributes:
        n_splits: How many.
        coverage_mean: Its mean.
        coverage_sd: Its standard deviation; None for one split.
        histogram: Splits by their coverage.
    """

    n_splits: int
    coverage_mean: float
    coverage_sd: float | None
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class SplitsResult(JsonRecord):
    """All splits at one level and share of calibration units.

    Attributes:
        alpha: Tolerated miscoverage.
        fraction: Share of units that calibrate.
        n_calibration: Their number.
        n_test: Number of the others.
        rank: Of the threshold.
        status: `OK`, or `TOO_FEW_CASES` where everything is served.
        expected: Coverage that the law expects.
        coverage_mean: Mean coverage over all splits.
        coverage_sd: Its standard deviation.
        band: Where the coverage of one split should lie.
        metrics: Metrics of the masks, by name.
        whole_units: All cases of all units, where units own several.
        random: Random splits, where they are asked for.
    """

    alpha: float
    fraction: float
    n_calibration: int
    n_test: int
    rank: int
    status: str
    expected: float
    coverage_mean: float
    coverage_sd: float
    band: Band
    metrics: Mapping[str, Spread]
    whole_units: WholeUnits | None = field(default=None, metadata=MAYBE)
    random: RandomSplits | None = field(default=None, metadata=MAYBE)


@dataclass(frozen=True, slots=True)
class HeldOutGroup(JsonRecord):
    """One group tested with a threshold from all the others.

    Attributes:
        group: Its name.
        alpha: Tolerated miscoverage.
        n_calibration: Units of the others.
        n_test: Its units.
        rank: Of the threshold.
        coverage: Share of its units that is served.
        band: Where that should lie.
        in_band: Whether it does.
        median_p_value: Of its units among the others.
    """

    group: str
    alpha: float
    n_calibration: int
    n_test: int
    rank: int
    coverage: float
    band: Band
    in_band: bool
    median_p_value: float


@dataclass(frozen=True, slots=True)
class OrderResult(JsonRecord):
    """Whether later cases differ from earlier ones.

    Attributes:
        by: Column of the order.
        sorted_as: What its values were taken for.
        n: Units in it.
        max_capital: Largest capital of a bet against exchangeability.
        p_value_capital: Bound on the chance of such a capital.
        p_value_uniform: That the sequential p-values are uniform.
    """

    by: str
    sorted_as: str
    n: int
    max_capital: float
    p_value_capital: float
    p_value_uniform: float


@dataclass(frozen=True, slots=True)
class LevelAudit(JsonRecord):
    """Compliance of the parts of a cohort, each case by the threshold of all others.

    Attributes:
        alpha: Tolerated miscoverage.
        n_calibration: Units that set each threshold.
        audit: Thirds and groups.
    """

    alpha: float
    n_calibration: int
    audit: Audit


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresResult(JsonRecord):
    """One region and tolerance, or side of sets.

    Attributes:
        fold: Fold whose model it is of, where the table holds folds.
        region: Structure.
        side: Of sets: `inner`, `outer`, or `joint`, which is both at once by one
            threshold for the larger score.
        transform: Of sets: whose scores they are; of `joint` both, inner first.
        tolerance: Tolerated missed share of a case; of sets that of the transform, None
            of `joint`.
        n_units: Units that count.
        n_cases: Their cases.
        splits: One a share and level.
        hold_out: One a group and level, where groups are held out.
        order: Where an order is asked for.
        audit: Where failures gather, one a level.
    """

    fold: str | None = field(default=None, metadata=MAYBE)
    region: str
    side: str | None = field(default=None, metadata=MAYBE)
    transform: str | None = field(default=None, metadata=MAYBE)
    tolerance: float | None
    n_units: int
    n_cases: int
    splits: Sequence[SplitsResult]
    hold_out: Sequence[HeldOutGroup] | None = field(default=None, metadata=MAYBE)
    order: OrderResult | None = field(default=None, metadata=MAYBE)
    audit: Sequence[LevelAudit] = ()

    @property
    def of_what(self) -> str:
        """The tolerance or the sets in words."""
        if self.side is None:
            return f"tolerance {self.tolerance:g}"
        return "both sets at once" if self.side == "joint" else f"{self.side} set"


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(JsonRecord):
    """The content of `validation.json`.

    Attributes:
        schema: Of the file.
        method: Which guarantee was validated.
        score: `mass` where cases were ranked by that; None otherwise.
        cases_digest: SHA-256 of the case ids.
        score_definition: What the scores mean.
        seed: Of splits and draws.
        raters: What several references of a case do.
        metrics: Whether metrics were known at every threshold.
        evidence: What each part of the results is evidence of, in words.
        results: One a region and tolerance, and fold.
        froc: Lesions found against false lesions, one a region, of all scans; where the
            table holds both.
    """

    schema: int = 1
    method: ValidatedMethod = "fnr"
    score: FnrScore | None = field(default=None, metadata=MAYBE)
    cases_digest: str
    score_definition: ScoreDefinition
    seed: int
    raters: RaterRule | None
    metrics: str
    evidence: Mapping[str, str]
    results: Sequence[ScoresResult]
    froc: Sequence[Froc] | None = field(default=None, metadata=MAYBE)


@dataclass(frozen=True, slots=True)
class AboveTolerance(JsonRecord):
    """Units of a site that miss more than a tolerance.

    Attributes:
        tolerance: Missed share of the reference.
        count: Units that miss more.
        share: Of the units of the site.
        level: Of the interval.
        low: Its lower end, by Clopper and Pearson.
        high: Its upper end.
    """

    tolerance: float
    count: int
    share: float
    level: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LeftOutSite(JsonRecord):
    """One site at the cut that all other sites give.

    Attributes:
        region: Structure.
        alpha: Tolerated expected loss.
        site: File of its summary; its seal where that is in memory.
        digest: The seal.
        n_calibration: Units of the other sites.
        status: Of the threshold that they give.
        probability_threshold: The cut; None where the mask is everything or empty.
        n_test: Units of the site.
        loss_mean: Their mean loss; None without units or without a cut.
        p_value: That its expected loss is at most alpha, against that it is larger.
        exceeds: Whether that is told at level .05.
        above: One a tolerance, of its units at this cut.
    """

    region: str
    alpha: float
    site: str
    digest: str
    n_calibration: int
    status: str
    probability_threshold: float | None
    n_test: int
    loss_mean: float | None
    p_value: float | None
    exceeds: bool | None
    above: Sequence[AboveTolerance]


@dataclass(frozen=True, slots=True, kw_only=True)
class SitesValidation(JsonRecord):
    """The content of `validation.json` of sites.

    Attributes:
        schema: Of the file.
        method: Which guarantee was looked at.
        loss: Whose expectation it controls.
        delta: Tolerated share of calibration sets; None for `crc`.
        score_definition: What the scores mean.
        evidence: What the results are evidence of, in words.
        results: One a region, level and site.
    """

    schema: int = 1
    method: str
    loss: str
    delta: float | None
    score_definition: ScoreDefinition
    evidence: Mapping[str, str]
    results: Sequence[LeftOutSite]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLook(JsonRecord):
    """One look at new maps: the content of `monitor --json`.

    Attributes:
        schema: Of the object.
        calibration_digest: Of the calibration whose cohort they are compared with.
        n_new: New maps.
        n_seen_in_calibration: Those of them that calibrated, by case id or content.
        level: Tolerated probability of a false alarm.
        seed: Of the permutations.
        n_permutations: How many.
        p_values: By region and feature.
        drift: Whether any is an alarm.
        meaning: What that says, in words.
        looks: What the level is of.
    """

    schema: int = 1
    calibration_digest: str
    n_new: int
    n_seen_in_calibration: int
    level: float
    seed: int
    n_permutations: int
    p_values: Mapping[str, float]
    drift: bool
    meaning: str
    looks: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Capital(JsonRecord):
    """What a monitor's memory says.

    Attributes:
        n_maps: Units whose map was seen.
        n_references: Units whose reference was seen.
        capital: The larger of the capitals now.
        largest: The largest there ever was.
        largest_of: Which capital it was.
        alarm_at: From where on it is an alarm.
        alarm: Whether it was reached, ever.
        capitals: Each now, by name.
    """

    n_maps: int
    n_references: int
    capital: float
    largest: float
    largest_of: str
    alarm_at: float
    alarm: bool
    capitals: Mapping[str, float]

    @property
    def sentence(self) -> str:
        """Whether it is an alarm, and what it rests on."""
        verdict = "ALARM" if self.alarm else "no alarm"
        return (
            f"{verdict}: capital {self.capital:.3g}, largest ever {self.largest:.3g} "
            f"({self.largest_of}), alarm at {self.alarm_at:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLook(JsonRecord):
    """One look of a monitor with a memory.

    Attributes:
        schema: Of this content.
        calibration_digest: Of the calibration that is watched.
        level: Tolerated probability of a false alarm, ever; a decimal.
        seed: Of the numbers that break ties.
        n_new: New units whose map counts.
        n_new_references: New units whose reference counts.
        n_not_counted: Maps of units that were seen before, here or in calibration.
        n_looks: Looks that saw something new.
        found: What the memory says now; its fields stand beside the others in JSON.
        meaning: What an alarm says, and what none does not.
    """

    schema: int = 1
    calibration_digest: str
    level: str
    seed: int
    n_new: int
    n_new_references: int
    n_not_counted: int
    n_looks: int
    found: Capital
    meaning: str

    def to_json(self) -> Json:
        """All in one object."""
        content: Json = {}
        for name, value in JsonRecord.to_json(self).items():
            content |= value if name == "found" else {name: value}
        return content
