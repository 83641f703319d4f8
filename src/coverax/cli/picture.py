"""`coverax picture`: masks already predicted, drawn on scans or on their maps."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.cli.common import (
    AllowMissing,
    AsJson,
    Resume,
    Threads,
    VerifyInputs,
    note,
    note_left_out,
    print_json,
    show_progress,
)
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.report import Pictured

NAME = "picture"


def command(
    masks: Annotated[Path, typer.Argument(help="Folder of masks that predict wrote.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for pictures (PNG).")
    ],
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of scans to draw on, CASE or CASE_0000."),
    ] = None,
    probs: Annotated[
        Path | None,
        typer.Option(help="Folder of the maps, to draw on where there are no scans."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Folder of references, to be drawn too.")
    ] = None,
    threads: Threads = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    as_json: AsJson = False,
) -> None:
    """Draw predicted masks on scans: one picture a region, slices with contours.

    A scan is drawn on only where its voxels are those of the mask; axes in another order
    are turned back by whole voxels. Scans may be pictures in colours.
    """
    from coverax.report import picture_folder, read_masks

    if (images is None) == (probs is None):
        raise typer.BadParameter("give --images or --probs, which to draw on")
    n_cases = len(read_masks(masks)[0])
    with show_progress("Drawing", n_cases) as on_case:
        result = picture_folder(
            masks,
            output,
            images=images,
            probs=probs,
            labels=labels,
            threads=threads,
            resume=resume,
            verify_inputs=verify_inputs,
            allow_missing=allow_missing,
            on_case=on_case,
            on_note=note,
        )
    if as_json:
        print_json(result.to_json() | {"output": str(output)})
        return
    note_drawn(output, result)


def note_drawn(output: Path, drawn: "Pictured") -> None:
    """Say what was drawn, and which cases have no picture."""
    n_cases = plural(drawn.n_cases, "case")
    note(f"{output}: {plural(drawn.n_pictures, 'picture')} of {n_cases}")
    if n_without := drawn.n_without_mask:
        note(f"no mask of {plural(n_without, 'case')}: refused in calibration")
    note_left_out([f"no picture: case {i}: {why}" for i, why in drawn.failed.items()])
