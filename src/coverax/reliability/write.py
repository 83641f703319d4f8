"""The reliability of a cohort to files."""

from pathlib import Path
from typing import Any

from coverax.files import PathLike, publish_rows, publish_sealed_json
from coverax.folders import whole_folder
from coverax.reliability.results import (
    BandResult,
    ClassResult,
    Ends,
    GroupResult,
    Values,
)
from coverax.reliability.summary import Reliability
from coverax.table.parquet import write_rows


def write_reliability(reliability: Reliability, folder: PathLike) -> None:
    """Write `cases.csv`, `cases.parquet` and `reliability.json` into a new folder.

    Where there are several groups, `groups.csv` too, and `bands.csv` where the table has
    distance bands. Ends of intervals are empty where there is none.

    Raises:
        FileExistsError: The folder holds something already.
    """
    with whole_folder(folder) as filled:
        fill_reliability(reliability, filled)


def fill_reliability(reliability: Reliability, folder: PathLike) -> None:
    """The files of a reliability in a folder that another makes whole."""
    folder = Path(folder)
    written = [folder / "cases.csv", folder / "cases.parquet"]
    publish_rows(written[0], reliability.cases)
    write_rows(written[1], reliability.cases)
    for name, rows_of in (("groups.csv", _groups), ("bands.csv", _bands)):
        found = [r for region in reliability.summary.regions for r in rows_of(region)]
        if found:
            publish_rows(folder / name, found)
            written.append(folder / name)
    publish_sealed_json(
        folder / "reliability.json", reliability.summary.to_json(), written
    )


def _groups(result: ClassResult) -> list[dict[str, Any]]:
    """One row a group of a region, pooled and macro, with the ends of intervals."""
    return [
        {"region": result.region, "group": name, **_counts(group)}
        | _with_ends(group.pooled, group.pooled_interval, "pooled_")
        | _with_ends(group.macro, group.macro_interval, "macro_")
        for name, group in (result.groups or {}).items()
    ]


def _bands(result: ClassResult) -> list[dict[str, Any]]:
    """One row a band of a region, pooled over cases, with the ends of intervals."""
    return [
        {"region": result.region, **_counts(band)}
        | _with_ends(band.pooled, band.pooled_interval)
        for band in result.bands or ()
    ]


def _counts(result: GroupResult | BandResult) -> dict[str, Any]:
    """What a result says beside its measures."""
    measured = ("pooled", "macro", "pooled_interval", "macro_interval")
    return {k: v for k, v in result.to_json().items() if k not in measured}


def _with_ends(values: Values, intervals: Ends, start: str = "") -> dict[str, Any]:
    """Columns of the measures, each followed by the ends of its interval."""
    ends = intervals or {}
    row: dict[str, Any] = {}
    for name, value in values.items():
        row[start + name] = value
        low, high = ends.get(name) or (None, None)
        row[f"{start}{name}_low"], row[f"{start}{name}_high"] = low, high
    return row
