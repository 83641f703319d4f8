"""Guarantees from the folds of a cross-validation, without a held-out set.

Fold k's model never saw fold k, so given that model the fold's cases and a new one are
exchangeable, and `p_k(s) = (1 + #{i in fold k: r_i >= s}) / (m_k + 1)` is an exact
p-value. Twice the mean of p-values is a p-value whatever their dependence: hence the
voxels whose mean p-value exceeds alpha / 2 hold the truth with probability at least
`1 - alpha`. Nothing is asked of the training, nor of the sizes of the folds.

References:
    Vovk and Wang (2020), Combining p-values via averaging.
    Vovk (2015), Cross-conformal predictors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from coverax.calibrate.mean_p import MeanP
from coverax.calibrate.split import check_scores
from coverax.choices import Side, VoteName
from coverax.files import Json
from coverax.rational import Level, as_fraction, check_level

VOTES: dict[VoteName, Fraction] = {"majority": Fraction(1, 2), "union": Fraction(0)}


@dataclass(frozen=True, slots=True)
class FoldScores:
    """Scores of each fold's cases under the model that never saw them.

    Attributes:
        names: Of the folds, sorted.
        scores: Of each fold, ascending; larger is worse.
    """

    names: tuple[str, ...]
    scores: tuple[Float[np.ndarray, " _"], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units of each fold."""
        return tuple(s.size for s in self.scores)

    def exceed(
        self, new_scores: Sequence[Num[np.ndarray, "*new"]], level: Level
    ) -> Bool[np.ndarray, "*new"]:
        """Whether the mean p-value of new scores is above a level, exactly.

        Args:
            new_scores: One array a fold, in the order of `names`, of scores under that
                fold's model.
            level: What twice the promise allows: alpha / 2 of a promise of 1 - alpha.
        """
        tally = MeanP(self.sizes, level, np.shape(new_scores[0]))
        for fold, (own, new) in enumerate(zip(self.scores, new_scores, strict=True)):
            tally.add(fold, self._count(own, new))
        return tally.above()

    def can_leave_out(self, level: Level) -> bool:
        """Whether any new score has a mean p-value of at most this level.

        The least one is the mean of `1 / (m_k + 1)`; where it exceeds the level every
        voxel stays in, and the promise says nothing.
        """
        each = [Fraction(1, m + 1) for m in self.sizes]
        return sum(each, Fraction(0)) / len(each) <= check_level("level", level)

    def largest_kept(self, level: Level) -> float:
        """Largest score that stays in where all folds' models agree on it.

        Above it a new score under every model has a mean p-value of at most `level`;
        `inf` where the folds are too small for that.
        """
        if not self.can_leave_out(level):
            return math.inf
        known = np.unique(np.concatenate(self.scores))
        kept = known[self.exceed([known] * len(self.names), level)]
        return float(kept.max()) if kept.size else -math.inf

    def mean_p(
        self, new_scores: Sequence[Num[np.ndarray, "*new"]]
    ) -> Float[np.ndarray, "*new"]:
        """Mean over folds of the p-values of new scores, for display."""
        each = [
            (1 + self._count(scores, new)) / (scores.size + 1)
            for scores, new in zip(self.scores, new_scores, strict=True)
        ]
        return np.asarray(np.mean(each, axis=0), np.float64)

    @staticmethod
    def _count(
        scores: Float[np.ndarray, " cases"], new: Num[np.ndarray, "*new"]
    ) -> Int[np.ndarray, "*new"]:
        """Calibration scores of a fold that are at least the new ones."""
        below = np.searchsorted(scores, np.asarray(new), side="left")
        return np.asarray(scores.size - below)


@dataclass(frozen=True, slots=True)
class SideFolds:
    """The scores that decide one side of the sets of a region.

    Attributes:
        region: Structure it belongs to.
        side: `inner` or `outer`.
        level: A voxel of mean p-value at most this is in the inner set, or off the
            outer one.
        known: Scores of each fold.
    """

    region: str
    side: Side
    level: Fraction
    known: FoldScores


@dataclass(frozen=True, slots=True)
class Folds:
    """How the maps of several models make one mask.

    Attributes:
        names: Of the folds, in the order in which their maps are given.
        votes: Folds that must mark a voxel; None for sets, which count p-values.
        sides: For sets, what decides each region and side.
    """

    names: tuple[str, ...]
    votes: int | None
    sides: tuple[SideFolds, ...] = ()

    def side(self, region: str, side: Side) -> SideFolds:
        """What decides one side of a region."""
        return next(s for s in self.sides if (s.region, s.side) == (region, side))

    def to_json(self) -> Json:
        """Names, votes, and the scores of each fold as exact hex."""
        sides = [
            {
                "region": side.region,
                "side": side.side,
                "level": str(side.level),
                "scores": {
                    name: [value.hex() for value in own.tolist()]
                    for name, own in zip(
                        side.known.names, side.known.scores, strict=True
                    )
                },
            }
            for side in self.sides
        ]
        return {"names": list(self.names), "votes": self.votes, "sides": sides}

    @classmethod
    def from_json(cls, content: Json) -> "Folds":
        """Inverse of `to_json`."""
        names = tuple(content["names"])
        sides = [
            SideFolds(
                row["region"],
                row["side"],
                Fraction(row["level"]),
                FoldScores(
                    names,
                    tuple(
                        np.array([float.fromhex(v) for v in row["scores"][name]])
                        for name in names
                    ),
                ),
            )
            for row in content["sides"]
        ]
        return cls(names, content["votes"], tuple(sides))


