"""Which masks may go out unread, and how good a mask is at least."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import get_args

import numpy as np
from jaxtyping import Float, Int

from coverax.calibrate.given import given_numbers, given_rows
from coverax.calibrate.map_facts import (
    Counts,
    check_counts,
    grid_cut,
    n_predicted,
    soft_dice_confidence,
    sum_p,
    sum_uncertain,
)
from coverax.calibrate.policy import Policy
from coverax.calibrate.record import TriageRecord
from coverax.calibrate.released import release_limit
from coverax.calibrate.result import Calibration, Status, Threshold
from coverax.calibrate.seal import (
    Part,
    calibrate_parts,
    rank_and_status,
    scope,
    threshold_of_part,
    whom,
)
from coverax.calibrate.split import rank_threshold
from coverax.calibrate.statements import lost_first
from coverax.choices import Confidence, ConfidentAt, TriageLoss
from coverax.rational import Level, as_fraction, check_level
from coverax.table import ScoreTable
from coverax.table.columns import GRID_TRUE_POSITIVE, N_CUTS

WITH_EMPTY = Policy(empty="include")
_ONE = 1 << 53


@dataclass(frozen=True, slots=True)
class Triage:
    """What is lost where a mask goes out, and how confident a map is.

    Attributes:
        loss: `dice`, one less Dice; `fnr`, the missed share; `missed`, whether the mask
            misses all of a reference.
        bad_below: With `dice`, whether Dice is below this, instead of one less Dice.
        confidence: `sdc`, one less the Soft Dice Confidence; `mass`, the sum of
            min(p, 1 - p) over that of p: smaller is more confident. Or a further column
            of the cohort, with numbers that are known without the reference.
        cut: Cut of the mask, a multiple of 1/1024.
        confident_at: With such a column, whether `low` or `high` numbers are confident.

    Raises:
        ValueError: One of them is something else.
    """

    loss: TriageLoss = "dice"
    bad_below: Level | None = None
    confidence: str = "sdc"
    cut: Level = "0.5"
    confident_at: ConfidentAt | None = None

    def __post_init__(self):
        if self.loss not in get_args(TriageLoss):
            raise ValueError(
                f"loss must be one of {', '.join(get_args(TriageLoss))}, got {self.loss!r}"
            )
        self._check_confidence()
        if self.bad_below is not None:
            check_level("bad_below", self.bad_below)
            if self.loss != "dice":
                raise ValueError("bad_below is a Dice: it goes with loss dice")
        grid_cut(self.cut)

    @property
    def is_given(self) -> bool:
        """Whether maps are ranked by a column of the cohort."""
        return self.confidence not in get_args(Confidence)

    @property
    def has_floor(self) -> bool:
        """Whether a floor of Dice comes with it: a column of one's own has no scale."""
        return self.loss == "dice" and not self.is_given

    def uncertainty(self, columns: Counts) -> Float[np.ndarray, " rows"]:
        """How unsure each map is, without its reference.

        Raises:
            ValueError: A cell of the column it is ranked by is no finite number.
        """
        if self.is_given:
            numbers = given_numbers(columns, self.confidence)
            return numbers if self.confident_at == "low" else -numbers
        if self.confidence == "sdc":
            return 1 - soft_dice_confidence(columns)
        uncertain, whole = sum_uncertain(columns), sum_p(columns)
        return np.divide(uncertain, whole, out=np.zeros(len(whole)), where=whole > 0)

    def dice(
        self, columns: Counts, n_foreground: Int[np.ndarray, " rows"]
    ) -> list[Fraction]:
        """Dice of the mask of each row, exact; 1 where mask and reference are empty."""
        return [
            Fraction(2 * hit, found + true) if found + true else Fraction(1)
            for true, found, hit in self._counts(columns, n_foreground)
        ]

    def losses(
        self, columns: Counts, n_foreground: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, " rows"]:
        """Loss of each row, rounded up to a multiple of 2**-53: never less than it is."""
        if self.loss == "dice":
            found = [1 - dice for dice in self.dice(columns, n_foreground)]
        elif self.loss == "fnr":
            counts = self._counts(columns, n_foreground)
            found = [Fraction(true - hit, max(true, 1)) for true, _, hit in counts]
        else:
            counts = self._counts(columns, n_foreground)
            found = [Fraction(int(true > 0 and hit == 0)) for true, _, hit in counts]
        if self.bad_below is not None:
            most = 1 - as_fraction(self.bad_below)
            found = [Fraction(int(loss > most)) for loss in found]
        return np.array([_up(loss) for loss in found], float)

    def floor(self, uncertainty: float, threshold: float) -> float:
        """Dice that a mask has at least, rounded down; 0 where nothing is known."""
        if math.isinf(threshold):
            return 0.0
        wide = math.nextafter(threshold * (1 + 2.0**-50), math.inf)
        exact = 1 - Fraction(wide) * Fraction(uncertainty)
        near = float(exact)
        return max(0.0, near if near <= exact else math.nextafter(near, -math.inf))

    def _check_confidence(self) -> None:
        """Refuse a confidence of which nobody can say what is confident."""
        known = ", ".join(get_args(Confidence))
        if not self.is_given and self.confident_at is not None:
            raise ValueError(
                f"confident_at goes with a column of the cohort: of {known} low is confident"
            )
        if self.is_given and self.confident_at not in get_args(ConfidentAt):
            raise ValueError(
                f"confidence {self.confidence!r} is none of {known}, so it is a column of "
                "the cohort: say whether it is confident where it is low or high "
                f"(--confident-at, confident_at), got {self.confident_at!r}"
            )

    def _counts(
        self, columns: Counts, n_foreground: Int[np.ndarray, " rows"]
    ) -> list[tuple[int, int, int]]:
        """Foreground, predicted and hit voxels of each row, as integers."""
        cut = grid_cut(self.cut)
        hits = np.asarray(columns[GRID_TRUE_POSITIVE])[:, round(cut * N_CUTS)]
        found = n_predicted(columns, cut)
        true = np.asarray(n_foreground)
        return list(zip(true.tolist(), found.tolist(), hits.tolist(), strict=True))


