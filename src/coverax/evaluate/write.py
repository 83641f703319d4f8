"""An evaluation to files."""

import csv
import io
from pathlib import Path

from coverax.evaluate.compute import Evaluation
from coverax.files import check_output_folder, publish_json, publish_text


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write `cases.csv` and `evaluation.json` into a new or empty folder.

    Raises:
        FileExistsError: The folder holds something already.
    """
    check_output_folder(folder)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(evaluation.cases[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(evaluation.cases)
    publish_text(folder / "cases.csv", text.getvalue())
    publish_json(folder / "evaluation.json", evaluation.summary)
