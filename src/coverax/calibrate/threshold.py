"""One threshold, and how a file holds it."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from coverax.calibrate.status import Status, informative
from coverax.calibrate.ties import just_below
from coverax.choices import FnrScore
from coverax.files import Json, check_fields
from coverax.shown import plural

# Side of a threshold on a score of missed shares -> least value that keeps every voxel.
WHOLE_AT = {"lesion": 0.0, "mass": 1.0}
SIDE_OF: dict[FnrScore, str] = {"critical": "lesion", "mass": "mass"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One threshold.

    Attributes:
        region: Structure it belongs to.
        group: Group it belongs to; empty where there is one for all.
        side: `lesion`, `mass`, `inner` or `outer`, `volume`, `change`, `release` or `floor`, by
            method.
        tolerance: Tolerated rate of one case; None where a mean is controlled.
        n_units: Calibration units that counted.
        rank: Which order statistic, 1-based; None where it is no plain one.
        status: Whether the promise can be given.
        value: A new case is served iff its score is at most this (`release`: less).
        n_tied: Units whose score equals the threshold.
        tie: Where ties are broken at random, the largest number of a new case that is
            served at the threshold itself (see `calibrate.ties`); None otherwise.
        fold: Fold whose map it cuts; empty where there is one map, or a set of all.
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
    fold: str = ""

    @property
    def name(self) -> str:
        """Region, and group and fold where there is one, for messages."""
        parts = {"region": self.region, "group": self.group, "fold": self.fold}
        return ", ".join(f"{what} {name}" for what, name in parts.items() if name)

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
        return f"{rank}{plural(self.n_units, 'unit')}"

    @property
    def score(self) -> FnrScore:
        """Of a mask that may miss so much, the score that it bounds."""
        return "mass" if self.side == "mass" else "critical"

    @property
    def is_cut(self) -> bool:
        """Whether one cut of every map makes the masks."""
        return self.side == "lesion"

    @property
    def probability(self) -> float:
        """The cut of the map: the mask is `{probs >= probability}`.

        Raises:
            ValueError: Each map has a cut of its own.
        """
        if self.score == "mass":
            raise ValueError(f"{self.name}: masks by mass have a cut in each map")
        return 0.0 - self.value

    @property
    def below(self) -> float:
        """The largest threshold that serves no case tied with this one."""
        return just_below(
            self.value, np.float64 if self.score == "mass" else np.float32
        )


def number_to_json(value: float) -> Json:
    """Decimal and exact hex; an infinite value has no decimal."""
    if math.isinf(value):
        return {"value": None, "hex": "inf" if value > 0 else "-inf"}
    return {"value": value, "hex": value.hex()}


def threshold_to_json(threshold: Threshold) -> Json:
    """As `calibration.json` holds it."""
    content = asdict(threshold) | {
        "status": threshold.status.name,
        **number_to_json(threshold.value),
    }
    if not threshold.fold:
        del content["fold"]
    return content


def threshold_from_json(content: Json) -> Threshold:
    """The threshold that `threshold_to_json` wrote.

    Raises:
        TypeError: A field is of another type.
    """
    value, status = float.fromhex(content["hex"]), Status[content["status"]]
    if content["side"] not in (
        "inner",
        "release",
    ):  # the first files of this schema say OK
        status = informative(status, value, WHOLE_AT.get(content["side"], math.inf))
    values: Json = {**content, "value": value, "status": status}
    del values["hex"]
    found = Threshold(**values)
    check_fields(found)
    return found