def sorted_folds(names: Sequence[object]) -> list[object]:
    """Names of folds in their order: numbers by size, also as text, others by letters."""
    numbers = all(str(name).isdecimal() for name in names)
    return sorted(names, key=(lambda n: int(str(n))) if numbers else str)


def fold_scores(
    scores: Num[np.ndarray, " cases"], folds: Shaped[np.ndarray, " cases"]
) -> FoldScores:
    """Scores by fold, each sorted.

    Raises:
        ValueError: The lengths differ, there is one fold alone, or a score is NaN.
    """
    scores, names = check_scores(np.asarray(scores)), np.asarray(folds)
    if names.shape != scores.shape:
        raise ValueError(f"{scores.size} scores have {names.size} folds")
    known = sorted_folds(np.unique(names).tolist())
    if len(known) < 2:
        raise ValueError(f"folds are two or more, got {', '.join(map(str, known))}")
    return FoldScores(
        tuple(map(str, known)),
        tuple(np.sort(scores[names == k]).astype(np.float64) for k in known),
    )


def fold_mean_p(
    scores: Num[np.ndarray, " cases"],
    folds: Shaped[np.ndarray, " cases"],
    new_scores: Num[np.ndarray, "folds *new"],
) -> Float[np.ndarray, "*new"]:
    """Mean over folds of the split-conformal p-values of a new case.

    With the new case exchangeable with the cases of each fold,
    `P(mean p <= level) <= 2 * level`, whatever the folds' models have in common.

    Args:
        scores: Of each case under its own fold's model; larger is worse.
        folds: Fold of each case.
        new_scores: Of the new case (or of its voxels) under each fold's model, in the
            sorted order of the names of the folds.

    Returns:
        `mean_k (1 + #{i in fold k: scores_i >= new_k}) / (m_k + 1)`, float64.

    Raises:
        ValueError: The lengths differ, or a score is NaN.

    Examples:
        >>> scores, folds = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])
        >>> float(fold_mean_p(scores, folds, np.array([1.5, 5.0])))
        0.5

    References:
        Vovk and Wang (2020), Combining p-values via averaging.
    """
    known = fold_scores(scores, folds)
    new = np.asarray(new_scores)
    if len(new) != len(known.names):
        raise ValueError(
            f"new_scores has {len(new)} entries for {len(known.names)} folds "
            f"({', '.join(known.names)})"
        )
    if np.isnan(new).any():
        raise ValueError("new_scores has NaN")
    return known.mean_p([np.asarray(s) for s in new])


def votes_needed(vote: VoteName | Level, n_folds: int) -> int:
    """Folds that must mark a voxel: more than a share of them.

    Args:
        vote: `majority` (more than half), `union` (any), or a share in [0, 1).
        n_folds: How many there are.

    Raises:
        ValueError: `vote` is no such name or share.
    """
    named = {str(name): share for name, share in VOTES.items()}
    share = named[vote] if isinstance(vote, str) and vote in named else None
    if share is None:
        try:
            share = as_fraction(vote)
        except ValueError:
            raise ValueError(
                f"vote must be {', '.join(VOTES)} or a share in [0, 1), got {vote!r}"
            ) from None
    _check_share(share)
    return math.floor(share * n_folds) + 1


def fold_needs(n_folds: int, alpha: Level) -> dict[str, int]:
    """Fewest units that each of some folds of equal size needs, by method.

    With fewer nothing can be left out: sets say nothing, masks are the whole volume.
    """
    level = check_level("alpha", alpha)
    votes = votes_needed("majority", n_folds)
    majority = majority_alpha(level, Fraction(votes - 1, n_folds))
    levels = {
        "sets, each side": level / 2,
        "sets, both sides (bonferroni, halves)": level / 4,
        "fnr (union)": level,
        "crc, union": level,
        f"crc, majority ({votes} of {n_folds})": majority,
    }
    # All of them ask for 1 / (m + 1) <= level.
    return {what: max(1, math.ceil(1 / own) - 1) for what, own in levels.items()}


def majority_alpha(alpha: Level, share: Level) -> Fraction:
    """Level at which each fold is calibrated, so that a vote keeps the risk at alpha.

    A voxel that is marked where more than `share` of the folds mark it is missed where
    at least `1 - share` of them miss it, so that the risk of the vote is at most the
    mean risk over `1 - share`.

    Raises:
        ValueError: `share` lies outside [0, 1).
    """
    part = as_fraction(share)
    _check_share(part)
    return check_level("alpha", alpha) * (1 - part)


def _check_share(share: Fraction) -> None:
    if not 0 <= share < 1:
        raise ValueError(f"the share of votes must lie in [0, 1), got {share}")
