"""Which new cases go out unread: one rule, exact, for any loss and any confidence."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import groupby

import numpy as np
from jaxtyping import Bool, Num, Shaped
from numpy.typing import ArrayLike

from coverax.rational import Level, check_level

Loss = int | float | Fraction


def released(
    confidence: Num[np.ndarray, " units"],
    losses: Shaped[np.ndarray, " units"] | Sequence[Loss],
    new_confidence: Num[np.ndarray, " new"],
    alpha: Level,
) -> Bool[np.ndarray, " new"]:
    """Whether each new case may be released, so that what goes wrong stays rare.

    A case goes out iff `(1 + sum of the losses of calibration cases at least as
    confident) / (n + 1) <= alpha`. With exchangeable units, the expected loss of a new
    case times whether it is released is at most `alpha`.

    Args:
        confidence: One number a calibration unit, known without its reference and
            finite; **smaller is more confident**.
        losses: Of the same units, in [0, 1]; fractions count exactly, and so do floats.
        new_confidence: Of new cases, each decided by itself.
        alpha: Tolerated expected loss of what is released, in (0, 1).

    Raises:
        ValueError: A loss lies outside [0, 1], a confidence is not finite, or alpha is
            out of range.

    Examples:
        >>> released(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1]), np.array([1.5, 3]), 0.3)
        array([ True, False])

    References:
        Angelopoulos, Bates, Fisch, Lei and Schuster (2024), Conformal Risk Control; the
        loss is that of a selective prediction, monotone in what is released.
    """
    limit = release_limit(confidence, losses, alpha)
    return is_released(check_confidence(new_confidence), limit)


def is_released(
    confidence: Num[np.ndarray, " new"], limit: float
) -> Bool[np.ndarray, " new"]:
    """Whether cases lie before the limit of `release_limit`; every one, where there is none."""
    return np.asarray(confidence) < limit


def release_limit(
    confidence: Num[np.ndarray, " units"],
    losses: Shaped[np.ndarray, " units"] | Sequence[Loss],
    alpha: Level,
) -> float:
    """The first calibration confidence that is no longer released.

    Returns:
        An element of `confidence`; `inf` where all are released, `-inf` where nothing
        can be: fewer than `1 / alpha - 1` units.

    Raises:
        ValueError: As `released`.
    """
    level, own = check_level("alpha", alpha), check_confidence(confidence)
    exact = [_loss(value) for value in np.asarray(losses, object).ravel().tolist()]
    if len(exact) != own.size or own.ndim != 1 or not exact:
        raise ValueError(
            f"expected one loss and one confidence a unit, got {len(exact)} losses and "
            f"shape {own.shape}"
        )
    most, total = level * (own.size + 1), Fraction(1)
    if total > most:
        return -math.inf
    rows = sorted(zip(own.tolist(), exact, strict=True), key=lambda row: row[0])
    for value, tied in groupby(rows, key=lambda row: row[0]):
        total += sum(loss for _, loss in tied)
        if total > most:
            return float(value)
    return math.inf


def check_confidence(values: ArrayLike) -> np.ndarray:
    """Confidences as finite float64.

    Raises:
        ValueError: One is not finite.
    """
    found = np.asarray(values, np.float64)
    bad = ~np.isfinite(found)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} confidences are not finite, the first at {bad.ravel().argmax()}"
        )
    return found


def _loss(value: Loss) -> Fraction:
    try:
        loss = Fraction(value)
    except (ValueError, OverflowError):
        raise ValueError(f"a loss must lie in [0, 1], got {value}") from None
    if not 0 <= loss <= 1:
        raise ValueError(f"a loss must lie in [0, 1], got {value}")
    return loss
