"""An evaluation to files."""

from pathlib import Path

from coverax.evaluate.nnunet_summary import write_summaries
from coverax.evaluate.results import Evaluation
from coverax.files import PathLike, publish_rows, publish_sealed_json
from coverax.folders import whole_folder


def write_evaluation(evaluation: Evaluation, folder: PathLike) -> None:
    """Write the files of an evaluation into a new or empty folder, all or none.

    `cases.csv`, `summary.json` in the layout of nnU-Net, `froc.csv` where there is one,
    and `evaluation.json`.

    Raises:
        FileExistsError: The folder holds something already.
    """
    folder = Path(folder)
    with whole_folder(folder) as filled:
        fill_evaluation(evaluation, filled)


def fill_evaluation(evaluation: Evaluation, folder: PathLike) -> None:
    """The files of an evaluation in a folder that another makes whole."""
    folder = Path(folder)
    publish_rows(folder / "cases.csv", evaluation.cases)
    cases = folder / "cases.csv"
    beside = [cases, *write_summaries(evaluation.overlaps, folder)]
    if evaluation.froc:
        publish_rows(folder / "froc.csv", evaluation.froc)
        beside.append(folder / "froc.csv")
    publish_sealed_json(
        folder / "evaluation.json", evaluation.summary.to_json(), beside
    )
