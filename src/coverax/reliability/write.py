"""The reliability of a cohort to files."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coverax.files import (
    check_output_folder,
    publish_json,
    publish_rows,
    publishing,
)
from coverax.reliability.summary import Reliability


def write_reliability(reliability: Reliability, folder: Path) -> None:
    """Write `cases.csv`, `cases.parquet` and `reliability.json` into a new folder.

    Where the table has distance bands, `bands.csv` too.

    Raises:
        FileExistsError: The folder holds something already.
    """
    check_output_folder(folder)
    publish_rows(folder / "cases.csv", reliability.cases)
    with publishing(folder / "cases.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(reliability.cases), temporary)
    bands = [row for region in reliability.summary["regions"] for row in _bands(region)]
    if bands:
        publish_rows(folder / "bands.csv", bands)
    publish_json(folder / "reliability.json", reliability.summary)


def _bands(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a band of a region, pooled over cases, with the ends of intervals."""
    rows = []
    for band in result.get("bands", []):
        plain = {k: v for k, v in band.items() if not isinstance(v, dict)}
        ends = band.get("pooled_interval", {})
        row = {"region": result["region"], **plain}
        for name, value in band["pooled"].items():
            row[name] = value
            if ends:
                row[f"{name}_low"], row[f"{name}_high"] = ends[name]
        rows.append(row)
    return rows
