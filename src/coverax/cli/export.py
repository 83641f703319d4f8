"""`coverax export`: probabilities of any map as NIfTI."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AllowHardMasks,
    AllowMissing,
    AllowOvershoot,
    AsJson,
    Resume,
    Threads,
    VerifyInputs,
    note,
    note_left_out,
    print_json,
    show_progress,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.shown import plural

NAME = "export"


def command(
    maps: Annotated[
        Path, typer.Argument(help="Folder of maps, of any format, as nnU-Net's .npz.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for the maps.")
    ],
    per_class: Annotated[
        bool,
        typer.Option(
            "--per-class/--4d",
            help="One file a class, CASE_LABEL.nii.gz, or one a case with the classes as "
            "fourth axis.",
        ),
    ] = False,
    threads: Threads = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    allow_overshoot: AllowOvershoot = False,
    allow_hard_masks: AllowHardMasks = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write probabilities as float32 NIfTI in the geometry of their image."""
    from coverax.convert import export_folder
    from coverax.volumes import nifti_files

    allow_overwrite(output, overwrite, [maps])
    found = nifti_files(maps)
    with show_progress("Exporting", len(found)) as on_case:
        result = export_folder(
            found,
            output,
            per_class=per_class,
            threads=threads,
            resume=resume,
            verify_inputs=verify_inputs,
            allow_missing=allow_missing,
            allow_overshoot=allow_overshoot,
            allow_hard_masks=allow_hard_masks,
            on_case=on_case,
            on_note=note,
        )
    if as_json:
        print_json(result | {"output": str(output)})
        return
    note(
        f"{output}: {plural(result['n_files'], 'file')} of {plural(result['n_cases'], 'case')}"
    )
    note_left_out([f"left out: case {i}: {why}" for i, why in result["failed"].items()])
