"""`coverax validate`: does the guarantee hold on this table, over every split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.choices import CountedEmpty, ValidatedMethod
from coverax.cli.common import (
    AsJson,
    Figures,
    Raters,
    check_figures_wanted,
    note,
    parse_alpha,
    print_json,
    results,
)

if TYPE_CHECKING:
    from coverax.validate import ScoresResult

NAME = "validate"


def parse_splits(value: str) -> str:
    """`exact`, or a number of random splits beside the exact answer."""
    if value != "exact" and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"exact or a number of splits, got {value!r}")
    return value


def command(
    scores: Annotated[Path, typer.Argument(help="scores.parquet.")],
    alpha: Annotated[
        list[str],
        typer.Option(parser=parse_alpha, metavar="LEVEL", help="Levels; repeat."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="New folder for validation.json."),
    ] = None,
    method: Annotated[
        ValidatedMethod | None,
        typer.Option(help="Name it where the table holds scores of sets too."),
    ] = None,
    fraction: Annotated[
        list[str] | None,
        typer.Option(
            parser=parse_alpha,
            metavar="SHARE",
            help="Share of units that calibrate; repeat. [default: 0.5]",
        ),
    ] = None,
    splits: Annotated[
        str,
        typer.Option(
            parser=parse_splits,
            metavar="exact|N",
            help="All splits, exactly; a number adds that many random ones.",
        ),
    ] = "exact",
    empty: Annotated[
        CountedEmpty | None,
        typer.Option(help="Empty references. [default: exclude; of sets include]"),
    ] = None,
    inner: Annotated[
        str | None, typer.Option(help="sets: transform of the inner set.")
    ] = None,
    outer: Annotated[
        str | None, typer.Option(help="sets: transform of the outer set.")
    ] = None,
    hold_out_by: Annotated[
        str | None, typer.Option(help="Column of groups to hold out, each in turn.")
    ] = None,
    order_by: Annotated[
        str | None, typer.Option(help="Column of the order of acquisition.")
    ] = None,
    raters: Raters = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of splits and draws.")] = 0,
    figures: Figures = False,
    as_json: AsJson = False,
) -> None:
    """Coverage and metrics over all splits, against the exact law."""
    from coverax.files import publish_sealed_json
    from coverax.folders import check_output_folder, whole_folder
    from coverax.scores import read_table
    from coverax.validate import Plan, validate_table

    if figures and output is None:
        raise typer.BadParameter("--figures goes with -o")
    check_figures_wanted(figures)
    if output is not None:
        check_output_folder(output)
    plan = Plan(
        alphas=tuple(alpha),
        fractions=tuple(fraction or ["0.5"]),
        n_splits=0 if splits == "exact" else int(splits),
        seed=seed,
        empty=empty,
        hold_out_by=hold_out_by,
        order_by=order_by,
        raters=raters,
        method=method,
        inner=inner,
        outer=outer,
    )
    table = read_table(scores)
    result = validate_table(table, plan)
    if output is not None:
        with whole_folder(output) as folder:
            publish_sealed_json(folder / "validation.json", result.to_json())
            if figures:
                from coverax.report import save_figures
                from coverax.report.result_figures import validation_figures

                drawn = validation_figures(table, plan, result)
                save_figures(drawn, folder / "figures")
    if as_json:
        print_json(result.to_json())
        return
    for entry in result.results:
        _show(entry)
    for text in result.evidence.values():
        note(text)
    note(f"metrics: {result.metrics}")


def _show(entry: "ScoresResult") -> None:
    fold = "" if entry.fold is None else f"fold {entry.fold}: "
    what = f"fnr of {entry.region}, tolerance {entry.tolerance}"
    if entry.side is not None:
        sides = "both sets at once" if entry.side == "joint" else f"{entry.side} set"
        what = f"{sides} of {entry.region} ({entry.transform})"
    title = f"{fold}{what}, {entry.n_units} units, all splits"
    splits = entry.splits
    setting = [
        (f"{row.alpha:g}", f"{row.n_calibration} / {row.n_test}") for row in splits
    ]
    coverage = [
        tuple(f"{x:.4f}" for x in (row.expected, row.coverage_mean, row.coverage_sd))
        for row in splits
    ]
    _print_rows(title, ("r/(n+1)", "coverage", "sd"), setting, coverage)
    names = tuple(splits[0].metrics)
    if names:
        means = [[row.metrics[name].mean for name in names] for row in splits]
        cells = [
            tuple("-" if mean is None else f"{mean:.3g}" for mean in row)
            for row in means
        ]
        _print_rows("means over all splits", names, setting, cells)
    for row in entry.hold_out or ():
        verdict = "inside" if row.in_band else "OUTSIDE"
        note(
            f"held out {row.group}, alpha {row.alpha:g}: coverage "
            f"{row.coverage:.3f}, {verdict} {row.band.low:.3f} to {row.band.high:.3f}"
        )
    if entry.order is not None:
        note(f"order: p-value {entry.order.p_value_capital:.3g}")


def _print_rows(title, names, setting, cells) -> None:
    """A table that fits 80 columns: alpha, calibrate / test, then a few numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("alpha", "split", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for head, row in zip(setting, cells, strict=True):
        table.add_row(*head, *row)
    results().print(table)
