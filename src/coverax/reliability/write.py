"""The reliability of a cohort to files."""

from pathlib import Path

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

    Raises:
        FileExistsError: The folder holds something already.
    """
    check_output_folder(folder)
    publish_rows(folder / "cases.csv", reliability.cases)
    with publishing(folder / "cases.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(reliability.cases), temporary)
    publish_json(folder / "reliability.json", reliability.summary)
