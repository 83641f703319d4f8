"""Exact rational levels: alpha, delta and tolerance are decimals, never binary floats.

`0.29 * 100` is 28.999... in binary; the user who writes 0.29 means 29 of 100. Every
place where a count meets a level converts the level here, once.
"""

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

# An allowed count is a*(n//b) + a*(n%b)//b with a < b, so b*b must stay below 2**31
# for int32 arithmetic on the device.
MAX_DENOMINATOR = 46_340

# Numbers that people write have fewer signs and lie within these powers of ten; beyond
# them exact arithmetic would take minutes and gigabytes.
_MOST_SIGNS, _MOST_ZEROS = 400, 400
_EXPONENT = re.compile(r"e([-+]?\d[\d_]*)\s*$", re.IGNORECASE)

Level = float | int | str | Fraction | Decimal | np.floating | np.integer


def as_fraction(value: Level) -> Fraction:
    """The decimal number a person wrote, exactly: 0.1 is 1/10."""
    if isinstance(value, Fraction):
        return value
    try:
        text = str(value)
        exponent = _EXPONENT.search(text[-_MOST_SIGNS:])
        if len(text) > _MOST_SIGNS or (
            exponent and abs(int(exponent[1])) > _MOST_ZEROS
        ):
            raise ValueError
        exact = Fraction(text)
        float(exact)  # results are written as floats
        return exact
    except (ValueError, ZeroDivisionError, OverflowError):
        shown = repr(value) if isinstance(value, float) else f"{value!s:.40}"
        raise ValueError(f"expected a finite number, got {shown!r}") from None


def exact_sum(values: Iterable[Fraction]) -> Fraction:
    """Sum of fractions, over one common denominator: many times faster than one by one."""
    terms = list(values)
    scale = math.lcm(*{term.denominator for term in terms})
    return Fraction(sum(t.numerator * (scale // t.denominator) for t in terms), scale)


def check_level(name: str, value: Level) -> Fraction:
    """Return an alpha or delta as a fraction; refuse what lies outside (0, 1)."""
    level = as_fraction(value)
    if not 0 < level < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value}")
    return level


def check_tolerance(value: Level) -> Fraction:
    """Return a tolerated rate of one case as a fraction; refuse outside [0, 1)."""
    tolerance = as_fraction(value)
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must lie in [0, 1), got {value}")
    if tolerance.denominator > MAX_DENOMINATOR:
        raise ValueError(
            f"tolerance {value} needs a denominator of at most {MAX_DENOMINATOR} to be "
            f"counted exactly, got {tolerance.denominator}"
        )
    return tolerance


def tolerance_terms(
    tolerances: Level | Sequence[Level] | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of tolerances, int32, for exact counting."""
    fractions = [check_tolerance(t) for t in each_level(tolerances)]
    return (
        np.array([f.numerator for f in fractions], np.int32),
        np.array([f.denominator for f in fractions], np.int32),
    )


def each_level(levels: Any) -> list[Level]:
    """Levels as a list, by position; a single one is a list of one."""
    if isinstance(levels, list | tuple):
        return list(levels)
    if isinstance(levels, str):
        return [levels]
    return list(np.asarray(levels).ravel())  # NumPy scalars print their own decimals


def allowed_misses(n_foreground, numerators, denominators):
    """Floor of tolerance times n_foreground, in integers (arrays broadcast)."""
    whole, rest = n_foreground // denominators, n_foreground % denominators
    return numerators * whole + numerators * rest // denominators
