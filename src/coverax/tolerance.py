"""What a number on disk may be off by: one statement for labels, ranges and sums.

A file holds numbers to the step of its storage, and every bound follows from it.

* Integers with a slope: the step is the slope. A writer rounds to the nearest step (half
  a step off) or cuts off (a whole one, downwards). Slope and intercept are float32 in a
  header, so that the real value is off by a few roundings of float32 as well.
* Floats: rounding is relative. Values made in float32 carry a few of its roundings. A sum
  of classes may have been made in a half type: no type of NIfTI tells.

Interpolation is no rounding; what it may overshoot is a choice of the user.
"""

import numpy as np

# Four roundings of float32, 2**-24 each: slope, intercept, product, sum.
ROUNDING = 2.0**-22
# Two roundings of bfloat16, the coarsest type that nets compute in. They are relative:
# those of a sum of probabilities are no larger than those of 1.
SUM_ROUNDING = 2.0**-8
# Interpolation overshoots [0, 1] a little; accepted on request, never clipped.
MAX_OVERSHOOT = 1e-3
# A label is told from its neighbours where the steps between them are many.
_LARGEST_LABEL_STEP, _LARGEST_LABEL_SLACK = 1 / 8, 1 / 4


def range_slack(intercept: float = 0.0) -> float:
    """How far rounding alone takes a stored probability out of [0, 1].

    Args:
        intercept: Of the header; what it cancels is rounded too.
    """
    return ROUNDING * (1 + 2 * abs(intercept))


def sum_slack(n: int, step: float = 0.0) -> tuple[float, float]:
    """How far the sum of `n` stored classes may lie below and above its true value.

    Args:
        n: Classes that are added.
        step: Slope of stored integers; 0 for floats.
    """
    if not step:
        return SUM_ROUNDING, SUM_ROUNDING
    rounding = n * ROUNDING
    return n * step + rounding, n * step / 2 + rounding


def nearest_labels(
    values: np.ndarray, step: float = 0.0, intercept: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers nearest to stored ones, and where a stored one is no label.

    A label is a whole number, or what the storage has nearest to it: within half a step
    where steps are small, and within the rounding of float32.

    Args:
        values: Real values.
        step: Slope of stored integers; 0 for floats.
        intercept: Of the header.
    """
    whole = np.rint(values)
    bad = ~(values - whole == 0)  # infinite is no label either
    if bad.any():
        others = values[bad]
        half = step / 2 if step <= _LARGEST_LABEL_STEP else 0.0
        slack = half + ROUNDING * (np.abs(others - intercept) + abs(intercept))
        # A float32 beyond 2**20 is too coarse to tell a whole number from another.
        near = np.abs(others - whole[bad]) <= np.minimum(slack, _LARGEST_LABEL_SLACK)
        bad[bad] = ~near
    return whole, bad
