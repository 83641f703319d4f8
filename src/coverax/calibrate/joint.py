"""How the promises of the inner and the outer set become one: levels and rules."""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from coverax.calibrate.learn import LearnedSets
from coverax.calibrate.ranks import conformal_rank
from coverax.calibrate.rcps import failure_rank
from coverax.calibrate.scales import RankScale, largest_at_most
from coverax.calibrate.split import rank_threshold
from coverax.choices import BoundName, Joint, Side
from coverax.rational import Level, check_level

JOINTRULES: tuple[Joint, ...] = ("each", "bonferroni", "max", "ranked")


class Confidence(NamedTuple):
    """A promise for all but a share of calibration sets, and how it is bounded.

    Attributes:
        delta: Share of calibration sets for which a threshold may fail.
        bound: Upper bound of the failure rate.
        seed: Seed of the order of units, which `wsr` depends on.
    """

    delta: Fraction
    bound: BoundName = "clopper_pearson"
    seed: int = 0


class Levels(NamedTuple):
    """How the tolerated miscoverage is spent.

    Attributes:
        alpha: Level of both sides together.
        inner: Level of the inner side.
        outer: Level of the outer side.
        confidence: For promises with confidence; None for marginal ones.
    """

    alpha: Fraction
    inner: Fraction
    outer: Fraction
    confidence: Confidence | None = None

    def at(self, alpha: Fraction) -> "Levels":
        """The same split of another level."""
        inner, outer = (part * alpha / self.alpha for part in (self.inner, self.outer))
        return Levels(alpha, inner, outer, self.confidence)

    def rank(self, scores: np.ndarray, level: Fraction) -> int:
        """Rank of the threshold of scores at a level; beyond them there is none."""
        if self.confidence is None:
            return conformal_rank(scores.size, level)
        delta, bound, seed = self.confidence
        return failure_rank(scores, level, delta, bound=bound, seed=seed)


class Scores(NamedTuple):
    """Scores of regions that are calibrated together, `[regions, units]`, aligned."""

    regions: list[str]
    inner: np.ndarray
    outer: np.ndarray


class SetThreshold(NamedTuple):
    """One threshold of one region, and where it came from."""

    region: str
    side: Side
    rank: int
    n_tied: int
    value: float


Scales = dict[tuple[str, str], RankScale]
Rule = Callable[[Scores, Levels, Scales], list[SetThreshold]]


def spend(
    joint: Joint,
    alpha: Level,
    alpha_inner: Level | None,
    learned: LearnedSets | None = None,
    confidence: Confidence | None = None,
) -> Levels:
    """Split alpha over the two sides, exactly; with confidence, delta in halves.

    Raises:
        ValueError: The inner part does not lie between 0 and alpha, or was named for a
            rule that does not split.
    """
    whole = check_level("alpha", alpha)
    if alpha_inner is not None and joint not in ("bonferroni", "ranked"):
        raise ValueError(f"joint={joint} does not split alpha: drop alpha_inner")
    if joint in ("each", "max"):
        return Levels(whole, whole, whole, confidence)
    if alpha_inner is not None:
        part = check_level("alpha_inner", alpha_inner)
    else:
        part = whole * (Fraction(1, 2) if learned is None else learned.inner_share)
    if not 0 < part < whole:
        raise ValueError(
            f"alpha_inner must lie between 0 and alpha {whole}, got {part}"
        )
    if confidence and joint == "bonferroni":  # two thresholds, either may fail
        confidence = confidence._replace(delta=confidence.delta / 2)
    return Levels(whole, part, whole - part, confidence)


def _by_side(scores: Scores, levels: Levels, _scales: Scales) -> list[SetThreshold]:
    """One threshold a side, each at its own level: `each` and `bonferroni`."""
    inner = _thresholds("inner", scores.regions, scores.inner, levels, levels.inner)
    return inner + _thresholds(
        "outer", scores.regions, scores.outer, levels, levels.outer
    )


def _thresholds(
    side: Side, regions: list[str], scores: np.ndarray, levels: Levels, level: Fraction
) -> list[SetThreshold]:
    worst = scores.max(axis=0)
    rank = levels.rank(worst, level)
    value = rank_threshold(worst, rank)
    tied = int(np.count_nonzero(worst == value))
    return [SetThreshold(region, side, rank, tied, value) for region in regions]


def _maximum(scores: Scores, levels: Levels, _scales: Scales) -> list[SetThreshold]:
    """One threshold for the larger of both scores, as they are."""
    both = np.concatenate([scores.inner, scores.outer])
    return [
        found
        for side in ("inner", "outer")
        for found in _thresholds(side, scores.regions, both, levels, levels.alpha)
    ]


def _ranked(scores: Scores, levels: Levels, scales: Scales) -> list[SetThreshold]:
    """One threshold on the learned scale, carried back to each side and region."""
    share = {
        "inner": float(levels.inner / levels.alpha),
        "outer": float(levels.outer / levels.alpha),
    }

    def scaled(region: str, side: Side) -> Callable[[np.ndarray], np.ndarray]:
        scale, part = scales[region, side], share[side]
        return lambda values: (scale(values) - 1) / part

    rows = [
        scaled(region, side)(getattr(scores, side)[k])
        for k, region in enumerate(scores.regions)
        for side in ("inner", "outer")
    ]
    (common,) = _thresholds("inner", [""], np.stack(rows), levels, levels.alpha)
    return [
        common._replace(
            region=region,
            side=side,
            value=largest_at_most(scaled(region, side), common.value),
        )
        for side in ("inner", "outer")
        for region in scores.regions
    ]


RULES: dict[Joint, Rule] = {
    "each": _by_side,
    "bonferroni": _by_side,
    "max": _maximum,
    "ranked": _ranked,
}
