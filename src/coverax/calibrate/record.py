"""What shaped a calibration beyond which rows counted, typed: a class a family of methods.

`calibration.json` holds the fields as its `options`, with those of the policy and of what
became of its parts; a reader asks for a field here and never for a key or for the name of
a method.
"""

from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import NamedTuple

from coverax.calibrate.losses import LOSSES
from coverax.calibrate.policy import Policy
from coverax.calibrate.strata import Strata
from coverax.choices import (
    BoundName,
    ConfidentAt,
    CorrectionName,
    Joint,
    OneSided,
    Regions,
    Side,
    TriageLoss,
    VolumeScale,
)
from coverax.files import MAYBE, Json, JsonRecord


class Refused(NamedTuple):
    """A region, or a group of one, for which nothing is promised."""

    region: str
    group: str
    status: str

    @property
    def where(self) -> str:
        """Region, and group where there is one."""
        return " ".join(filter(None, self[:2]))


class Attainable(NamedTuple):
    """Smallest levels of a loss that would have passed; None where none would.

    Attributes:
        region: Structure.
        group: Group; empty where there is one for all.
        loss: Name of the loss.
        level: Beside the other levels as they were.
        alone: With no other loss.
    """

    region: str
    group: str
    loss: str
    level: float | None
    alone: float | None


@dataclass(frozen=True, slots=True)
class PartsRecord:
    """What became of regions and groups, beside their thresholds.

    Attributes:
        merged_groups: By region, the groups that `other` stands for; None without groups.
        reference: By region, label-free features of the maps; None where they cannot be
            compared with new ones.
        fold_alpha: Level of each fold, an exact fraction, where a vote decides.
        gap_above_zero: By region, the smallest positive value of a map, where the cut is
            the whole volume; None where no cut is.
        refused: Parts for which nothing is promised.
        group: Group of the cases that it serves, where each has its own threshold.
        strata: How a map tells its group; None where the cohort does.
    """

    merged_groups: dict[str, list[str]] | None = None
    reference: dict[str, dict[str, list[float] | list[str]]] | None = None
    fold_alpha: str | None = None
    gap_above_zero: dict[str, float] | None = None
    refused: tuple[Refused, ...] = ()
    group: str | None = None
    strata: Strata | None = None

    @classmethod
    def of(cls, options: Json) -> "PartsRecord":
        """What options of `calibration.json` say of it."""
        own = {f.name: options[f.name] for f in fields(cls) if f.name in options}
        refused = tuple(Refused(**row) for row in own.pop("refused", ()))
        strata = own.pop("strata", None)
        return cls(**own, refused=refused, strata=strata and Strata.of(strata))

    def to_json(self) -> Json:
        """Its options of `calibration.json`, but for `merged_groups`."""
        names = ("reference", "fold_alpha", "gap_above_zero")
        content: Json = {name: getattr(self, name) for name in names}
        content["refused"] = [row._asdict() for row in self.refused] or None
        content["group"] = self.group
        content["strata"] = self.strata and self.strata.to_json()
        return {name: value for name, value in content.items() if value is not None}


NO_PARTS = PartsRecord()


class CurveCut(NamedTuple):
    """A threshold at one of the levels of a curve."""

    region: str
    side: Side
    rank: int
    value: float


class CurvePoint(NamedTuple):
    """The thresholds at one level."""

    alpha: float
    cuts: tuple[CurveCut, ...]

    @classmethod
    def of(cls, content: Json) -> "CurvePoint":
        """Inverse of `to_json`."""
        cuts = [
            CurveCut(region, side, rank, float.fromhex(value))
            for region, side, rank, value in content["thresholds"]
        ]
        return cls(content["alpha"], tuple(cuts))

    def to_json(self) -> Json:
        """The level, and each threshold with its value as exact hex."""
        cuts = [[*cut[:3], cut.value.hex()] for cut in self.cuts]
        return {"alpha": self.alpha, "thresholds": cuts}


