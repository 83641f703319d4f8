"""The files of an evaluation, read back."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from coverax.evaluate.results import Summary
from coverax.evaluate.set_results import AllRegions
from coverax.files import PathLike, read_json, sound, without_apostrophe
from coverax.records import read_record

# Columns of `cases.csv` that hold text; all others hold numbers or truths.
_TEXT = ("case_id", "region", "unit", "group", "rater")
_TRUTHS = {"True": True, "False": False}


def read_evaluation(path: PathLike) -> Summary:
    """Read `evaluation.json`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no evaluation, of another schema, or was altered.
    """
    found = read_record(path, Summary, "evaluation", 1, "evaluate")
    content = read_json(path)
    if "all_regions" in content and content["all_regions"] is None:
        return replace(found, all_regions=AllRegions(0, None))
    return found


def read_cases(path: PathLike) -> list[dict[str, Any]]:
    """Read `cases.csv` of an evaluation: a row a case and region, as it was made.

    Returns:
        Text, truths and numbers by column; what applies to no case is NaN, and what a
        method does not have None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It holds something else.
    """
    path = Path(path)
    with sound(path, "table of cases"), path.open(newline="", encoding="utf-8") as file:
        rows = [
            {name: _value(name, cell) for name, cell in row.items()}
            for row in csv.DictReader(file)
        ]
        if not rows or not {*_TEXT, "counted"} <= rows[0].keys():
            raise ValueError("no cases of an evaluation")
    return rows


def _value(name: str, cell: str) -> Any:
    if name in (*_TEXT, "earlier"):
        return without_apostrophe(cell)
    if cell == "":
        return None
    if cell in _TRUTHS:
        return _TRUTHS[cell]
    return math.nan if cell == "nan" else float(cell)
