"""Intervals of a volume: the score of a case, and what a threshold says of a new one.

The score compares the volume of the reference with an estimate from the map alone. What
is served by a score lies in the interval: ends are computed exactly and rounded
outwards, so that no rounding takes a case out that its score keeps in.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

from coverax.calibrate.map_facts import (
    Counts,
    grid_cut,
    n_predicted,
    sum_p,
    sum_uncertain,
)
from coverax.choices import OneSided, VolumeScale

# Roundings between a score and its ends: a few of the last bits, all outwards.
SLACK = 2.0**-48


class Bounds(NamedTuple):
    """A volume and the ends of its interval, in mL; an infinite end is none."""

    volume_ml: float
    low_ml: float
    high_ml: float


@dataclass(frozen=True, slots=True)
class Interval:
    """How a volume is estimated, and how the error of the estimate is measured.

    Attributes:
        estimate: `cut=C`, the voxels at or above a cut, or `sum`, the sum of the
            probabilities.
        scale: What an error is divided by: `mass`, the sum of min(p, 1 - p); `log`, the
            error is that of the logarithm; `none`, it is one of mL.
        one_sided: `at-least` bounds the volume from below alone, `at-most` from above.

    Raises:
        ValueError: One of them is something else.
    """

    estimate: str = "cut=0.5"
    scale: VolumeScale = "mass"
    one_sided: OneSided | None = None

    def __post_init__(self):
        if self.scale not in get_args(VolumeScale):
            known = ", ".join(get_args(VolumeScale))
            raise ValueError(f"scale must be one of {known}, got {self.scale!r}")
        if self.one_sided not in (None, *get_args(OneSided)):
            known = " or ".join(get_args(OneSided))
            raise ValueError(f"one_sided must be {known}, got {self.one_sided!r}")
        _ = self.cut

    @property
    def cut(self) -> float | None:
        """The cut of the estimate; None where it is the sum of the probabilities."""
        name, _, value = self.estimate.partition("=")
        if self.estimate == "sum":
            return None
        if name != "cut" or not value:
            raise ValueError(
                f"estimate must be cut=C, as cut=0.5, or sum, got {self.estimate!r}"
            )
        return grid_cut(value)

    @property
    def mask_cut(self) -> float:
        """The cut of the mask that goes with an interval; it carries no promise."""
        return 0.5 if self.cut is None else self.cut

    @property
    def needs_bins(self) -> bool:
        """Whether sums of probabilities are needed beside counts."""
        return self.cut is None or self.scale == "mass"

    def estimates(self, columns: Counts) -> Float[np.ndarray, " rows"]:
        """The estimate of each map, in voxels."""
        if self.cut is None:
            return sum_p(columns)
        return n_predicted(columns, self.cut).astype(float)

    def scores(
        self,
        columns: Counts,
        n_foreground: Int[np.ndarray, " rows"],
        voxel_ml: Float[np.ndarray, " rows"],
    ) -> Float[np.ndarray, " rows"]:
        """Error of each estimate; larger is worse.

        Where there is nothing to divide by, an estimate is right (0) or not (infinite).
        """
        found, true = self.estimates(columns), np.asarray(n_foreground, float)
        if self.scale == "log":
            return self._log_scores(found, true)
        error = self._signed(true - found)
        if self.scale == "none":
            return error * voxel_ml
        scale = sum_uncertain(columns)
        nothing = np.where(error > 0, np.inf, 0.0)
        return np.divide(error, scale, out=nothing, where=scale > 0)

    def bounds(self, columns: Counts, voxel_ml: float, threshold: float) -> Bounds:
        """The interval of one map: every volume whose score is at most the threshold.

        Args:
            columns: Of one row.
            voxel_ml: Volume of a voxel.
            threshold: As calibrated.
        """
        found = float(self.estimates(columns)[0])
        scale = 1.0
        if self.scale == "mass":
            scale = float(sum_uncertain(columns)[0])
        low, high = self._ends(found, scale, voxel_ml, threshold)
        if self.one_sided == "at-least":
            high = math.inf
        if self.one_sided == "at-most":
            low = 0.0
        return Bounds(found * voxel_ml, max(0.0, low), high)

    def _signed(self, error: np.ndarray) -> np.ndarray:
        """What counts as an error: too little of the truth, too much of it, or both."""
        if self.one_sided is None:
            return np.abs(error)
        return -error if self.one_sided == "at-least" else error

    def _log_scores(self, found: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Log of the ratio of truth and estimate; nothing found of nothing is right."""
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = self._signed(np.log(true) - np.log(found))
        easy = (
            found == 0 if self.one_sided == "at-least" else (found == 0) & (true == 0)
        )
        return np.where(easy, 0.0, scores)

    def _ends(
        self, found: float, scale: float, voxel_ml: float, threshold: float
    ) -> tuple[float, float]:
        """Low and high end, as if both were asked for."""
        if math.isinf(threshold):  # at or below it is everything, or an empty reference
            return 0.0, math.inf if threshold > 0 else 0.0
        wide = threshold + SLACK * (1 + abs(threshold))
        if self.scale == "log":
            return self._ratio_ends(found, voxel_ml, wide)
        reach = Fraction(wide) * Fraction(scale)
        if self.scale == "none":
            reach = Fraction(wide) / Fraction(voxel_ml)
        middle = Fraction(found)
        return _ml(middle - reach, voxel_ml)[0], _ml(middle + reach, voxel_ml)[1]

    def _ratio_ends(
        self, found: float, voxel_ml: float, wide: float
    ) -> tuple[float, float]:
        low, high = found * _exp(-wide), (found and found * _exp(wide))
        if math.isinf(high):
            return _ml(Fraction(low) * (1 - Fraction(SLACK)), voxel_ml)[0], high
        low, high = (
            Fraction(end) * Fraction(1 + slack)
            for end, slack in ((low, -SLACK), (high, SLACK))
        )
        return _ml(low, voxel_ml)[0], _ml(high, voxel_ml)[1]


def _exp(value: float) -> float:
    """Infinite where it would overflow."""
    return math.inf if value > 700 else math.exp(value)


def _ml(voxels: Fraction, voxel_ml: float) -> tuple[float, float]:
    """Voxels in mL: rounded down, and rounded up."""
    return outwards(voxels * Fraction(voxel_ml))


def outwards(exact: Fraction) -> tuple[float, float]:
    """A number rounded down, and rounded up."""
    near = float(exact)
    down = near if near <= exact else math.nextafter(near, -math.inf)
    up = near if near >= exact else math.nextafter(near, math.inf)
    return down, up
