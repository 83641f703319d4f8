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

from coverax.calibrate.split import check_scores
from coverax.rational import Level, check_level

_MOST_INT = 1 << 62  # of a numerator that stays in int64


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
        limit = check_level("level", level)
        common = math.lcm(*(m + 1 for m in self.sizes))
        # mean p > level  <=>  sum_k (1 + count_k) (common / (m_k + 1)) > level K common
        weights = [common // (m + 1) for m in self.sizes]
        bound = limit * len(self.sizes) * common
        most = bound.numerator // bound.denominator  # an integer above it is above
        dtype = np.int64 if len(self.sizes) * common < _MOST_INT else object
        total = np.zeros(np.shape(new_scores[0]), dtype)
        for scores, new, weight in zip(self.scores, new_scores, weights, strict=True):
            steps = np.arange(1, scores.size + 2).astype(dtype) * weight
            total += steps[self._count(scores, new)]
        return np.asarray(total > most, bool)

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
    known = np.unique(names).tolist()  # numbers by size, text by letters
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

    Example:
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


def fewest_for_folds(sizes: Sequence[int], alpha: Level) -> bool:
    """Whether folds of these sizes can leave anything out at a promise of 1 - alpha.

    The least mean p-value is the mean of `1 / (m_k + 1)`; where it exceeds alpha / 2
    every voxel stays in, and the promise says nothing.
    """
    least = sum((Fraction(1, m + 1) for m in sizes), Fraction(0)) / len(sizes)
    return least <= check_level("alpha", alpha) / 2


def majority_alpha(alpha: Level, share: Level) -> Fraction:
    """Level at which each fold is calibrated, so that a vote keeps the risk at alpha.

    A voxel that is marked where more than `share` of the folds mark it is missed where
    at least `1 - share` of them miss it, so that the risk of the vote is at most the
    mean risk over `1 - share`.

    Raises:
        ValueError: `share` lies outside [0, 1).
    """
    part = Fraction(str(share)) if not isinstance(share, Fraction) else share
    if not 0 <= part < 1:
        raise ValueError(f"the share of votes must lie in [0, 1), got {share}")
    return check_level("alpha", alpha) * (1 - part)
