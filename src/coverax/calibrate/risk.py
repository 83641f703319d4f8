"""Conformal risk control of a loss table.

A loss table has one row a unit and one column a lam, lams ascending towards the safe
end.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Num, Shaped

from coverax.calibrate.result import Status
from coverax.rational import Level, as_fraction, exact_sum

# Voxels of a reference up to which losses are read as shares of it.
_LARGEST_DENOMINATOR = 1_000_000

LossTable = Shaped[np.ndarray, "cases lams"]
Lams = Num[np.ndarray, " lams"]


@dataclass(frozen=True, slots=True)
class RiskThreshold:
    """A lam and whether it carries its promise.

    Attributes:
        lam: Element of the lams given; the safest one where nothing passes.
        status: OK, or INFEASIBLE.
        index: Place of `lam` among the lams.
    """

    lam: float
    status: Status
    index: int


def crc_threshold(
    loss_table: LossTable, lams: Lams, alpha: Level, *, bound: Level = 1.0
) -> RiskThreshold:
    """Smallest lam whose corrected mean loss stays within alpha.

    With exchangeable units, losses that do not increase with lam, are at most `bound`
    and at most `alpha` at the safest lam, the expected loss of a new unit at this lam is
    at most `alpha`, marginally over calibration sets: the smallest lam with
    `(sum of losses + bound) / (n + 1) <= alpha`. The sum is exact over losses read as
    the simplest shares (of up to a million voxels) that they stand for, else as the
    decimals they print.

    Args:
        loss_table: Losses of the calibration units at each lam.
        lams: Ascending; larger is safer.
        alpha: Tolerated expected loss, in (0, bound).
        bound: Largest loss a unit can have.

    Returns:
        One of `lams`; the last one with status INFEASIBLE where none passes, as always
        when `alpha < bound / (n + 1)`.

    Raises:
        ValueError: A loss is NaN, above `bound` or increases with lam, or lams do not
            ascend.

    References:
        Angelopoulos, Bates, Fisch, Lei and Schuster (2022), Conformal Risk Control.
    """
    top = as_fraction(bound)
    if not 0 < as_fraction(alpha) < top:
        raise ValueError(f"alpha must lie in (0, {bound}), got {alpha}")
    losses, lams = check_monotone(loss_table, lams, bound=float(top))
    room = as_fraction(alpha) * (len(losses) + 1) - top
    low, high = 0, lams.size
    while low < high:
        middle = (low + high) // 2
        if _exact_sum(losses[:, middle]) <= room:
            high = middle
        else:
            low = middle + 1
    return first_passing(lams, low)


def first_passing(lams: Lams, index: int) -> RiskThreshold:
    """The lam at an index; beyond the last one nothing passed: the safest, INFEASIBLE."""
    if index < lams.size:
        return RiskThreshold(float(lams[index]), Status.OK, index)
    return RiskThreshold(float(lams[-1]), Status.INFEASIBLE, lams.size - 1)


def check_monotone(
    loss_table: LossTable, lams: Lams, *, bound: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A loss table that conformal risk control and RCPS can use.

    Raises:
        ValueError: A loss increases with lam (LTT takes such losses), or the table is
            refused by `check_table`.
    """
    losses, lams = check_table(loss_table, lams, bound=bound)
    rises = np.diff(losses, axis=1) > 0
    if rises.any():
        row, column = np.argwhere(rises)[0]
        raise ValueError(
            f"the loss of row {row} increases from lam {lams[column]} to "
            f"{lams[column + 1]}; CRC and RCPS need losses that do not increase with "
            "lam, LTT takes others"
        )
    return losses, lams


def check_table(
    loss_table: LossTable, lams: Lams, *, bound: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """A loss table with its lams.

    Raises:
        ValueError: Shapes do not match, the table is empty, lams do not ascend, or a
            loss is NaN, negative or above `bound`.
    """
    losses, lams = np.asarray(loss_table), np.asarray(lams)
    if losses.dtype == bool:
        losses = losses.astype(np.float64)
    if losses.ndim != 2 or losses.shape[1] != lams.size or losses.size == 0:
        raise ValueError(
            f"expected losses [cases, lams], got shape {losses.shape} for {lams.size} lams"
        )
    if not (np.diff(lams) > 0).all():
        raise ValueError("lams must ascend: larger is safer")
    if not (losses.min() >= 0 and losses.max() <= bound):
        raise ValueError(f"losses must lie in [0, {bound}] and not be NaN")
    return losses, lams


def _exact_sum(losses: np.ndarray) -> Fraction:
    values, counts = np.unique(losses, return_counts=True)
    pairs = zip(values.tolist(), counts.tolist(), strict=True)
    return exact_sum(_simplest(value) * n for value, n in pairs)


def _simplest(loss: float) -> Fraction:
    """The share of voxels a float64 stands for: 1/3, not the decimal it prints.

    Sums of such decimals miss an alpha that sums of the shares meet exactly.
    """
    share = Fraction(loss).limit_denominator(_LARGEST_DENOMINATOR)
    return share if float(share) == loss else as_fraction(loss)
