"""An evaluation to files."""

from pathlib import Path

from coverax.evaluate.compute import Evaluation
from coverax.files import PathLike, check_output_folder, publish_json, publish_rows


def write_evaluation(evaluation: Evaluation, folder: PathLike) -> None:
    """Write `cases.csv` and `evaluation.json` into a new or empty folder.

    Raises:
        FileExistsError: The folder holds something already.
    """
    folder = Path(folder)
    check_output_folder(folder)
    publish_rows(folder / "cases.csv", evaluation.cases)
    publish_json(folder / "evaluation.json", evaluation.summary)