@dataclass(frozen=True, slots=True)
class FnrRecord:
    """Of a calibration of the share of cases that miss too much.

    Attributes:
        tie_seed: Seed of the numbers that break ties; None where ties stay.
        weights: Column of likelihood ratios; None for a plain rank.
        largest_weight: Largest weight of a new unit that is served.
    """

    tie_seed: int | None = None
    weights: str | None = None
    largest_weight: float | None = None

    is_safe = True  # the whole volume misses nothing
    attainable = ()

    def planned(
        self, alpha: float, delta: float | None
    ) -> tuple[float, float | None] | None:
        """Levels of the rank that decides; None where no rank does."""
        return (alpha, delta) if self.weights is None else None

    def to_json(self) -> Json:
        """Its options of `calibration.json`."""
        return {k: v for k, v in asdict(self).items() if v is not None}


@dataclass(frozen=True, slots=True)
class RiskRecord:
    """Of a calibration of expected losses.

    Attributes:
        loss: Name of the first loss.
        own_loss: In words, if it is the user's own.
        loss_bound: Its largest value, of one's own.
        loss_safe: At which cuts it is safe, of one's own.
        loss_digest: Of its curves, where they came as a table.
        bound: Upper bound of the mean; None where there is none.
        order_seed: Seed of the order of units, with `bound`.
        also: Further losses with their levels; None for methods of one loss.
        correction: How multiple tests are paid for, with `also`.
        attainable: What would have passed where nothing did.
        sites: Seal and number of cases of each site whose sums it is of; None of a table.
    """

    loss: str
    own_loss: str | None = None
    loss_bound: float | None = None
    loss_safe: str | None = None
    loss_digest: str | None = None
    bound: BoundName | None = None
    order_seed: int | None = None
    also: dict[str, float] | None = None
    correction: CorrectionName | None = None
    attainable: list[Attainable] = field(default_factory=list[Attainable])
    sites: list[Json] | None = None

    @property
    def is_safe(self) -> bool:
        """Whether the mask at the safe end keeps every expected loss down for certain.

        So it does where all losses are built in, monotone, and safe at the same end: not
        for the Dice loss, not for misses and false alarms together, nor for a user's own.
        """
        names = [self.loss, *(self.also or {})]
        known = [LOSSES[name] for name in names if name in LOSSES]
        ends = {loss.safe_sign for loss in known if loss.is_monotone}
        every = len(known) == len(names) and all(loss.is_monotone for loss in known)
        return every and len(ends) == 1 and self.own_loss is None

    def levels(self, alpha: float) -> dict[str, float]:
        """Level of each loss, the first at alpha."""
        return {self.loss: alpha, **(self.also or {})}

    def planned(
        self, alpha: float, delta: float | None
    ) -> tuple[float, float | None] | None:
        """Levels of the rank that decides; None where no rank does.

        Misses are 0 at cut 0, so without a confidence the bound of the new loss alone
        decides, as a rank.
        """
        if delta is not None or not self.is_safe:
            return None
        signs = {loss.safe_sign for name, loss in LOSSES.items() if name == self.loss}
        return (alpha, None) if max(signs) < 0 else None

    def to_json(self) -> Json:
        """Its options of `calibration.json`."""
        content = {k: v for k, v in asdict(self).items() if v is not None}
        del content["attainable"]
        rows = [row._asdict() for row in self.attainable]
        return content | ({"attainable": rows} if rows else {})


@dataclass(frozen=True, slots=True)
class SetsRecord:
    """Of a calibration of inner and outer sets.

    Attributes:
        joint: How both sides share the promise.
        regions: Each on its own, or all jointly.
        inner: Transform of the inner set.
        outer: Transform of the outer set.
        alpha_inner: Level of the inner side, an exact fraction.
        alpha_outer: Level of the outer side.
        learned: Digest of the choice of transforms; None where they were named.
        learned_units: Short hashes of the units it was made on.
        learned_cases: Of their case ids.
        learned_maps: Fingerprints of their maps.
        bound: Upper bound of the failure rate, with delta.
        order_seed: Seed of the order of units, with `wsr`.
        curve: Thresholds at further levels.
    """

    joint: Joint
    regions: Regions
    inner: str
    outer: str
    alpha_inner: str
    alpha_outer: str
    learned: str | None = None
    learned_units: list[str] = field(default_factory=list[str])
    learned_cases: list[str] = field(default_factory=list[str])
    learned_maps: list[str] = field(default_factory=list[str])
    bound: BoundName | None = None
    order_seed: int | None = None
    curve: list[CurvePoint] = field(default_factory=list[CurvePoint])

    is_safe = True  # an empty inner set, an outer one of everything
    attainable = ()

    def planned(
        self, alpha: float, delta: float | None
    ) -> tuple[float, float | None] | None:
        """Levels of the rank that decides; None where no rank does."""
        if self.bound not in (None, "clopper_pearson"):
            return None
        if self.joint != "bonferroni":
            return alpha, delta
        least = min(Fraction(self.alpha_inner), Fraction(self.alpha_outer))
        return float(least), None if delta is None else delta / 2

    def to_json(self) -> Json:
        """Its options of `calibration.json`."""
        return asdict(self) | {"curve": [point.to_json() for point in self.curve]}