def floor_scores(
    losses: Float[np.ndarray, " rows"], uncertainty: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    """One less Dice over the uncertainty of the map; where that is 0, right or not."""
    nothing = np.where(losses > 0, np.inf, 0.0)
    return np.divide(losses, uncertainty, out=nothing, where=uncertainty > 0)


def calibrate_triage(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = WITH_EMPTY,
    *,
    triage: Triage | None = None,
) -> Calibration:
    """Which masks of new cases may be released unread, and a floor of Dice for each.

    A new mask is released iff its map is more confident than the threshold of side
    `release`: with exchangeable units, the expected loss of a new case times whether it
    is released is at most `alpha`. With loss `dice` a threshold of side `floor` comes
    with it: Dice of a new mask is at least `1 - threshold * uncertainty` with
    probability at least `1 - alpha`, marginally, on its own.

    Args:
        table: Scores of the calibration cohort, with voxel counts and bins.
        alpha: Tolerated expected loss of what is released, in (0, 1).
        policy: Which rows count; empty references do unless they are to be excluded.
        triage: Loss, confidence and cut; one less Dice of the mask at 0.5, by the Soft
            Dice Confidence, by default.

    Returns:
        One or two thresholds a region and group. Status TOO_FEW_CASES where fewer than
        `1 / alpha - 1` units count: nothing may be released.

    Raises:
        ValueError: alpha is out of range, the table lacks the counts, its cases cannot
            calibrate (see `keep_rows`), or the confidence is no column of the cohort,
            has a cell that is no number, or differs between references of a case.

    References:
        Angelopoulos, Bates, Fisch, Lei and Schuster (2024), Conformal Risk Control;
        Borges et al. (2024), Soft Dice Confidence.
    """
    check_level("alpha", alpha)
    rule = triage or Triage()
    if policy.per_unit not in (None, "one"):
        raise ValueError(
            "a release counts one case of each unit: per_unit must be 'one', got "
            f"{policy.per_unit!r}"
        )
    check_counts(table.definition, "a release of masks", bins=True)
    true = table.column("n_foreground")
    given_rows(table, rule.confidence, is_given=rule.is_given)
    unsure, losses = rule.uncertainty(table.columns), rule.losses(table.columns, true)
    plain = replace(rule, loss="dice", bad_below=None).losses(table.columns, true)
    scores = floor_scores(plain, unsure)

    def thresholds_of(part: Part) -> list[Threshold]:
        own, mine = part.cases.worst(losses), unsure[part.rows]
        limit = release_limit(mine, own, alpha)
        status = Status.TOO_FEW_CASES if limit == -math.inf else Status.OK
        tied = int(np.count_nonzero(mine == limit))
        out = Threshold(
            part.region,
            part.group,
            "release",
            None,
            own.size,
            None,
            status,
            limit,
            tied,
        )
        if not rule.has_floor:
            return [out]
        own = part.cases.worst(scores)
        rank, status = rank_and_status(own.size, alpha, None)
        floor = threshold_of_part(
            part,
            "floor",
            own,
            rank_threshold(own, rank),
            own.size,
            rank=rank,
            status=status,
            whole_at=math.inf,
        )
        return [out, floor]

    nothing = Threshold("", "", "release", None, 0, None, Status.EMPTY_GROUP, -math.inf)
    below = None if rule.bad_below is None else str(rule.bad_below)
    return calibrate_parts(
        table,
        thresholds_of,
        lambda found: _statement(found, alpha, policy, rule),
        policy,
        nothing,
        method="triage",
        alpha=alpha,
        delta=None,
        record=TriageRecord(
            rule.loss, below, rule.confidence, str(rule.cut), rule.confident_at
        ),
    )


def _up(loss: Fraction) -> float:
    return -(-loss.numerator * _ONE // loss.denominator) / _ONE


def _statement(
    thresholds: list[Threshold], alpha: Level, policy: Policy, rule: Triage
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    level = float(as_fraction(alpha))
    lost = {
        "dice": "one less Dice of its mask",
        "fnr": "the share of its reference that the mask misses",
        "missed": "whether its mask misses all of the reference",
    }[rule.loss]
    if rule.bad_below is not None:
        lost = f"whether Dice of its mask is below {rule.bad_below}"
    text = (
        f"For {whom(policy)}, the expected loss ({lost}) where it is released, and 0 where "
        f"it is not, is at most {level}. That is a mean over all cases, not over the "
        "released ones alone: among these it is that over the share released. "
    )
    if rule.has_floor:
        text += (
            f"On its own: with probability at least {float(1 - as_fraction(alpha))}, Dice "
            "of the mask is at least the floor written beside it. "
        )
    text += (
        "Means and probabilities are over the calibration units and the new one together "
        "(marginal), and need them to be exchangeable. They assume that the model never "
        "saw a calibration or new unit, and that loss, confidence, cut and alpha were "
        "fixed before looking. "
    )
    if rule.is_given:
        text += (
            f"Masks are ranked by {rule.confidence} of the cohort, where "
            f"{rule.confident_at} is confident: it must be known without the reference, "
            "and be made alike for calibration and new cases. "
        )
    lost_parts = "".join(
        f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): "
        + ("no floor but 0 is known. " if t.side == "floor" else "nothing may go out. ")
        for t in thresholds
        if t.status != Status.OK
    )
    some_hold = any(t.status == Status.OK for t in thresholds)
    words = scope(thresholds, policy)
    return lost_first(text + words, lost_parts, some_hold=some_hold).strip()
