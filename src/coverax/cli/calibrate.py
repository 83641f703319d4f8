"""`coverax calibrate`: a score table to thresholds with a guarantee."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AllowVacuous,
    AsJson,
    check_not_input,
    note,
    parse_alpha,
    parse_tolerance,
    print_json,
)

NAME = "calibrate"


class Method(StrEnum):
    """Which guarantee."""

    FNR = "fnr"


class Empty(StrEnum):
    """What an empty reference does."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    REFUSE = "refuse"


class PerUnit(StrEnum):
    """How a unit with several cases counts."""

    ONE = "one"


def command(
    scores: Annotated[
        Path, typer.Argument(help="scores.parquet of the calibration cohort.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="calibration.json to write.")
    ],
    alpha: Annotated[
        str,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="Tolerated miscoverage, in (0, 1).",
        ),
    ],
    method: Annotated[Method, typer.Option(help="Which guarantee.")] = Method.FNR,
    tolerance: Annotated[
        str | None,
        typer.Option(
            parser=parse_tolerance,
            metavar="SHARE",
            help="Tolerated false-negative rate; needed where the table has several.",
        ),
    ] = None,
    delta: Annotated[
        str | None,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="Hold for all but this share of calibration sets (PAC).",
        ),
    ] = None,
    empty: Annotated[Empty, typer.Option(help="Empty references.")] = Empty.EXCLUDE,
    unit: Annotated[str, typer.Option(help="Column of what is exchangeable.")] = "unit",
    per_unit: Annotated[
        PerUnit | None, typer.Option(help="Draw one case of each unit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    allow_vacuous: AllowVacuous = False,
    as_json: AsJson = False,
) -> None:
    """Turn scores into a threshold that carries a finite-sample guarantee."""
    from coverax.calibrate import Status, calibrate_fnr
    from coverax.scores import read_table

    check_not_input(output, scores)
    del method  # one method so far; Typer refuses the others
    table = read_table(scores)
    calibration = calibrate_fnr(
        table,
        alpha,
        tolerance=tolerance,
        delta=delta,
        empty=empty.value,
        unit_column=unit,
        per_unit=per_unit.value if per_unit else None,
        seed=seed,
    )
    if not allow_vacuous:
        calibration.raise_if_bad()
    calibration.write(output)
    if as_json:
        print_json(calibration.to_json())
        return
    for t in calibration.thresholds:
        cut = (
            f"probability >= {t.probability:.6g}"
            if t.status == Status.OK
            else "everything"
        )
        note(
            f"region {t.region}: {cut} (rank {t.rank} of {t.n_units} units, {t.status.name})"
        )
        if t.n_tied > 1:
            note(
                f"region {t.region}: {t.n_tied} units tie at the threshold: over-covers"
            )
    for why, ids in calibration.excluded.items():
        note(f"left out ({why}): {len(ids)} cases")
    note(calibration.statement)
