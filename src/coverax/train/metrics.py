"""What a run reports: rows in CSV, the same numbers for TensorBoard."""

import csv
from pathlib import Path

from coverax.files import publish_text

Row = dict[str, float | int]


class MetricsWriter:
    """Rows of `NAME.csv` in a folder, and as scalars `NAME/KEY` under `tensorboard/`.

    Rows carry nothing of the clock: two runs that are equal write equal files. A resumed
    run drops the rows after its checkpoint and writes them again.

    Args:
        folder: The run's folder.
        step: Steps that the run has already; rows of later ones are dropped.
    """

    def __init__(self, folder: Path, step: int):
        from tensorboardX import SummaryWriter

        self._folder = folder
        for file in folder.glob("*.csv"):
            drop_rows(file, step)
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=step + 1 if step else None
        )

    def write(self, name: str, rows: list[Row]) -> None:
        """Append rows, each with a `step`; all rows of a name have the same keys."""
        file = self._folder / f"{name}.csv"
        is_new = not file.exists() or not file.stat().st_size
        with file.open("a", encoding="utf-8", newline="") as text:
            writer = csv.writer(text, lineterminator="\n")
            if is_new and rows:
                writer.writerow(rows[0])
            writer.writerows(row.values() for row in rows)
        for row in rows:
            for key, value in row.items():
                if key != "step":
                    self._board.add_scalar(f"{name}/{key}", value, int(row["step"]))

    def close(self) -> None:
        """Flush what TensorBoard has not written yet."""
        self._board.close()


def drop_rows(file: Path, step: int) -> None:
    """Keep the complete rows of a CSV up to a step; the first column is the step."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    header, rows = whole[:1], whole[1:]
    kept = [row for row in rows if int(row.split(",")[0]) <= step]
    publish_text(file, "".join(header + kept))
