"""`coverax validate`: does the guarantee hold on this table, over every split."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.choices import CountedEmpty, LossName, ValidatedMethod
from coverax.cli.common import (
    AsJson,
    Delta,
    Figures,
    Raters,
    check_figures_wanted,
    parse_alpha,
    print_json,
    results,
    say,
)
from coverax.cli.methods import WhichScore
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.cli.show import audit_lines, froc_line
from coverax.cli.sites import one_table, read_sites
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.validate import ScoresResult, SitesValidation, Validation

NAME = "validate"


def parse_splits(value: str) -> str:
    """`exact`, or a number of random splits beside the exact answer."""
    if value != "exact" and not (value.isdecimal() and int(value) > 0):
        raise typer.BadParameter(f"exact or a number of splits, got {value!r}")
    return value


def command(
    scores: Annotated[
        list[Path],
        typer.Argument(help="scores.parquet; with --sites the files of all sites."),
    ],
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
        typer.Option(
            help="fnr: name it where the table holds scores of sets too; the others "
            "with --sites."
        ),
    ] = None,
    score: WhichScore = None,
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
    sites: Annotated[
        bool,
        typer.Option(
            "--sites",
            help="Each site left out in turn, from the sums of all (coverax summarise).",
        ),
    ] = False,
    loss: Annotated[
        LossName | None,
        typer.Option(help="With --sites: the expected loss. [default: fnr]"),
    ] = None,
    delta: Delta = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Coverage and metrics over all splits, against the exact law."""
    from coverax.calibrate import froc_of_table, froc_rows
    from coverax.folders import check_output_folder
    from coverax.scores import read_table
    from coverax.validate import Plan, validate_table

    if figures and output is None:
        raise typer.BadParameter("--figures goes with -o")
    check_figures_wanted(figures)
    if output is not None:
        allow_overwrite(output, overwrite, scores)
    if output is not None:
        check_output_folder(output)
    if sites:
        settled = (
            score,
            fraction,
            hold_out_by,
            order_by,
            raters,
            inner,
            outer,
            figures,
        )
        if any(settled) or seed or splits != "exact" or empty:
            raise typer.BadParameter(
                "--sites takes --alpha, --method, --loss and --delta alone: the rest is "
                "settled by `coverax summarise`"
            )
        found = _leave_out(scores, alpha, method, loss, delta)
        _give(found, output, as_json, _show_sites)
        return
    if loss is not None or delta is not None:
        raise typer.BadParameter("--loss and --delta go with --sites")
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
        score=score or "critical",
    )
    table = read_table(one_table(scores))
    result = validate_table(table, plan)

    def draw(folder: Path) -> None:
        from coverax.report import save_figures
        from coverax.report.result_figures import validation_figures

        save_figures(validation_figures(table, plan, result), folder / "figures")

    rows = [
        row
        for region, curve in froc_of_table(table)[0].items()
        for row in froc_rows(region, curve)
    ]
    _give(result, output, as_json, _show_splits, draw if figures else None, rows)


def _give(
    result: Any,
    output: Path | None,
    as_json: bool,
    show: Any,
    draw: Callable[[Path], None] | None = None,
    froc: list[dict[str, Any]] | None = None,
) -> None:
    """Write a validation, and print or show it."""
    from coverax.files import publish_rows, publish_sealed_json
    from coverax.folders import whole_folder

    if output is not None:
        with whole_folder(output) as folder:
            beside = [folder / "froc.csv"] if froc else []
            for path in beside:
                publish_rows(path, froc or [])
            publish_sealed_json(folder / "validation.json", result.to_json(), beside)
            if draw is not None:
                draw(folder)
    if as_json:
        print_json(result.to_json())
        return
    show(result)


def _show_splits(result: "Validation") -> None:
    for entry in result.results:
        _show(entry)
    for line in map(froc_line, result.froc or ()):
        say(line)
    for text in result.evidence.values():
        say(text)
    say(f"metrics: {result.metrics}")


def _leave_out(
    paths: list[Path],
    alphas: list[str],
    method: str | None,
    loss: LossName | None,
    delta: str | None,
) -> "SitesValidation":
    from coverax.validate import leave_site_out

    summaries, known = read_sites(paths, method)
    if known != "crc" and delta is None:
        raise typer.BadParameter("this method needs --delta")
    return leave_site_out(summaries, alphas, delta, method=known, loss=loss or "fnr")


def _show_sites(result: "SitesValidation") -> None:
    for row in result.results:
        name = Path(row.site).name
        n_units = plural(row.n_test, "unit")
        text = f"{row.region}, alpha {row.alpha:g}, left out {name} ({n_units})"
        if row.loss_mean is None:
            say(f"{text}: no cut of the others ({row.status}), or no unit")
            continue
        verdict = "EXCEEDS" if row.exceeds else "not told from"
        say(
            f"{text}: mean {result.loss} {row.loss_mean:.4f}, {verdict} {row.alpha:g} "
            f"(p-value {row.p_value:.3g})"
        )
        for own in row.above:
            say(
                f"  {own.count} of {n_units} miss more than "
                f"{own.tolerance:g} ({own.low:.3f} to {own.high:.3f})"
            )
    for text in result.evidence.values():
        say(text)


def _show(entry: "ScoresResult") -> None:
    fold = "" if entry.fold is None else f"fold {entry.fold}: "
    what = f"fnr of {entry.region}, {entry.of_what}"
    if entry.side is not None:
        what = f"{entry.of_what} of {entry.region} ({entry.transform})"
    title = f"{fold}{what}, {plural(entry.n_units, 'unit')}, all splits"
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
        say(
            f"held out {row.group}, alpha {row.alpha:g}: coverage "
            f"{row.coverage:.3f}, {verdict} {row.band.low:.3f} to {row.band.high:.3f}"
        )
    for found in entry.audit[:1]:
        for line in audit_lines(found.audit):
            say(f"alpha {found.alpha:g}, each case by all others: {line}")
    if entry.order is not None:
        say(f"order: p-value {entry.order.p_value_capital:.3g}")


def _print_rows(title, names, setting, cells) -> None:
    """A table that fits 80 columns: alpha, calibrate / test, then a few numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("alpha", "split", *names):
        table.add_column(name, justify="right", no_wrap=True)
    for head, row in zip(setting, cells, strict=True):
        table.add_row(*head, *row)
    results().print(table)
