"""A confidence that the cohort gives: numbers of one of its further columns."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from coverax.table import ScoreTable
from coverax.table.columns import FOLD

# Text of every cohort that says who a case is, and not how sure its map is.
_NAMES = ("case_id", "unit", "group", "rater", FOLD)


def given_numbers(columns: Mapping[str, Any], name: str) -> Float[np.ndarray, " rows"]:
    """A column of text as finite numbers.

    Raises:
        ValueError: A cell is none.
    """
    return np.array([given_number(value, name) for value in columns[name]], float)


def given_number(value: Any, name: str) -> float:
    """A cell as a finite number.

    Raises:
        ValueError: It is none.
    """
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = np.nan
    if not np.isfinite(found):
        raise ValueError(
            f"{name}, the confidence, must be a finite number, got {str(value)!r:.80}"
        )
    return found


def given_rows(table: ScoreTable, name: str, *, is_given: bool) -> None:
    """Refuse a confidence that is no column of the cohort, or that a reference told.

    Args:
        table: Of the calibration cohort.
        name: What maps are ranked by.
        is_given: Whether that is a column, and not told by the map.

    Raises:
        ValueError: The cohort gives no such column or one of the name of a confidence of
            maps, a cell is no finite number, or rows of one map differ.
    """
    candidates = [c for c in table.cohort_columns if c not in _NAMES]
    if not is_given:
        if name in candidates:
            raise ValueError(
                f"{name} is a confidence of maps and a column of the cohort: rename the "
                "column"
            )
        return
    if name not in candidates:
        why = f"the score table has no column {name!r} to rank masks by"
        if name in table.columns and name not in _NAMES:
            why = f"{name} is known from map and reference alone"
        raise ValueError(
            f"{why}; a confidence must be known without the reference: a further column "
            f"of cohort.csv, here {', '.join(candidates) or 'none'}"
        )
    first: dict[tuple[str, str], float] = {}
    columns = (table.column(c).tolist() for c in ("case_id", "region", name))
    for case_id, region, value in zip(*columns, strict=True):
        try:
            number = given_number(value, name)
        except ValueError as error:
            raise ValueError(f"case {case_id}: {error}") from None
        if first.setdefault((case_id, region), number) != number:
            raise ValueError(
                f"case {case_id}: {name} differs between its references, so it is not "
                "known without them"
            )
