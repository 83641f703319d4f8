"""A calibration: thresholds, what they promise, and the file that carries them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from coverax._version import __version__
from coverax.calibrate.folds import Folds
from coverax.calibrate.policy import Policy
from coverax.calibrate.record import (
    NO_PARTS,
    FnrRecord,
    PartsRecord,
    Record,
    Refused,
    RiskRecord,
    SetsRecord,
    options_of,
    record_of,
)
from coverax.calibrate.refusals import refusal
from coverax.calibrate.seen import Seen
from coverax.calibrate.serving import (
    check_whole,
    served_group,
    served_map,
    status_of_refused,
)
from coverax.calibrate.status import Status as Status
from coverax.calibrate.status import informative as informative
from coverax.calibrate.threshold import Threshold as Threshold
from coverax.calibrate.threshold import (
    number_to_json,
    threshold_from_json,
    threshold_to_json,
)
from coverax.calibrate.ties import tie_numbers
from coverax.choices import Kind
from coverax.files import (
    Json,
    PathLike,
    check_fields,
    digest_json,
    publish_json,
    read_sealed_json,
    sound,
)
from coverax.shown import Shown, few, short
from coverax.table import SIDES, ScoreDefinition

SCHEMA = 1
_KIND_OF_SIDE: dict[str, Kind] = {
    "volume": "interval",
    "change": "change",
    "release": "release",
}


@dataclass(frozen=True, slots=True, repr=False)
class Calibration(Shown):
    """Thresholds with the statement they carry.

    Attributes:
        method: Which guarantee it is, one of `choices.Method`.
        alpha: Tolerated miscoverage.
        delta: For statements with confidence `1 - delta`, else None.
        n_cases: Cases of the table.
        n_units: Units that counted (the fewest over thresholds).
        thresholds: One a region, group and side.
        excluded: Reason to case ids.
        policy: Which rows counted.
        record: What else shaped it, as its method records it.
        definition: What the scores mean, as the table says.
        cases_digest: SHA-256 of the case ids.
        unit_digests: Short hashes of the units used, to recognise them in evaluation.
        statement: The guarantee in words, with its assumptions.
        folds: How the maps of several models make one mask; None for one model.
        case_digests: Short hashes of the case ids of these units.
        map_digests: Fingerprints of their maps.
        parts: What became of regions and groups, beside their thresholds.
    """

    method: str
    alpha: float
    delta: float | None
    n_cases: int
    n_units: int
    thresholds: tuple[Threshold, ...]
    excluded: dict[str, tuple[str, ...]]
    policy: Policy
    record: Record
    definition: ScoreDefinition
    cases_digest: str
    unit_digests: tuple[str, ...]
    statement: str
    digest: str = field(default="")
    folds: Folds | None = None
    case_digests: tuple[str, ...] = ()
    map_digests: tuple[str, ...] = ()
    parts: PartsRecord = NO_PARTS

    def _facts(self) -> dict[str, object]:
        levels = {"alpha": self.alpha, "delta": self.delta}
        return {
            "method": self.method,
            **{name: level for name, level in levels.items() if level is not None},
            "status": self.status.name,
            "units": self.n_units,
            "thresholds": few(map(_words, self.thresholds)),
            "refused": len(self.refused_parts),
        }

    def _details(self) -> dict[str, object]:
        every = "; ".join(map(_words, self.thresholds))
        more = {"thresholds": every, "statement": self.statement, "digest": self.digest}
        return self._facts() | more

    @property
    def options(self) -> Json:
        """What of it `calibration.json` holds as `options`."""
        return options_of(self.policy, self.record, self.parts)

    @property
    def seen(self) -> Seen:
        """What has been looked at: for the thresholds, and for transforms before."""
        own = Seen(self.unit_digests, self.case_digests, self.map_digests)
        if self.parts.strata is not None:
            own |= self.parts.strata.seen
        if not isinstance(self.record, SetsRecord):
            return own
        learned = (f"learned_{kind}" for kind in Seen._fields)
        return own | Seen(*(tuple(getattr(self.record, name)) for name in learned))

    @property
    def of_sites(self) -> bool:
        """Whether it is of sums of sites, so that nobody knows which cases calibrated."""
        return isinstance(self.record, RiskRecord) and self.record.sites is not None

    @property
    def kind(self) -> Kind:
        """What it gives for one region of one case; of one model or of folds."""
        if self.folds is None:
            own = "sides" if self.has_sides else "cut"
            return _KIND_OF_SIDE.get(self.thresholds[0].side, own)
        return "fold_sides" if self.has_sides else "fold_cuts"

    @property
    def has_sides(self) -> bool:
        """Whether it gives an inner and an outer set."""
        return self.thresholds[0].side in SIDES

    @property
    def sets(self) -> SetsRecord:
        """How its sets were made.

        Raises:
            ValueError: It is of cuts.
        """
        if not isinstance(self.record, SetsRecord):
            raise ValueError(f"a calibration of method {self.method} has no sets")
        return self.record

    @property
    def refused_parts(self) -> tuple[Refused, ...]:
        """Regions, and groups of them, that were refused when it was made."""
        return self.parts.refused

    @property
    def status(self) -> Status:
        """The worst status of all thresholds."""
        return max(t.status for t in self.thresholds)

    def raise_if_bad(self) -> None:
        """Raise where a guarantee cannot be given.

        Raises:
            ValueError: Any threshold has another status than OK.
        """
        bad = [t for t in self.thresholds if t.status != Status.OK]
        if bad:
            raise ValueError(refusal(self, bad))

    def promised(self) -> "Calibration":
        """The part that carries a guarantee; the rest is refused, and recorded.

        A region of sets stays if both its sides have their status OK. Regions and
        groups that are refused get no mask.

        Raises:
            ValueError: No part does, or groups are bins of maps.
        """
        bad = [t for t in self.thresholds if t.status != Status.OK]
        refused = {(t.region, t.group): t for t in bad}
        kept = tuple(t for t in self.thresholds if (t.region, t.group) not in refused)
        if not kept:
            raise ValueError(refusal(self, bad))
        if not bad:
            return self
        check_whole(self)
        rows = [Refused(t.region, t.group, t.status.name) for t in refused.values()]
        return with_digest(
            replace(
                self,
                thresholds=kept,
                n_units=min(t.n_units for t in kept),
                parts=replace(self.parts, refused=tuple(rows)),
                statement=f"{self.statement} No mask is written where there is none.",
            )
        )

    def refused(self, region: str, group: str | None = None) -> str | None:
        """Status of a region that was refused, for all or for a group; None if not.

        The group is the one of `of_group` where none is named.
        """
        return status_of_refused(self, region, group)

    @property
    def is_grouped(self) -> bool:
        """Whether a case must name its group before it has a threshold."""
        return self.policy.group_by is not None

    def threshold_of(self, region: str, side: str | None = None) -> Threshold:
        """The threshold of a region; of one side of it, where there are two.

        Raises:
            ValueError: Each group has its own: see `of_group`.
        """
        if self.is_grouped:
            raise ValueError(
                f"the calibration has a threshold for each {self.policy.group_by}: "
                "name the group of each case"
            )
        return next(
            t for t in self.thresholds if t.region == region and side in (None, t.side)
        )

    def of_group(self, group: str) -> "Calibration":
        """What a case of this group is served by; the whole where there are no groups.

        With a floor, a group that is small or was never met is served by `other`.

        Raises:
            ValueError: No group is named, no unit of it was calibrated (and there is no
                floor, or nothing for `other`), or it was refused in every region.
        """
        return served_group(self, group) if self.is_grouped else self

    def of_map(self, groups: Mapping[str, str]) -> "Calibration":
        """What a case is served by whose map is of these groups, by region.

        Raises:
            ValueError: A group was not calibrated.
        """
        return served_map(self, groups)

    @property
    def tie_seed(self) -> int | None:
        """Seed of the numbers that break ties; None where ties stay."""
        return self.record.tie_seed if isinstance(self.record, FnrRecord) else None

    def of_case(self, case_id: str) -> "Calibration":
        """What a case of this name is served by: ties are broken by its number."""
        if self.tie_seed is None:
            return self
        (number,) = tie_numbers([case_id], self.tie_seed)
        own = tuple(
            replace(t, value=t.below) if t.tie is not None and number > t.tie else t
            for t in self.thresholds
        )
        return replace(self, thresholds=own)

    def to_json(self) -> Json:
        """The content of `calibration.json`."""
        content: Json = {
            "schema": SCHEMA,
            "coverax": __version__,
            "method": self.method,
            "alpha": self.alpha,
            "delta": self.delta,
            "n_cases": self.n_cases,
            "n_units": self.n_units,
            "status": self.status.name,
            "thresholds": [threshold_to_json(t) for t in self.thresholds],
            "excluded": {why: list(ids) for why, ids in self.excluded.items()},
            "options": self.options,
            "score_definition": self.definition.to_json(),
            "cases_digest": self.cases_digest,
            "unit_digests": list(self.unit_digests),
            "case_digests": list(self.case_digests),
            "map_digests": list(self.map_digests),
            "statement": self.statement,
        }
        if len(self.thresholds) == 1:
            only = self.thresholds[0]
            content["tolerance"] = only.tolerance
            content["rank"] = only.rank
            content["threshold"] = number_to_json(only.value)
            if only.is_cut:
                content["probability_threshold"] = number_to_json(only.probability)
        if self.folds is not None:
            content["folds"] = self.folds.to_json()
        content["digest"] = digest_json(content)
        return content

    def write(self, path: PathLike) -> None:
        """Write `calibration.json`; it appears complete or not at all."""
        publish_json(Path(path), self.to_json())


def _words(threshold: Threshold) -> str:
    """A threshold for people: a cut as the probability it is."""
    side = "" if threshold.is_cut else f" {threshold.side}"
    cut = side or threshold.value == math.inf
    value = threshold.value if cut else threshold.probability
    ok = "" if threshold.status == Status.OK else f" ({threshold.status.name})"
    return f"{threshold.name}{side} {short(value)}{ok}"


def read_calibration(path: PathLike) -> Calibration:
    """Read `calibration.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no calibration, of another schema, or was altered.
    """
    path = Path(path)
    content, digest = read_sealed_json(path, "calibration", SCHEMA, "calibrate")
    with sound(path, "calibration"):
        return _calibration_from_json(content, digest)


def _calibration_from_json(content: Json, digest: str) -> Calibration:
    thresholds = tuple(threshold_from_json(t) for t in content["thresholds"])
    options = content["options"]
    found = Calibration(
        method=content["method"],
        alpha=content["alpha"],
        delta=content["delta"],
        n_cases=content["n_cases"],
        n_units=content["n_units"],
        thresholds=thresholds,
        excluded={why: tuple(ids) for why, ids in content["excluded"].items()},
        policy=Policy.of(options),
        record=record_of(content["method"], options),
        parts=PartsRecord.of(options),
        definition=ScoreDefinition.from_json(content["score_definition"]),
        cases_digest=content["cases_digest"],
        unit_digests=tuple(content["unit_digests"]),
        # The first files of this schema have units alone.
        case_digests=tuple(content.get("case_digests", ())),
        map_digests=tuple(content.get("map_digests", ())),
        statement=content["statement"],
        digest=digest,
        folds=None if "folds" not in content else Folds.from_json(content["folds"]),
    )
    check_fields(found)
    for part in (found.policy, found.record, found.parts):
        check_fields(part)
    return found


def with_digest(calibration: Calibration) -> Calibration:
    """The calibration carrying the digest its file will have."""
    return replace(calibration, digest=calibration.to_json()["digest"])
