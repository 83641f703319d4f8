"""`coverax split`: a cohort in units that calibrate and units that test."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AsJson,
    UnitPattern,
    check_not_input,
    files_of,
    note,
    parse_alpha,
    print_json,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.shown import plural

NAME = "split"


def command(
    cohort: Annotated[Path, typer.Argument(help="cohort.csv.")],
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            parser=parse_alpha,
            metavar="SHARE",
            help="Share of the units that calibrate; what is left over tests.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="New folder for calibration.csv, test.csv."
        ),
    ],
    learning: Annotated[
        str | None,
        typer.Option(
            "--learning",
            parser=parse_alpha,
            metavar="SHARE",
            help="Share of the units for learn-sets or temperature fit: learning.csv.",
        ),
    ] = None,
    by: Annotated[
        str,
        typer.Option(help="Column of what is exchangeable: no value is in two parts."),
    ] = "unit",
    balance: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Split each value of this column on its own, for calibrate --group-by.",
        ),
    ] = None,
    unit_pattern: UnitPattern = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Draw which units of a cohort calibrate, and write a cohort for each part."""
    from coverax.folders import check_output_folder
    from coverax.volumes import read_cohort, split_cohort, write_cohort_split

    check_not_input(output, cohort)
    own = files_of(read_cohort(cohort, needs_labels=False))
    allow_overwrite(output, overwrite, [cohort, *own])
    check_output_folder(output)
    found = split_cohort(
        cohort,
        calibration=calibration,
        learning=learning or 0,
        by=by,
        balance=balance,
        seed=seed,
        unit_pattern=unit_pattern,
    )
    write_cohort_split(found, output)
    counts = found.counts()
    if as_json:
        parts = {
            name: {"cohort": str(output / f"{name}.csv"), **own}
            for name, own in counts.items()
        }
        print_json({"output": str(output), "seed": seed, "parts": parts})
        return
    for name, own in counts.items():
        n_units, n_cases = plural(own["units"], "unit"), plural(own["cases"], "case")
        note(f"{output / name}.csv: {n_units}, {n_cases}")
    if balance is not None:
        note(
            f"split within each {balance}: a promise is exact for each on its own "
            f"(calibrate --group-by {balance}), and approximate for all together"
        )
