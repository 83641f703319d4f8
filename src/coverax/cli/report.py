"""`coverax report`: one page that says what was promised and what happened."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    CohortFile,
    LabelsDir,
    ProbsDir,
    UnitPattern,
    load_cohort,
    note,
)

NAME = "report"


def command(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Folders of results: score tables, calibrations, evaluations, ...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The page, report.html.")
    ],
    probs: ProbsDir = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Scans to draw on: CASE.nii.gz or CASE_0000.nii.gz."),
    ] = None,
    unit_pattern: UnitPattern = None,
) -> None:
    """Write one HTML page of all results in some folders; it needs no network.

    With --probs and --labels, or --cohort, the worst, the median and the best cases of an
    evaluation are drawn.
    """
    from coverax.report import write_report

    cases = None
    if (probs, labels, cohort) != (None, None, None):
        cases = load_cohort(probs, labels, cohort, True, unit_pattern)
    elif images is not None:
        raise typer.BadParameter("--images goes with --probs and --labels, or --cohort")
    given = {"--probs": probs, "--labels": labels, "--cohort": cohort}
    given |= {"--images": images, "--unit-pattern": unit_pattern, "-o": output}
    asked = ["coverax", NAME, *map(str, folders)]
    for name, value in given.items():
        asked += [] if value is None else [name, str(value)]
    try:
        unread = write_report(
            folders, output, cohort=cases, images=images, command=asked
        )
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from None
    for path, why in unread:
        note(f"not read: {path}: {why}")
    note(f"{output}: open it in a browser")
