"""`coverax predict`: a calibration and maps to masks."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AllowMissing,
    AllowVacuous,
    AsJson,
    Resume,
    Threads,
    note,
    note_kept,
    print_json,
    show_progress,
)

NAME = "predict"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    probs: Annotated[Path, typer.Option("--probs", help="Folder of probability maps.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for masks.")
    ],
    threads: Threads = None,
    resume: Resume = False,
    allow_missing: AllowMissing = False,
    allow_vacuous: AllowVacuous = False,
    as_json: AsJson = False,
) -> None:
    """Write one mask a case on the grid of its map, and a sidecar with the guarantee."""
    from coverax.calibrate import read_calibration
    from coverax.predict import count_finished, predict_folder
    from coverax.volumes import nifti_files

    loaded = read_calibration(calibration)
    maps = nifti_files(probs)
    try:
        with show_progress("Predicting", len(maps)) as on_case:
            result = predict_folder(
                loaded,
                maps,
                output,
                threads=threads,
                resume=resume,
                allow_missing=allow_missing,
                allow_vacuous=allow_vacuous,
                on_case=on_case,
            )
    finally:
        note_kept(count_finished(output))
    if as_json:
        print_json(result | {"output": str(output)})
        return
    note(f"{output}: masks of {result['n_cases']} cases")
    for case_id, why in result["failed"].items():
        note(f"left out: case {case_id}: {why}")