class _ByRank:
    """What a rank alone decides; nothing known is an interval without ends, or no release."""

    __slots__ = ()
    is_safe = True
    attainable = ()

    def planned(
        self, alpha: float, delta: float | None
    ) -> tuple[float, float | None] | None:
        """Levels of the rank that decides; of a release, the floor's and the first's."""
        return alpha, delta


@dataclass(frozen=True, slots=True)
class VolumeRecord(JsonRecord, _ByRank):
    """Of a calibration of intervals of volumes.

    Attributes:
        estimate: How a volume is estimated, see `Interval`.
        scale: What an error is divided by.
        one_sided: The side that is bounded alone; None for both.
        regions: Each on its own, or all jointly.
        change: Whether it is the change between two visits; None where it is not.
    """

    estimate: str
    scale: VolumeScale
    one_sided: OneSided | None = field(default=None, metadata=MAYBE)
    regions: Regions = "each"
    change: bool | None = field(default=None, metadata=MAYBE)


@dataclass(frozen=True, slots=True)
class TriageRecord(JsonRecord, _ByRank):
    """Of a calibration of what may be released.

    Attributes:
        loss: What is lost where a mask goes out, see `Triage`.
        bad_below: Dice below which a mask is bad, a decimal; None where Dice itself counts.
        confidence: What maps are ranked by: `sdc`, `mass`, or a column of the cohort.
        cut: Cut of the mask, a decimal.
        confident_at: Which values of that column are confident; None where there is none.
    """

    loss: TriageLoss
    bad_below: str | None = field(default=None, metadata=MAYBE)
    confidence: str = "sdc"
    cut: str = "0.5"
    confident_at: ConfidentAt | None = field(default=None, metadata=MAYBE)


Record = FnrRecord | RiskRecord | SetsRecord | VolumeRecord | TriageRecord
# Options of sets that stand after those of the policy.
_LATE = ("bound", "order_seed", "curve")

RECORDS: dict[str, type[Record]] = {
    "fnr": FnrRecord,
    "crc": RiskRecord,
    "rcps": RiskRecord,
    "ltt": RiskRecord,
    "sets": SetsRecord,
    "volume": VolumeRecord,
    "triage": TriageRecord,
}


def record_of(method: str, options: Json) -> Record:
    """What a method recorded among the options of `calibration.json`.

    Raises:
        KeyError: There is no such method.
        TypeError: A field is missing.
    """
    kind = RECORDS[method]
    own = {f.name: options[f.name] for f in fields(kind) if f.name in options}
    if "attainable" in own:
        own["attainable"] = [Attainable(**row) for row in own["attainable"]]
    if "curve" in own:
        own["curve"] = [CurvePoint.of(point) for point in own["curve"]]
    return kind(**own)


def options_of(policy: Policy, record: Record, parts: PartsRecord) -> Json:
    """The `options` of `calibration.json`, in their order."""
    own, groups = record.to_json(), {}
    if parts.merged_groups is not None:
        named = {} if policy.group_by is None else {"group_by": policy.group_by}
        groups = named | {
            "group_floor": policy.group_floor,
            "merged_groups": parts.merged_groups,
        }
    if not isinstance(record, SetsRecord):
        return policy.recorded() | groups | own | parts.to_json()
    late = {name: own.pop(name) for name in _LATE}
    return own | policy.recorded() | late | parts.to_json()
