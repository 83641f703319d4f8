"""A calibration: thresholds, what they promise, and the file that carries them."""

import math
from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from coverax._version import __version__
from coverax.calibrate.groups import MERGED
from coverax.calibrate.ties import just_below, tie_numbers
from coverax.files import (
    PathLike,
    check_fields,
    digest_json,
    publish_json,
    read_sealed_json,
    sound,
)

SCHEMA = 1


class Status(IntEnum):
    """Whether a guarantee can be given."""

    OK = 0
    TOO_FEW_CASES = 1
    INFEASIBLE = 2
    NONFINITE_SCORE = 3
    EMPTY_GROUP = 4

    @property
    def sentence(self) -> str:
        """What the status means, for people."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.OK: "The guarantee holds.",
    Status.TOO_FEW_CASES: "There are too few calibration units for this level.",
    Status.INFEASIBLE: "No threshold meets the risk at this level.",
    Status.NONFINITE_SCORE: "The threshold fell on a score that is not finite.",
    Status.EMPTY_GROUP: "A group has no calibration unit.",
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold.

    Attributes:
        region: Structure it belongs to.
        group: Group it belongs to; empty where there is one for all.
        side: `lesion` for false-negative-rate control; `inner` or `outer` for sets.
        tolerance: Tolerated rate of one case; None where a mean is controlled.
        n_units: Calibration units that counted.
        rank: Which order statistic, 1-based; None where it is no plain one.
        status: Whether the promise can be given.
        value: The threshold; a new case is served iff its score is at most this.
        n_tied: Units whose score equals the threshold.
        tie: Where ties are broken at random, the largest number of a new case that is
            served at the threshold itself (see `calibrate.ties`); None otherwise.
    """

    region: str
    group: str
    side: str
    tolerance: float | None
    n_units: int
    rank: int | None
    status: Status
    value: float
    n_tied: int = 0
    tie: float | None = None

    @property
    def name(self) -> str:
        """Region, and group where there is one, for messages."""
        return f"region {self.region}" + (f", group {self.group}" if self.group else "")

    @property
    def order(self) -> int:
        """The rank, for thresholds that are a plain order statistic.

        Raises:
            ValueError: This one is not.
        """
        if self.rank is None:
            raise ValueError(f"the threshold of {self.name} has no rank")
        return self.rank

    @property
    def place(self) -> str:
        """Rank among units, for messages."""
        rank = "" if self.rank is None else f"rank {self.rank} of "
        return f"{rank}{self.n_units} units"

    @property
    def probability(self) -> float:
        """The cut of the map: the mask is `{probs >= probability}`."""
        return 0.0 - self.value


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds with the statement they carry.

    Attributes:
        method: `fnr` for Conformal Lesion Segmentation, `sets` for confidence sets.
        alpha: Tolerated miscoverage.
        delta: For statements with confidence `1 - delta`, else None.
        n_cases: Cases of the table.
        n_units: Units that counted (the fewest over thresholds).
        thresholds: One per region.
        excluded: Reason to case ids.
        options: Policies and seeds that shaped the result.
        score_definition: What the scores mean, as the table says.
        cases_digest: SHA-256 of the case ids.
        unit_digests: Short hashes of the units used, to recognise them in evaluation.
        statement: The guarantee in words, with its assumptions.
    """

    method: str
    alpha: float
    delta: float | None
    n_cases: int
    n_units: int
    thresholds: tuple[Threshold, ...]
    excluded: dict[str, tuple[str, ...]]
    options: dict[str, Any]
    score_definition: dict[str, Any]
    cases_digest: str
    unit_digests: tuple[str, ...]
    statement: str
    digest: str = field(default="")

    @property
    def status(self) -> Status:
        """The worst status of all thresholds."""
        return max(threshold.status for threshold in self.thresholds)

    def raise_if_bad(self) -> None:
        """Raise where a guarantee cannot be given.

        Raises:
            ValueError: Any threshold has another status than OK.
        """
        bad = [t for t in self.thresholds if t.status != Status.OK]
        if bad:
            which = "; ".join(f"{t.name}: {t.status.name} ({t.place})" for t in bad)
            safe = "the whole volume" if bad[0].value > 0 else "the empty one"
            raise ValueError(
                f"no guarantee at alpha {self.alpha}: {which}. {bad[0].status.sentence} "
                "`coverax plan` tells how many are needed. The only safe mask is "
                f"{safe}; allow_vacuous (--allow-vacuous) writes it"
            )

    @property
    def is_grouped(self) -> bool:
        """Whether a case must name its group before it has a threshold."""
        return "group_by" in self.options

    def threshold_of(self, region: str, side: str | None = None) -> Threshold:
        """The threshold of a region; of one side of it, where there are two.

        Raises:
            ValueError: Each group has its own: see `of_group`.
        """
        if self.is_grouped:
            raise ValueError(
                f"the calibration has a threshold for each {self.options['group_by']}: "
                "name the group of each case"
            )
        return next(
            t for t in self.thresholds if t.region == region and side in (None, t.side)
        )

    def of_group(self, group: str) -> "Calibration":
        """What a case of this group is served by; the whole where there are no groups.

        Raises:
            ValueError: No unit of the group was calibrated.
        """
        if not self.is_grouped:
            return self
        small = self.options["merged_groups"]
        own = tuple(
            t
            for t in self.thresholds
            if t.group == (MERGED if group in small[t.region] else group)
        )
        lacking = {t.region for t in self.thresholds} - {t.region for t in own}
        if lacking:
            known = ", ".join(sorted({t.group for t in self.thresholds}))
            where = f" in region {', '.join(sorted(lacking))}" if own else ""
            raise ValueError(
                f"{self.options['group_by']} {group!r} was not calibrated{where}, only "
                f"{known}: no promise can be given"
            )
        options = {k: v for k, v in self.options.items() if k != "group_by"}
        return replace(self, thresholds=own, options=options | {"group": group})

    def of_case(self, case_id: str) -> "Calibration":
        """What a case of this name is served by: ties are broken by its number."""
        if "tie_seed" not in self.options:
            return self
        (number,) = tie_numbers([case_id], self.options["tie_seed"])
        own = tuple(
            replace(t, value=just_below(t.value))
            if t.tie is not None and number > t.tie
            else t
            for t in self.thresholds
        )
        return replace(self, thresholds=own)

    def to_json(self) -> dict[str, Any]:
        """The content of `calibration.json`."""
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "coverax": __version__,
            "method": self.method,
            "alpha": self.alpha,
            "delta": self.delta,
            "n_cases": self.n_cases,
            "n_units": self.n_units,
            "status": self.status.name,
            "thresholds": [_threshold_to_json(t) for t in self.thresholds],
            "excluded": {why: list(ids) for why, ids in self.excluded.items()},
            "options": self.options,
            "score_definition": self.score_definition,
            "cases_digest": self.cases_digest,
            "unit_digests": list(self.unit_digests),
            "statement": self.statement,
        }
        if len(self.thresholds) == 1:
            only = self.thresholds[0]
            content["tolerance"] = only.tolerance
            content["rank"] = only.rank
            content["threshold"] = _number_to_json(only.value)
            content["probability_threshold"] = _number_to_json(only.probability)
        content["digest"] = digest_json(content)
        return content

    def write(self, path: PathLike) -> None:
        """Write `calibration.json`; it appears complete or not at all."""
        path = Path(path)
        publish_json(path, self.to_json())


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


def _calibration_from_json(content: dict[str, Any], digest: str) -> Calibration:
    thresholds = tuple(_threshold_from_json(t) for t in content["thresholds"])
    found = Calibration(
        method=content["method"],
        alpha=content["alpha"],
        delta=content["delta"],
        n_cases=content["n_cases"],
        n_units=content["n_units"],
        thresholds=thresholds,
        excluded={why: tuple(ids) for why, ids in content["excluded"].items()},
        options=content["options"],
        score_definition=content["score_definition"],
        cases_digest=content["cases_digest"],
        unit_digests=tuple(content["unit_digests"]),
        statement=content["statement"],
        digest=digest,
    )
    check_fields(found)
    return found


def with_digest(calibration: Calibration) -> Calibration:
    """The calibration carrying the digest its file will have."""
    return replace(calibration, digest=calibration.to_json()["digest"])


def _number_to_json(value: float) -> dict[str, Any]:
    """Decimal and exact hex; an infinite value has no decimal."""
    if math.isinf(value):
        return {"value": None, "hex": "inf" if value > 0 else "-inf"}
    return {"value": value, "hex": value.hex()}


def _threshold_to_json(threshold: Threshold) -> dict[str, Any]:
    return asdict(threshold) | {
        "status": threshold.status.name,
        **_number_to_json(threshold.value),
    }


def _threshold_from_json(content: dict[str, Any]) -> Threshold:
    values: dict[str, Any] = {
        **content,
        "value": float.fromhex(content["hex"]),
        "status": Status[content["status"]],
    }
    del values["hex"]
    found = Threshold(**values)
    check_fields(found)
    return found
