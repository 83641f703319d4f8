"""What an evaluation says of a region whose result is no mask: its part of the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from coverax.calibrate import Audit
from coverax.choices import RaterRule
from coverax.evaluate.set_results import Coverage
from coverax.files import MAYBE, JsonRecord


@dataclass(frozen=True, slots=True)
class VolumeCoverage(Coverage):
    """Intervals that hold the volume, or its change; None where a width is open.

    Attributes:
        true_ml: Mean volume of the references, or change of it.
        volume_ml: Mean estimate of that.
        width_ml: Mean width.
        width_ml_median: Median width.
        width_share_median: Median width as a share of the estimate; of a change, of that
            at the earlier visit.
    """

    true_ml: float | None
    volume_ml: float | None
    width_ml: float | None
    width_ml_median: float | None
    width_share_median: float | None


@dataclass(frozen=True, slots=True)
class IntervalResult(JsonRecord):
    """A region with an interval of its volume; the rest as in `CutResult`.

    Attributes:
        change: Whether it is of the change between two visits; None where it is not.
        n_zero_excluded: Changes whose interval excludes zero.
    """

    region: str
    n_counted: int
    n_empty_reference: int
    n_calibration_units: int
    rank: int | None
    raters: RaterRule | None
    interval: VolumeCoverage
    change: bool | None = field(default=None, metadata=MAYBE)
    n_zero_excluded: int | None = field(default=None, metadata=MAYBE)
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "IntervalResult":
        """The same of cases already seen, which have no law."""
        return replace(self, interval=self.interval.without_law())


@dataclass(frozen=True, slots=True)
class RiskPoint(JsonRecord):
    """Mean loss over all cases where the most confident share goes out."""

    share: float
    risk: float


@dataclass(frozen=True, slots=True)
class Release(JsonRecord):
    """What goes out, and what that costs.

    Attributes:
        loss: What is lost where a mask goes out.
        level: Of its mean over all cases.
        n_released: Masks that go out.
        share_released: Their share.
        realised: Mean loss over all cases of what goes out.
        loss_of_released: Mean loss among the released; None where none is.
        loss_of_all: Mean loss if all went out.
        curve: Risk against share, a description.
    """

    loss: str
    level: float
    n_released: int
    share_released: float
    realised: float
    loss_of_released: float | None
    loss_of_all: float
    curve: Sequence[RiskPoint]


@dataclass(frozen=True, slots=True)
class FloorCoverage(Coverage):
    """Cases at or above their floor of Dice.

    Attributes:
        floor_median: Median floor.
        dice_median: Median Dice.
    """

    floor_median: float
    dice_median: float


@dataclass(frozen=True, slots=True)
class ReleaseResult(JsonRecord):
    """A region whose masks are released or held back; the rest as in `CutResult`."""

    region: str
    n_counted: int
    n_empty_reference: int
    n_calibration_units: int
    raters: RaterRule | None
    release: Release
    floor: FloorCoverage | None = field(default=None, metadata=MAYBE)
    group: str | None = field(default=None, metadata=MAYBE)
    audit: Audit | None = field(default=None, metadata=MAYBE)

    def without_law(self) -> "ReleaseResult":
        """The same of cases already seen, which have no law."""
        return replace(self, floor=self.floor and self.floor.without_law())
