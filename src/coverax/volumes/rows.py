"""Rows of a CSV file: one reader for cohorts, groups and units."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from coverax.checks import normal_form
from coverax.files import PathLike
from coverax.kinds import what_is
from coverax.volumes.names import check_name


class Row(NamedTuple):
    """One row: its line in the file, and its cells without blanks around them."""

    line: int
    cells: dict[str, str]


class Rows(NamedTuple):
    """What a CSV file holds; blank rows are passed over."""

    path: Path
    columns: tuple[str, ...]
    rows: list[Row]


def read_rows(path: PathLike, what: str, required: Sequence[str]) -> Rows:
    """Read a CSV file in UTF-8, with or without a byte order mark.

    Args:
        path: The file.
        what: What it should be, for messages.
        required: Columns it must have.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no CSV file in UTF-8, a column is missing, has no name or
            occurs twice, or a row has more cells than there are columns.
    """
    path = Path(path)
    if not path.is_file():
        found = "; it is a folder" if path.is_dir() else ""
        raise FileNotFoundError(f"{path}: no such {what}{found}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            lines = [(reader.line_num, [c.strip() for c in row]) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        is_text = isinstance(error, csv.Error)
        why = (not is_text and what_is(path)) or str(error)
        raise ValueError(f"{path}: not a CSV file in UTF-8 ({why})") from None
    filled = [(line, cells) for line, cells in lines if any(cells)]
    columns = tuple(map(normal_form, filled[0][1])) if filled else ()
    _check_columns(columns, required, path)
    for line, cells in filled[1:]:
        if len(cells) > len(columns):
            raise ValueError(f"{path}, line {line}: more cells than columns")
    rows = [
        Row(line, dict(zip(columns, cells + [""] * len(columns), strict=False)))
        for line, cells in filled[1:]
    ]
    return Rows(path, columns, rows)


def _check_columns(
    columns: tuple[str, ...], required: Sequence[str], path: Path
) -> None:
    for number, column in enumerate(columns, 1):
        if not column:
            raise ValueError(
                f"{path}: column {number} has no name (an index that pandas wrote?)"
            )
        try:
            check_name("column", column)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    missing = [c for c in required if c not in columns]
    if missing:
        raise ValueError(
            f"{path}: column {', '.join(missing)} is missing; it has "
            f"{', '.join(filter(None, columns)) or 'none'} (the first line names the "
            "columns, separated by commas)"
        )
    twice = [c for c, count in Counter(columns).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: column {', '.join(twice)} occurs twice")
