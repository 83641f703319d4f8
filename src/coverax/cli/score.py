"""`coverax score`: probability maps and references to a score table."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.choices import FnrScore, Neighbours
from coverax.cli.common import (
    TRANSFORM_FORM,
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
    Resume,
    Softmax,
    Threads,
    UnitPattern,
    VerifyInputs,
    check_not_input,
    files_of,
    load_cohort,
    load_labels,
    note,
    note_left_out,
    parse_edges,
    parse_tolerance,
    print_json,
    show_progress,
    usage_errors,
)
from coverax.cli.places import (
    DaskAddress,
    Memory,
    ShardOf,
    Workers,
    part_of,
    place_of,
    shard_of,
)
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.scores import ScoreTable, TablePart

NAME = "score"


def command(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="scores.parquet to write; with --shard a folder."
        ),
    ],
    probs: ProbsDir = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    unit_pattern: UnitPattern = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            parser=parse_tolerance,
            metavar="SHARE",
            help="Tolerated false-negative rate of a case; repeat for several. [default: 0.1]",
        ),
    ] = None,
    which: Annotated[
        FnrScore,
        typer.Option(
            "--score",
            help="mass keeps the mass scores too: masks by a share of each map's own "
            "probabilities.",
        ),
    ] = "critical",
    region: RegionSpecs = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            metavar=TRANSFORM_FORM,
            help="Keep scores for confidence sets, as inner=identity or "
            "outer=distance:cut=0.5; repeat.",
        ),
    ] = None,
    set_sizes: Annotated[
        bool,
        typer.Option("--set-sizes", help="Keep the sizes of sets too, for learn-sets."),
    ] = False,
    ignore_label: IgnoreLabel = None,
    logits: Logits = False,
    allow_overshoot: AllowOvershoot = False,
    bins: Annotated[
        int, typer.Option(min=0, max=4096, help="Calibration bins; 0 for none.")
    ] = 20,
    soft_bins: Annotated[
        int, typer.Option(min=0, max=4096, help="Soft bins beside them, for soft ACE.")
    ] = 0,
    grid: Annotated[
        bool,
        typer.Option(
            "--grid/--no-grid", help="Keep voxel counts at 1,024 cuts, for loss curves."
        ),
    ] = True,
    softmax: Softmax = False,
    band_edges: BandEdges = None,
    lesions: Annotated[
        Neighbours | None,
        typer.Option(
            help="Keep the peak of each lesion (connected component of the reference); "
            "voxels of one share this."
        ),
    ] = None,
    mask_lesions: Annotated[
        bool,
        typer.Option(
            "--mask-lesions",
            help="With --lesions: count the components of masks at every cut too, and "
            "those that touch no reference.",
        ),
    ] = False,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Read all cases again: counts at the cohort's own thresholds.",
        ),
    ] = False,
    engine: EngineChoice = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    dask: DaskAddress = None,
    memory: Memory = None,
    shard: ShardOf = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    allow_hard_masks: AllowHardMasks = False,
    allow_duplicates: AllowDuplicates = False,
    as_json: AsJson = False,
) -> None:
    """Read every case once and write its sufficient statistics."""
    from coverax.files import check_output_file
    from coverax.scores import (
        ScoreDefinition,
        ScoreTable,
        add_critical_curves,
        parse_transforms,
        resolve_engine,
        score_cohort,
        score_part,
        sorted_tolerances,
    )
    from coverax.stream import Journal

    where, part = place_of(workers, dask, memory), shard_of(shard)
    if part is not None:
        if curves:
            raise typer.BadParameter(
                "--curves looks at the thresholds of all cases and cannot be done in "
                "parts: score with --workers or --dask, or without --curves"
            )
        output = part_of(output, part, ".parquet")
    check_not_input(output, cohort)
    check_output_file(output, ".parquet")
    cases = load_cohort(probs, labels, cohort, allow_missing, unit_pattern)
    check_not_input(output, *files_of(cases))
    regions, ignore_label = load_labels(cases, region, ignore_label)
    with usage_errors():
        definition = ScoreDefinition(
            regions=regions,
            tolerances=sorted_tolerances(list(tolerance or ["0.1"])),
            logits=logits,
            ignore_label=ignore_label,
            allow_overshoot=allow_overshoot,
            n_bins=bins,
            n_soft_bins=soft_bins,
            grid=grid,
            softmax=softmax,
            mass=which == "mass",
            transforms=parse_transforms(transform or []),
            set_sizes=set_sizes,
            lesions=lesions,
            mask_lesions=mask_lesions,
            band_edges_mm=parse_edges(band_edges),
            allow_hard_masks=allow_hard_masks,
            allow_duplicates=allow_duplicates,
        )
    failures: list[str] = []
    # What is accepted changes no record: a refused run may go on with leave.
    strict = replace(definition, allow_hard_masks=False, allow_duplicates=False)
    used = strict.with_engine(resolve_engine(engine).name)
    journal = Journal(output, used.to_json(), resume=resume)
    reading: dict[str, Any] = {
        "engine": engine,
        "threads": threads,
        "where": where,
        "journal": journal,
        "verify_inputs": verify_inputs,
        "allow_missing": allow_missing,
        "beside": output,
        "on_failure": failures.append,
    }
    published = False
    try:
        n_own = len(cases.cases if part is None else part.of(cases.cases))
        with show_progress("Scoring", n_own) as on_case:
            reading["on_case"] = on_case
            if part is not None:
                scored = score_part(cases, definition, part, **reading)
            else:
                scored = score_cohort(cases, definition, on_note=note, **reading)
        if curves and isinstance(scored, ScoreTable):
            with show_progress("Loss curves", len(cases.cases)) as on_case:
                scored = add_critical_curves(
                    scored, cases, engine=engine, threads=threads, on_case=on_case
                )
        scored.write(output)
        published = True
    finally:
        if not published:
            journal.say_kept(note)
        journal.close(keep=not published)
    if isinstance(scored, ScoreTable):
        say_table(scored, output, failures, as_json)
    else:
        _say_part(scored, output, failures, as_json)


def say_table(
    table: "ScoreTable", output: Path, failures: list[str], as_json: bool
) -> None:
    """Say what a table holds, and what was left out of it."""
    from coverax.scores import origin_notes
    from coverax.volumes import some_names

    empty = int((table.column("n_foreground") == 0).sum())
    zero = int((table.column("min_foreground_probability") == 0).sum())
    if as_json:
        print_json(
            {
                "table": str(output),
                "n_rows": table.n_rows,
                "n_empty_reference": empty,
                "n_lesion_voxel_at_zero": zero,
                "excluded": {why: list(ids) for why, ids in table.excluded.items()},
            }
        )
        return
    note(f"{output}: {plural(table.n_rows, 'row')}, {empty} with an empty reference")
    if zero:
        note(f"{plural(zero, 'row', 'has', 'have')} a reference voxel of probability 0")
    for line in origin_notes(table):
        note(line)
    note_left_out(failures)
    for why, ids in table.excluded.items():
        note(f"left out ({why}): {some_names(ids)}")


def _say_part(
    part: "TablePart", output: Path, failures: list[str], as_json: bool
) -> None:
    index, count = part.shard
    if as_json:
        print_json(
            {
                "part": str(output),
                "shard": f"{index}/{count}",
                "n_rows": part.n_rows,
                "n_cases": len(part.cases),
                "failed": [case.case_id for case in part.lost],
            }
        )
        return
    note(
        f"{output}: {plural(part.n_rows, 'row')} of {len(part.cases)} of "
        f"{plural(part.n_cases, 'case')}; "
        "coverax merge joins all parts"
    )
    note_left_out(failures)
