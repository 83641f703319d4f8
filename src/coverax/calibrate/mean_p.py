"""A mean of p-values against a level, for many new scores at once, in whole numbers."""

import math
from collections.abc import Sequence
from types import EllipsisType

import numpy as np
from jaxtyping import Bool, Int

from coverax.rational import Level, check_level

# Sums of numerators below these stay in these types.
_INTEGERS = {1 << 15: np.int16, 1 << 31: np.int32, 1 << 62: np.int64}


class MeanP:
    """Whether a mean of p-values is above a level, one fold at a time, exactly.

    Sums are integers over the common denominator of all folds, so that a voxel costs
    one number whatever the number of folds.

    Args:
        sizes: Units of each fold.
        level: What the mean is compared with.
        shape: Shape of the new scores.
    """

    def __init__(self, sizes: Sequence[int], level: Level, shape: tuple[int, ...]):
        # mean p > level  <=>  sum_k (1 + count_k) (common / (m_k + 1)) > level K common
        common = math.lcm(*(m + 1 for m in sizes))
        bound = check_level("level", level) * len(sizes) * common
        largest = len(sizes) * common
        wide_enough = [dtype for most, dtype in _INTEGERS.items() if largest < most]
        self._dtype = wide_enough[0] if wide_enough else object
        self._most = bound.numerator // bound.denominator
        self._weights = [common // (m + 1) for m in sizes]
        # Numerators of the p-values of a fold by their counts.
        self._steps = [
            np.array([w * n for n in range(1, m + 2)], self._dtype)
            for m, w in zip(sizes, self._weights, strict=True)
        ]
        self._total = np.zeros(shape, self._dtype)
        self._base = 0  # of every new score
        self._settled: np.ndarray | None = None

    def add(
        self,
        fold: int,
        counts: Int[np.ndarray, "..."],
        where: slice | EllipsisType = ...,
    ) -> None:
        """Add the p-values of a fold: of all new scores, or of those at `where`.

        Args:
            fold: Its place among the sizes.
            counts: Calibration scores of the fold that are at least each new one.
            where: Which of the new scores these are.
        """
        self._total[where] += self._steps[fold][counts]

    def enough(self, fold: int) -> int:
        """Fewest scores of a fold that settle it: above, whatever other folds count.

        More than the fold has units where none do.
        """
        others = sum(w for k, w in enumerate(self._weights) if k != fold)
        return max(0, (self._most - others) // self._weights[fold])

    def add_rest(self, fold: int, count: int) -> None:
        """Add to all new scores the p-value that a fold gives at a count."""
        self._base += int(self._steps[fold][count])

    def add_few(
        self,
        fold: int,
        places: Int[np.ndarray, " places"],
        counts: Int[np.ndarray, " places"],
        rest: int,
    ) -> None:
        """Add what some of a flat array of new scores have beyond `add_rest`.

        Args:
            fold: Its place among the sizes.
            places: Which of the new scores, each once.
            counts: Calibration scores of the fold that are at least these.
            rest: The count that `add_rest` was given.
        """
        steps = self._steps[fold]
        self._total[places] += (steps - steps[rest])[counts]

    def settle(
        self, where: slice, settled: Bool[np.ndarray, " scores"]
    ) -> Bool[np.ndarray, " scores"]:
        """Call new scores above the level: a fold alone counts `enough` for them.

        What is added to them before or after makes no difference.

        Returns:
            Which of the new scores at `where` any fold has settled.
        """
        if self._settled is None:
            self._settled = np.zeros(self._total.shape, bool)
        known = self._settled[where]
        return np.logical_or(known, settled, out=known)

    def above(self) -> Bool[np.ndarray, "..."]:
        """Where the mean over all folds exceeds the level."""
        above = np.asarray(self._total > self._most - self._base, bool)
        return above if self._settled is None else above | self._settled
