"""Cases in the order of a column: numbers, dates, or text with numbers in it."""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Int

_DATE_LIKE = re.compile(r"\d{1,4}([./-])\d{1,2}\1\d{1,4}([T ].*)?")
_DIGITS = re.compile(r"(\d+)")


def acquisition_order(
    values: Sequence[str] | np.ndarray, case_ids: Sequence[str] | np.ndarray
) -> tuple[Int[np.ndarray, " cases"], str]:
    """Places of the cases in ascending order of a column, and what it was taken for.

    A column of numbers alone is sorted by value, one of ISO dates or times alone
    (`2024-05-01`, `2024-05-01T10:30`) by time, any other as text in which runs of
    digits count as numbers (`case_2` before `case_10`). Equal values keep the order
    they came in.

    Args:
        values: The column, as text.
        case_ids: Names of the cases, for messages.

    Returns:
        Places, and `numbers`, `dates` or `text`.

    Raises:
        ValueError: A value is missing, kinds are mixed, or dates are of another form.
    """
    texts = [str(value) for value in values]
    keys: dict[str, list[Any]] = {"numbers": [], "dates": [], "text": []}
    first: dict[str, str] = {}
    for text, case_id in zip(texts, case_ids, strict=True):
        if not text:
            raise ValueError(f"case {case_id} has no value to be ordered by")
        kind, key = _key(text, str(case_id))
        keys[kind].append(key)
        first.setdefault(kind, f"{text!r} of case {case_id}")
    if len(first) > 1:
        what = " and ".join(f"{kind} ({example})" for kind, example in first.items())
        raise ValueError(f"a column of {what} has no order: write all in one form")
    ((kind, _),) = first.items()
    mine = keys[kind]
    if kind == "dates" and len({key.tzinfo is None for key in mine}) > 1:
        raise ValueError("some times have a zone and some have none: no order")
    order = sorted(range(len(mine)), key=lambda i: mine[i])
    return np.array(order, np.intp), kind


def _key(text: str, case_id: str) -> tuple[str, Any]:
    """Kind of a value, and what it is sorted by."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return "numbers", number
    try:
        return "dates", datetime.fromisoformat(text)
    except ValueError:
        pass
    if _DATE_LIKE.fullmatch(text):
        raise ValueError(
            f"case {case_id}: {text!r} is no date of ISO form, as 2024-05-01: which "
            "number is the month cannot be told"
        )
    parts = _DIGITS.split(text)
    return "text", [int(p) if p.isdecimal() else p for p in parts]
