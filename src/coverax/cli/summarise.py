"""`coverax summarise`: a site's table to the sums that may leave it."""

from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from coverax.choices import EmptyPolicy, LossName, OnePerUnit
from coverax.cli.common import (
    AsJson,
    Raters,
    UnitColumn,
    check_not_input,
    note,
    print_json,
)

NAME = "summarise"


def _parse_loss(value: str) -> str:
    if value not in get_args(LossName):
        raise typer.BadParameter(f"one of {', '.join(get_args(LossName))}")
    return value


def command(
    scores: Annotated[Path, typer.Argument(help="scores.parquet of the site.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="JSON file to write: what leaves.")
    ],
    loss: Annotated[
        list[str] | None,
        typer.Option(
            parser=_parse_loss,
            metavar="|".join(get_args(LossName)),
            help="A loss to add up; repeat. [default: fnr]",
        ),
    ] = None,
    empty: Annotated[EmptyPolicy, typer.Option(help="Empty references.")] = "exclude",
    unit: UnitColumn = "unit",
    per_unit: Annotated[
        OnePerUnit | None, typer.Option(help="Draw one case of each unit.")
    ] = None,
    raters: Raters = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws.")] = 0,
    fewest: Annotated[
        int,
        typer.Option(min=1, help="Units of a region below which nothing is written."),
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Add up the risk curves of a site, for calibrate --sites."""
    from coverax.calibrate import Policy, summarise
    from coverax.scores import read_table

    check_not_input(output, scores)
    policy = Policy(
        empty=empty, unit_column=unit, per_unit=per_unit, seed=seed, raters=raters
    )
    losses = cast("list[LossName]", loss or ["fnr"])
    site = summarise(read_table(scores), losses, policy, fewest=fewest)
    note(f"what {output} holds, and with it leaves the site:")
    for line in site.contents():
        note(f"  {line}")
    site.write(output)
    if as_json:
        print_json(site.to_json() | {"digest": site.digest})
