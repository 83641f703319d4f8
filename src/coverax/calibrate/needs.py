"""Fewest calibration units with which a method can promise anything: asked of itself."""

import bisect
from collections.abc import Callable

import numpy as np

from coverax.calibrate.ltt import ltt_threshold
from coverax.calibrate.ranks import n_needed
from coverax.calibrate.rcps import rcps_threshold
from coverax.calibrate.risk import crc_threshold
from coverax.calibrate.status import Status
from coverax.rational import Level, as_fraction, check_level

_MOST = 1 << 17  # units beyond which nobody plans


def method_needs(alpha: Level, delta: Level | None = None) -> dict[str, int | None]:
    """Fewest units for any threshold, by method; fewer are always refused.

    Methods of mean losses (`crc`, `rcps`, `ltt`) are asked with losses of 0 in every unit,
    the best that can happen: with larger losses they need more. `rcps` and `ltt` are asked
    with their defaults, `wsr` and the fixed sequence, and with `delta` alone.

    Args:
        alpha: Tolerated miscoverage, or expected loss.
        delta: Tolerated share of calibration sets for which the promise fails.

    Returns:
        Name of the method to units; None where more than 131,072 are needed.

    Raises:
        ValueError: A level lies outside (0, 1).
    """
    half = check_level("alpha", alpha) / 2
    needs: dict[str, int | None] = {
        "fnr": n_needed(alpha),
        "crc": _fewest(lambda zeros: crc_threshold(zeros, _ONE, alpha).status),
        "sets, bonferroni": n_needed(half),
        "sets, each, max or ranked": n_needed(alpha),
    }
    if delta is None:
        return needs
    return needs | {
        "fnr with delta": n_needed(alpha, delta),
        "rcps": _fewest(lambda zeros: rcps_threshold(zeros, _ONE, alpha, delta).status),
        "ltt": _fewest(
            lambda zeros: ltt_threshold([zeros], _ONE, [alpha], delta).status
        ),
        "sets, bonferroni with delta": n_needed(half, as_fraction(delta) / 2),
    }


_ONE = np.zeros(1)  # one lam


def _fewest(status_of: Callable[[np.ndarray], Status]) -> int | None:
    """Fewest units whose losses are all 0 and pass; more of them pass too."""
    zeros = np.zeros((_MOST, 1))

    def passes(n: int) -> bool:
        return status_of(zeros[:n]) == Status.OK

    high = 1
    while not passes(high):
        high *= 2
        if high > _MOST:
            return None
    return 1 + bisect.bisect_left(range(1, high + 1), True, key=passes)
