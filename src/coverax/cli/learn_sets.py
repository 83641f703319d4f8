"""`coverax learn-sets`: which transforms, and how to split alpha."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.choices import EmptyPolicy, OnePerUnit
from coverax.cli.common import (
    Alpha,
    AsJson,
    Raters,
    UnitColumn,
    check_not_input,
    note,
    parse_tolerance,
    print_json,
    say,
)

NAME = "learn-sets"


def command(
    scores: Annotated[
        Path,
        typer.Argument(
            help="scores.parquet of a learning cohort, made with --set-sizes."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="transforms.json to write.")
    ],
    alpha: Alpha = "0.1",
    tolerance: Annotated[
        str,
        typer.Option(
            parser=parse_tolerance,
            metavar="SHARE",
            help="Only transforms of this tolerance compete.",
        ),
    ] = "0.0",
    calibration_units: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Units that will calibrate, by default as many as learn: a split they "
            "cannot certify is not chosen.",
        ),
    ] = None,
    axes: Annotated[
        int, typer.Option(min=2, max=3, help="2 for cohorts of single slices.")
    ] = 3,
    folds: Annotated[int, typer.Option(min=2, help="Folds of units.")] = 5,
    empty: Annotated[EmptyPolicy, typer.Option(help="Empty references.")] = "include",
    unit: UnitColumn = "unit",
    per_unit: Annotated[
        OnePerUnit | None, typer.Option(help="Draw one case of each unit.")
    ] = None,
    raters: Raters = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of draws and folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Choose transforms and split on cases that will not calibrate."""
    from coverax.calibrate import learn_sets
    from coverax.scores import read_table

    check_not_input(output, scores)
    learned = learn_sets(
        read_table(scores),
        alpha,
        n_calibration=calibration_units,
        tolerance=tolerance,
        n_folds=folds,
        n_axes=axes,
        empty=empty,
        unit_column=unit,
        per_unit=per_unit,
        seed=seed,
        raters=raters,
    )
    learned.write(output)
    if as_json:
        print_json(learned.to_json())
        return
    say(f"inner set: {learned.inner}; outer set: {learned.outer}")
    say(
        f"share of alpha for the inner set: {learned.inner_share} (for "
        f"{learned.n_calibration} calibration units)"
    )
    note(
        f"{len(learned.unit_digests)} units are spent: `coverax calibrate` will refuse "
        "them with these transforms"
    )
