"""Score tables as data frames of pandas, which need not be installed.

A frame carries what its columns mean, sealed, in `frame.attrs`, which copies and choices
of rows keep. What is joined or concatenated loses it, and the definition is then given.
"""

# pyright: basic
# pandas ships no types that are read here.

import json
from typing import Any

import numpy as np

from coverax.files import digest_json, is_sealed
from coverax.table.columns import (
    CRITICAL_COLUMNS,
    NO_COLUMN,
    Column,
    check_further,
    column_kind,
    columns_of,
)
from coverax.table.definition import ScoreDefinition
from coverax.table.table import ScoreTable

_KEY = "coverax"  # of the attributes of a frame


def to_frame(table: ScoreTable) -> Any:
    """The columns of a table as a frame, one row a case and region.

    Raises:
        ModuleNotFoundError: pandas is not installed.
    """
    try:
        frame = table.rows.to_pandas()
    except ImportError:
        raise ModuleNotFoundError(
            "a data frame needs pandas: pip install pandas"
        ) from None
    about = {
        "score_definition": table.definition.to_json(),
        "excluded": {why: list(ids) for why, ids in table.excluded.items()},
        "turned": table.turned,
    }
    frame.attrs[_KEY] = json.dumps(about | {"digest": digest_json(about)})
    return frame


def from_frame(frame: Any, definition: ScoreDefinition | None) -> ScoreTable:
    """The table of a frame.

    Raises:
        ValueError: The frame says not what its columns mean, or not as it was written;
            columns are missing, or hold what they cannot hold.
    """
    about, meaning = _about(frame, definition)
    own = {kind.name: kind for kind in columns_of(meaning)}
    known = own | {kind.name: kind for kind in CRITICAL_COLUMNS}
    names = list(map(str, frame.columns))
    lacking = [name for name in own if name not in names]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise ValueError(
            f"the frame lacks column {', '.join(lacking[:5])}{more} of its score "
            "definition: keep all columns, and choose rows alone"
        )
    if len(set(names)) < len(names) or not len(frame):
        raise ValueError("the frame has no rows, or two columns of one name")
    columns = {
        name: _values(name, known.get(name), frame[column].to_numpy())
        for name, column in zip(names, frame.columns, strict=True)
    }
    text = [n for n in names if n not in known and columns[n].dtype == object]
    check_further(text, meaning)
    excluded = {why: tuple(ids) for why, ids in about["excluded"].items()}
    table = ScoreTable(columns, meaning, excluded, about["turned"])
    _check_critical(table)
    return table


def _check_critical(table: ScoreTable) -> None:
    """Refuse counts at cuts of rows that are gone.

    Raises:
        ValueError: The counts of a region are not at the cuts of its rows.
    """
    for region in set(table.column("region").tolist()):
        curves = [c for c in CRITICAL_COLUMNS if c.name in table.columns]
        mine = table.column("region") == region
        n_cuts = table.critical_cuts(region).size if curves else 0
        if any(
            (n_cuts != len(row)) for c in curves for row in table.column(c.name)[mine]
        ):
            raise ValueError(
                "rows are missing whose cuts the counts of a second pass are at: choose "
                "rows with table.select, and make the frame of that"
            )


def _about(
    frame: Any, definition: ScoreDefinition | None
) -> tuple[dict[str, Any], ScoreDefinition]:
    """What a frame says of its columns, and what they mean."""
    text = getattr(frame, "attrs", {}).get(_KEY)
    if text is None:
        if definition is None:
            raise ValueError(
                "the frame does not say what its scores mean (a join or concat drops "
                "frame.attrs): give definition=table.definition"
            )
        return {"excluded": {}, "turned": {}}, definition
    about = json.loads(text)
    if not is_sealed(about):
        raise ValueError(
            "frame.attrs: altered after it was written (its digest does not match)"
        )
    found = ScoreDefinition.from_json(about["score_definition"])
    if definition not in (None, found):
        raise ValueError("the frame says that its scores mean something else")
    return about, found


def _values(name: str, kind: Column | None, values: np.ndarray) -> np.ndarray:
    """A column as an array of its kind.

    Raises:
        ValueError: An entry is missing, or is no such value.
    """
    if kind is None:
        return _unknown(name, values)
    if kind.kind == "text":
        return _text(name, values)
    if kind.form == "value":
        return _numbers(name, kind, values, ())
    if kind.form == "ragged":
        out = np.empty(len(values), object)
        out[:] = [_numbers(name, kind, row, ()) for row in values]
        return out
    width = (kind.n_bins,) if kind.n_bins else None
    return _numbers(name, kind, values, width)


def _text(name: str, values: np.ndarray) -> np.ndarray:
    each = values.tolist()
    wrong = [value for value in each if not isinstance(value, str)]
    if wrong:
        raise ValueError(f"column {name} must hold text, got {wrong[0]!r:.40}")
    return np.array(each, object)


def _unknown(name: str, values: np.ndarray) -> np.ndarray:
    """A column that no definition names: text, numbers, or lists of as many of them."""
    if values.dtype != object:
        return values
    if any(isinstance(value, str) for value in values):
        return _text(name, values)
    try:
        found = np.stack(list(values))
    except (TypeError, ValueError):
        raise ValueError(NO_COLUMN.format(name)) from None
    column_kind(name, found)  # or it is refused
    return found


@np.errstate(invalid="ignore")  # NaN is no whole number, which is told below
def _numbers(
    name: str, kind: Column, values: Any, width: tuple[int, ...] | None
) -> np.ndarray:
    """Numbers of a kind, none of which changes on the way; lists of `width`, if known."""
    try:
        found = np.asarray(values) if width == () else np.stack(list(values))
        out = found.astype(kind.kind)
        same = np.array_equal(out, found, equal_nan=found.dtype.kind == "f")
    except (TypeError, ValueError):
        same, out = False, np.zeros(0)
    if not same or (out.ndim != 2 if width is None else out.shape[1:] != width):
        raise ValueError(
            f"column {name} does not hold what a score table keeps in it: {kind.kind}"
            + (" in lists" if width != () else "")
        )
    return out
