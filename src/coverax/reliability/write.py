"""The reliability of a cohort to files."""

import csv
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from coverax.files import check_output_folder, publish_json, publish_text
from coverax.reliability.summary import Reliability


def write_reliability(reliability: Reliability, folder: Path) -> None:
    """Write `cases.csv`, `cases.parquet` and `reliability.json` into a new folder.

    Raises:
        FileExistsError: The folder holds something already.
    """
    check_output_folder(folder)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(reliability.cases[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(reliability.cases)
    publish_text(folder / "cases.csv", text.getvalue())
    temporary = folder / ".cases.parquet.tmp"
    pq.write_table(pa.Table.from_pylist(reliability.cases), temporary)
    temporary.replace(folder / "cases.parquet")
    publish_json(folder / "reliability.json", reliability.summary)
