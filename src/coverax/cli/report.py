"""`coverax report`: one page that says what was promised and what happened."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.terminal import note

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
) -> None:
    """Write one HTML page of all results in some folders; it needs no network."""
    from coverax.report import write_report

    asked = ["coverax", NAME, *map(str, folders), "-o", str(output)]
    try:
        unread = write_report(folders, output, command=asked)
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from None
    for path, why in unread:
        note(f"not read: {path}: {why}")
    note(f"{output}: open it in a browser")
