"""`coverax calibrate`: a score table to thresholds with a guarantee."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AllowVacuous,
    AsJson,
    note,
    parse_alpha,
    parse_tolerance,
    print_json,
)
from coverax.cli.methods import METHODS, Method, Request, check_options

NAME = "calibrate"


class Empty(StrEnum):
    """What an empty reference does."""

    EXCLUDE = "exclude"
    INCLUDE = "include"
    REFUSE = "refuse"


class PerUnit(StrEnum):
    """How a unit with several cases counts."""

    ONE = "one"


class Joint(StrEnum):
    """How the inner and the outer promise hold together."""

    EACH = "each"
    BONFERRONI = "bonferroni"
    MAX = "max"
    RANKED = "ranked"


class Regions(StrEnum):
    """Whether regions are promised together."""

    EACH = "each"
    JOINT = "joint"


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
    empty: Annotated[
        Empty | None,
        typer.Option(help="Empty references. [default: exclude; include for sets]"),
    ] = None,
    unit: Annotated[str, typer.Option(help="Column of what is exchangeable.")] = "unit",
    per_unit: Annotated[
        PerUnit | None, typer.Option(help="Draw one case of each unit.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of that draw.")] = 0,
    inner: Annotated[
        str | None, typer.Option(metavar="TRANSFORM", help="sets: of the inner set.")
    ] = None,
    outer: Annotated[
        str | None, typer.Option(metavar="TRANSFORM", help="sets: of the outer set.")
    ] = None,
    joint: Annotated[
        Joint | None,
        typer.Option(help="sets: how both promises hold. [default: bonferroni]"),
    ] = None,
    alpha_inner: Annotated[
        str | None,
        typer.Option(
            parser=parse_alpha,
            metavar="LEVEL",
            help="sets: what of alpha the inner set gets. [default: learned, or half]",
        ),
    ] = None,
    transforms: Annotated[
        Path | None, typer.Option(help="sets: transforms.json of learn-sets.")
    ] = None,
    regions: Annotated[
        Regions | None,
        typer.Option(help="sets: regions each on its own, or jointly. [default: each]"),
    ] = None,
    allow_vacuous: AllowVacuous = False,
    as_json: AsJson = False,
) -> None:
    """Turn scores into a threshold that carries a finite-sample guarantee."""
    from coverax.scores import read_table

    request = Request(
        alpha=alpha,
        tolerance=tolerance,
        delta=delta,
        empty=empty.value if empty else None,
        unit=unit,
        per_unit=per_unit.value if per_unit else None,
        seed=seed,
        inner=inner,
        outer=outer,
        joint=joint.value if joint else None,
        alpha_inner=alpha_inner,
        transforms=transforms,
        regions=regions.value if regions else None,
    )
    check_options(method, request)
    calibration = METHODS[method].calibrate(read_table(scores), request)
    if not allow_vacuous:
        calibration.raise_if_bad()
    calibration.write(output)
    if as_json:
        print_json(calibration.to_json())
        return
    for t in calibration.thresholds:
        note(
            f"region {t.region}: {METHODS[method].describe(t)} "
            f"(rank {t.rank} of {t.n_units} units, {t.status.name})"
        )
        if t.n_tied > 1:
            note(
                f"region {t.region}: {t.n_tied} units tie at the threshold: over-covers"
            )
    for why, ids in calibration.excluded.items():
        note(f"left out ({why}): {len(ids)} cases")
    note(calibration.statement)
