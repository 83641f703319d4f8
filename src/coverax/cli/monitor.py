"""`coverax monitor`: do new scans look like those that calibrated."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AsJson,
    Threads,
    note,
    parse_alpha,
    print_json,
    show_progress,
)

NAME = "monitor"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    probs: Annotated[Path, typer.Option("--probs", help="Folder of new maps.")],
    level: Annotated[
        str,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="Tolerated probability of a false alarm of this one look; for L looks "
            "give the level over L.",
        ),
    ] = "0.01",
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Compare new maps with the calibration cohort, without references."""
    from coverax.calibrate import read_calibration
    from coverax.validate import monitor_folder
    from coverax.volumes import nifti_files

    loaded = read_calibration(calibration)
    maps = nifti_files(probs)
    with show_progress("Reading", len(maps)) as on_case:
        result = monitor_folder(
            loaded, maps, level=level, threads=threads, on_case=on_case
        )
    if as_json:
        print_json(result)
        return
    for name, p_value in result["p_values"].items():
        note(f"{name}: p = {p_value:.3g}")
    verdict = "DRIFT" if result["drift"] else "no drift found"
    note(f"{verdict} at level {level} of this look, {result['n_new']} new maps")
    note(result["meaning"])
    note(result["looks"])
