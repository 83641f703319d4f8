"""`coverax pack`: maps as integers, and what rounding does to them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from coverax.choices import Bits
from coverax.cli.common import (
    AllowHardMasks,
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
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.shown import plural

NAME = "pack"


def command(
    maps: Annotated[Path, typer.Argument(help="Folder of maps, of any format.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for the maps.")
    ],
    bits: Annotated[
        Bits, typer.Option(help="Of an integer: steps of 1/65535, or of 1/255.")
    ] = "16",
    threads: Threads = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    allow_hard_masks: AllowHardMasks = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write maps as 16-bit (or 8-bit) NIfTI, and say what rounding does to ties.

    Packed maps are a kind of their own: score, calibrate and predict with packed maps
    alone.
    """
    from coverax.convert import pack_folder
    from coverax.volumes import nifti_files

    allow_overwrite(output, overwrite, [maps])
    found = nifti_files(maps)
    with show_progress("Packing", len(found)) as on_case:
        result = pack_folder(
            found,
            output,
            bits=int(bits),
            threads=threads,
            resume=resume,
            verify_inputs=verify_inputs,
            allow_missing=allow_missing,
            allow_hard_masks=allow_hard_masks,
            on_case=on_case,
            on_note=note,
        )
    if as_json:
        print_json(result | {"output": str(output)})
        return
    note(f"{output}: {plural(result['n_cases'], 'map')}")
    for line in _lines(result):
        note(line)
    note_left_out([f"left out: case {i}: {why}" for i, why in result["failed"].items()])


def _lines(result: dict[str, Any]) -> Iterator[str]:
    """What rounding did, and what that does to thresholds."""
    half = result["step"] / 2
    yield (
        f"values are multiples of 1/{2 ** result['bits'] - 1}: off by {half:.2g} at most, "
        "and so is a threshold"
    )
    yield (
        f"distinct values of a map (median): {result['median_distinct_before']:,.0f} -> "
        f"{result['median_distinct']:,.0f}. Scores tie more often: a promise then holds "
        "with more than it says, never with less"
    )
    yield (
        f"{100 * result['share_became_zero']:.3g} % of voxels were above 0 and became 0: "
        "where more of a structure than its tolerance lies there, only the whole volume "
        "holds it"
    )
    yield (
        f"{100 * result['share_became_one']:.3g} % of voxels were below 1 and became 1: "
        "no threshold tells them apart"
    )
