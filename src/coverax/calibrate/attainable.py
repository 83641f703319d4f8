"""What level would have passed, where a risk method says INFEASIBLE: a description."""

import bisect
from collections.abc import Callable
from fractions import Fraction

_STEPS = 1000


def smallest_level(passes: Callable[[Fraction], bool]) -> float | None:
    """Smallest level, in thousandths, that passes; None where none below 1 does.

    It describes the cases that were looked at. Levels are fixed before looking, so a
    level chosen by it needs other cases to calibrate on.

    Args:
        passes: Whether a level passes; one that does passes at every larger level.
    """
    place = bisect.bisect_left(
        range(1, _STEPS), True, key=lambda k: passes(Fraction(k, _STEPS))
    )
    return None if place == _STEPS - 1 else (place + 1) / _STEPS
