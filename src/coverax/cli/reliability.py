"""`coverax reliability`: how far are the confidences of a model from the truth?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.choices import Absent
from coverax.cli.common import (
    AllowDuplicates,
    AllowHardMasks,
    AllowMissing,
    AllowOvershoot,
    AsJson,
    BandEdges,
    CohortFile,
    EngineChoice,
    IgnoreLabel,
    LabelsDir,
    Logits,
    ProbsDir,
    RegionSpecs,
    Softmax,
    Threads,
    UnitPattern,
    load_cohort,
    load_labels,
    note,
    note_left_out,
    parse_edges,
    print_json,
    show_progress,
    usage_errors,
)
from coverax.cli.places import DaskAddress, Memory, Workers, place_of
from coverax.cli.show_reliability import show_summary

if TYPE_CHECKING:
    from coverax.reliability import (
        ClassResult,
        GroupResult,
        Reliability,
        ReliabilitySummary,
    )
    from coverax.scores import ScoreTable
    from coverax.volumes import Cohort

NAME = "reliability"
# Percentile intervals over fewer units than this are rough.
_FEW_UNITS = 10


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
    unit_pattern: UnitPattern = None,
    region: RegionSpecs = None,
    softmax: Softmax = False,
    band_edges: BandEdges = None,
    ignore_label: IgnoreLabel = None,
    logits: Logits = False,
    allow_overshoot: AllowOvershoot = False,
    bins: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Bins, when volumes are read. [default: 20]"
        ),
    ] = None,
    soft_bins: Annotated[
        int | None,
        typer.Option(
            min=1, max=4096, help="Soft bins too, when volumes are read, for soft ACE."
        ),
    ] = None,
    absent: Annotated[
        Absent, typer.Option(help="Cases that lack a class, in macro means.")
    ] = "skip",
    leave_out: Annotated[
        list[str] | None,
        typer.Option(
            "--leave-out",
            metavar="REGION",
            help="Class not to report, such as background; once for each.",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="scores.parquet of another model on the same cases."),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=0, help="Bootstrap samples over units; 0 for none.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw PNG and SVG.")
    ] = True,
    engine: EngineChoice = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    dask: DaskAddress = None,
    memory: Memory = None,
    allow_missing: AllowMissing = False,
    allow_hard_masks: AllowHardMasks = False,
    allow_duplicates: AllowDuplicates = False,
    as_json: AsJson = False,
) -> None:
    """Calibration errors of cases, classes and sites, with intervals and figures."""
    from coverax.folders import check_output_folder, whole_folder
    from coverax.reliability import fill_reliability, summarise
    from coverax.scores import read_table

    where = place_of(workers, dask, memory)
    check_output_folder(output)
    if (table is None) == (probs is None and labels is None and cohort is None):
        raise typer.BadParameter(
            "give either scores.parquet or volumes with references"
        )
    defined = {
        "region": region,
        "softmax": softmax,
        "band_edges": band_edges,
        "ignore_label": ignore_label,
        "logits": logits,
        "allow_overshoot": allow_overshoot,
        "bins": bins,
        "soft_bins": soft_bins,
        "allow_hard_masks": allow_hard_masks,
        "allow_duplicates": allow_duplicates,
    }
    with whole_folder(output) as folder:
        if table is not None:
            _refuse_scoring(
                defined | {"allow_missing": allow_missing, "unit_pattern": unit_pattern}
            )
            scores = read_table(table)
        else:
            cases = load_cohort(probs, labels, cohort, allow_missing, unit_pattern)
            place = {"engine": engine, "threads": threads, "where": where}
            scores = _score(cases, defined, place, allow_missing)
        with _naming(table):
            result = summarise(
                scores,
                absent=absent,
                leave_out=leave_out or [],
                n_draws=draws,
                seed=seed,
            )
        if against is not None:
            names = (str(table or "the maps"), str(against))
            result = _compared(result, scores, read_table(against), names)
        fill_reliability(result, folder)
        if figures:
            _draw(result, folder)
    _note_units(result.summary)
    if as_json:
        print_json(result.summary.to_json())
    else:
        show_summary(result.summary)


def _compared(
    result: "Reliability",
    first: "ScoreTable",
    second: "ScoreTable",
    names: tuple[str, str],
) -> "Reliability":
    """The reliability of a table with the comparison to another, drawn alike."""
    from coverax.reliability import Against, compare

    asked = result.summary
    found = compare(
        first,
        second,
        absent=asked.absent,
        n_draws=asked.n_draws,
        seed=asked.seed,
        names=names,
    )
    return replace(result, summary=replace(asked, against=Against(names[1], found)))


def _refuse_scoring(options: dict[str, Any]) -> None:
    """Refuse options that a table, which is scored already, cannot follow."""
    given = [
        f"--{name.replace('_', '-')}"
        for name, value in options.items()
        if value is not None and value is not False and value != []
    ]
    if given:
        raise typer.BadParameter(
            f"{', '.join(given)} cannot change a score table: leave out, or give to "
            "`coverax score`"
        )


def _score(
    cases: "Cohort",
    options: dict[str, Any],
    place: dict[str, Any],
    allow_missing: bool,
) -> "ScoreTable":
    """Read the volumes under the options of scoring."""
    from coverax.scores import ScoreDefinition, score_cohort
    from coverax.table.definition import DEFAULT_BINS

    regions, ignore_label = load_labels(
        cases, options["region"], options["ignore_label"]
    )
    with usage_errors():
        definition = ScoreDefinition(
            regions=regions,
            n_bins=options["bins"] or DEFAULT_BINS,
            n_soft_bins=options["soft_bins"] or 0,
            softmax=options["softmax"],
            logits=options["logits"],
            ignore_label=ignore_label,
            allow_overshoot=options["allow_overshoot"],
            band_edges_mm=parse_edges(options["band_edges"]),
            allow_hard_masks=options["allow_hard_masks"],
            allow_duplicates=options["allow_duplicates"],
        )
    failures: list[str] = []
    with show_progress("Reading", len(cases.cases)) as on_case:
        table = score_cohort(
            cases,
            definition,
            **place,
            allow_missing=allow_missing,
            on_case=on_case,
            on_failure=failures.append,
            on_note=note,
        )
    note_left_out(failures)
    return table


@contextmanager
def _naming(table: Path | None) -> Iterator[None]:
    """Name the table in what it cannot answer."""
    try:
        yield
    except ValueError as error:
        if table is None:
            raise
        raise ValueError(f"{table}: {error}") from None


def _draw(result: Any, folder: Path) -> None:
    try:
        from coverax.report.reliability import draw_figures
    except ImportError as error:
        if (error.name or "").split(".")[0] != "matplotlib":
            raise
        note("no figures: matplotlib is not there; install coverax[report]")
        return
    draw_figures(result.regions, folder)


def _note_units(summary: "ReliabilitySummary") -> None:
    """Say in one line where intervals rest on few units, or are not given for one."""
    if not summary.n_draws:
        return
    results = summary.regions
    few = _few_units({result.region: result for result in results})
    if not few:
        few = _few_units(
            {
                f"{result.region} of {group}": found
                for result in results
                for group, found in (result.groups or {}).items()
            }
        )
    if few:
        note(
            f"intervals over fewer than {_FEW_UNITS} units are rough and too short, "
            f"and there is none of one unit: {', '.join(few)}"
        )


def _few_units(results: "Mapping[str, ClassResult | GroupResult]") -> list[str]:
    return [
        f"{name} ({found.n_units})"
        for name, found in results.items()
        if found.n_units < _FEW_UNITS
    ]
