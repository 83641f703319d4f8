"""`coverax reliability`: how far are the confidences of a model from the truth?"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from coverax.cli.common import (
    AllowMissing,
    AsJson,
    BandEdges,
    CohortFile,
    EngineChoice,
    EngineOption,
    LabelsDir,
    ProbsDir,
    RegionSpecs,
    Softmax,
    Threads,
    load_cohort,
    note,
    parse_edges,
    print_json,
    show_progress,
    usage_errors,
)

NAME = "reliability"


class AbsentPolicy(StrEnum):
    """What macro means do with cases that lack a class."""

    SKIP = "skip"
    INCLUDE = "include"


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for results.")
    ],
    table: Annotated[
        Path | None,
        typer.Argument(help="scores.parquet; or give --probs and --labels instead."),
    ] = None,
    probs: ProbsDir = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    region: RegionSpecs = None,
    softmax: Softmax = False,
    band_edges: BandEdges = None,
    bins: Annotated[
        int, typer.Option(min=1, max=4096, help="Bins, when volumes are read.")
    ] = 20,
    absent: Annotated[
        AbsentPolicy, typer.Option(help="Cases that lack a class, in macro means.")
    ] = AbsentPolicy.SKIP,
    leave_out: Annotated[
        list[str] | None,
        typer.Option("--leave-out", metavar="REGION", help="Background; repeat."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="scores.parquet of another model on the same cases."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap samples over units; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw PNG and SVG.")
    ] = True,
    engine: EngineChoice = EngineOption.AUTO,
    threads: Threads = None,
    allow_missing: AllowMissing = False,
    as_json: AsJson = False,
) -> None:
    """Calibration errors of cases, classes and sites, with intervals and figures."""
    from coverax.files import check_output_folder
    from coverax.reliability import compare, summarise, write_reliability
    from coverax.scores import ScoreDefinition, read_table, score_cohort
    from coverax.volumes import cohort_regions

    check_output_folder(output)
    if (table is None) == (probs is None and labels is None and cohort is None):
        raise typer.BadParameter(
            "give either scores.parquet or volumes with references"
        )
    if table is not None:
        scores = read_table(table)
    else:
        cases = load_cohort(probs, labels, cohort, allow_missing)
        with usage_errors():
            definition = ScoreDefinition(
                regions=cohort_regions(cases, region or []),
                n_bins=bins,
                softmax=softmax,
                band_edges_mm=parse_edges(band_edges),
            )
            definition.check()
        with show_progress("Reading", len(cases.cases)) as on_case:
            scores = score_cohort(
                cases,
                definition,
                engine=engine.value,
                threads=threads,
                allow_missing=allow_missing,
                on_case=on_case,
                on_failure=note,
            )
    result = summarise(
        scores, absent=absent.value, leave_out=leave_out or [], n_draws=draws, seed=seed
    )
    if against is not None:
        other = compare(scores, read_table(against), n_draws=max(draws, 1), seed=seed)
        result.summary["against"] = {"table": str(against), "regions": other}
    write_reliability(result, output)
    if figures:
        _draw(result, output)
    if as_json:
        print_json(result.summary)
    else:
        _show(result.summary)


def _draw(result: Any, output: Path) -> None:
    try:
        from coverax.report.reliability import draw_figures
    except ImportError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        note("no figures: matplotlib is not there; install coverax[report]")
        return
    draw_figures(result.regions, output)


def _show(summary: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    # Narrow, so that 60 columns hold every number: only names of regions are folded.
    shown = Table(
        title="Calibration, pooled over voxels",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    shown.add_column("region", overflow="fold", min_width=6)
    for title in ("cases", "ECE", "ACE", "MCE", "Brier", "NLL", "macro\nECE"):
        shown.add_column(title, justify="right", no_wrap=True)
    for result in summary["regions"]:
        pooled = [result["pooled"][k] for k in ("ece", "ace", "mce", "brier", "nll")]
        cells = [*pooled, result["macro"]["ece"]]
        shown.add_row(
            result["region"], str(result["n_cases"]), *[_number(c) for c in cells]
        )
    if "top_label" in summary:
        top = summary["top_label"]
        cells = [top["pooled"][k] for k in ("ece", "ace", "mce")]
        cells += [None, None, top["macro"]["ece"]]
        shown.add_row("top label", "", *[_number(c) for c in cells])
    Console().print(shown)
    for name, measures in summary.get("against", {}).get("regions", {}).items():
        for measure in ("nll", "brier", "ece", "ace"):
            if measure not in measures:
                continue
            found = measures[measure]
            low, high = (_number(end, signed=True) for end in found["interval"])
            Console().print(
                f"{name}, {measure}: {_number(found['first'])} -> "
                f"{_number(found['second'])}, difference "
                f"{_number(found['difference'], signed=True)} ({low} to {high})",
                highlight=False,
            )


def _number(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value:+.5f}" if signed else f"{value:.4f}"
