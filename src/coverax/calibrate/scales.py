"""Scores on a common scale, and back, without losing a case to rounding.

Inner and outer scores (or those of several regions) have units of their own. A learning
set gives each an increasing scale; the maximum of scaled scores is one scalar, which is
calibrated exactly whatever the scale.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True)
class RankScale:
    """Increasing map from scores to their share of the learning scores.

    Knots lie at the distinct finite learning scores x, at height `#{scores <= x}` over
    one more than their number; between knots it is linear, beyond them it rises at a
    fixed slope, and infinite scores stay infinite.

    Attributes:
        knots: Distinct learning scores, ascending.
        heights: Their heights, ascending.
        slope: Beyond the knots, per unit of score.
    """

    knots: Float[np.ndarray, " knots"]
    heights: Float[np.ndarray, " knots"]
    slope: float

    @classmethod
    def of(cls, scores: Float[np.ndarray, " units"]) -> "RankScale":
        """The scale of learning scores.

        Raises:
            ValueError: None of them is finite, or one is NaN.
        """
        scores = np.sort(np.asarray(scores, np.float64))
        if np.isnan(scores).any():
            raise ValueError("learning scores must not be NaN")
        knots = np.unique(scores[np.isfinite(scores)])
        if knots.size == 0:
            raise ValueError("no learning score is finite: no scale can be learned")
        below = np.searchsorted(scores, knots, side="right")
        spread = float(knots[-1] - knots[0]) or 1.0
        return cls(knots, below / (scores.size + 1), 1 / spread)

    def __call__(self, scores: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
        """Scaled scores; non-decreasing in floating point, not only on paper."""
        scores = np.asarray(scores, np.float64)
        out = np.empty(scores.shape)
        low, high = scores < self.knots[0], scores >= self.knots[-1]
        out[low] = self.heights[0] - (self.knots[0] - scores[low]) * self.slope
        out[high] = self.heights[-1] + (scores[high] - self.knots[-1]) * self.slope
        between = ~(low | high)
        x = scores[between]
        k = np.searchsorted(self.knots, x, side="right") - 1
        step = self.heights[k + 1] - self.heights[k]
        share = (x - self.knots[k]) / (self.knots[k + 1] - self.knots[k])
        # Rounding must not carry the end of a piece above the start of the next.
        out[between] = np.minimum(self.heights[k] + step * share, self.heights[k + 1])
        return out


def largest_at_most(
    function: Callable[[np.ndarray], np.ndarray], level: float
) -> float:
    """Largest float64 x with `function(x) <= level`, by bisection on bit patterns.

    For a non-decreasing function, `x <= result` is then the very event
    `function(x) <= level`. Interpolating an inverse instead can lose the case that set
    the level.

    Returns:
        `inf` where all of them are, `-inf` where at most `-inf` is.
    """

    def holds(x: float) -> bool:
        return bool(function(np.array([x]))[0] <= level)

    if holds(np.inf):
        return np.inf
    low, high = _key(-np.inf), _key(np.inf)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(_from_key(middle)):
            low = middle
        else:
            high = middle
    return _from_key(low)


def _key(x: float) -> int:
    """Integers in the order of the floats."""
    bits = int(np.float64(x).view(np.int64))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFFFFFFFFFF)


def _from_key(key: int) -> float:
    magnitude = np.int64(abs(key)).view(np.float64)
    return float(magnitude if key >= 0 else -magnitude)
