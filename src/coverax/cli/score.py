"""`coverax score`: probability maps and references to a score table."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from coverax.choices import Neighbours
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
    note,
    note_kept,
    note_left_out,
    parse_edges,
    parse_tolerance,
    print_json,
    show_progress,
    usage_errors,
)

NAME = "score"


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="scores.parquet to write.")
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
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="Read all cases again: counts at the cohort's own thresholds.",
        ),
    ] = False,
    engine: EngineChoice = "auto",
    threads: Threads = None,
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
        add_critical_curves,
        origin_notes,
        parse_transforms,
        resolve_engine,
        score_cohort,
        sorted_tolerances,
    )
    from coverax.stream import Journal
    from coverax.volumes import cohort_regions, some_names

    check_not_input(output, cohort)
    check_output_file(output)
    cases = load_cohort(probs, labels, cohort, allow_missing, unit_pattern)
    check_not_input(output, *files_of(cases))
    with usage_errors():
        definition = ScoreDefinition(
            regions=cohort_regions(cases, region or []),
            tolerances=sorted_tolerances(list(tolerance or ["0.1"])),
            logits=logits,
            ignore_label=ignore_label,
            allow_overshoot=allow_overshoot,
            n_bins=bins,
            grid=grid,
            softmax=softmax,
            transforms=parse_transforms(transform or []),
            set_sizes=set_sizes,
            lesions=lesions,
            band_edges_mm=parse_edges(band_edges),
            allow_hard_masks=allow_hard_masks,
            allow_duplicates=allow_duplicates,
        )
    failures: list[str] = []
    # What is accepted changes no record: a refused run may go on with leave.
    strict = replace(definition, allow_hard_masks=False, allow_duplicates=False)
    used = strict.with_engine(resolve_engine(engine).name)
    journal = Journal(output, used.to_json(), resume=resume)
    published = False
    try:
        with show_progress("Scoring", len(cases.cases)) as on_case:
            table = score_cohort(
                cases,
                definition,
                engine=engine,
                threads=threads,
                journal=journal,
                verify_inputs=verify_inputs,
                allow_missing=allow_missing,
                on_case=on_case,
                on_failure=failures.append,
                on_note=note,
            )
        if curves:
            with show_progress("Loss curves", len(cases.cases)) as on_case:
                table = add_critical_curves(
                    table, cases, engine=engine, threads=threads, on_case=on_case
                )
        table.write(output)
        published = True
    finally:
        note_kept(0 if published else journal.n_records)
        journal.close(keep=not published)
    empty = int((table.column("n_foreground") == 0).sum())
    zero = int((table.column("min_foreground_probability") == 0).sum())
    result = {
        "table": str(output),
        "n_rows": table.n_rows,
        "n_empty_reference": empty,
        "n_lesion_voxel_at_zero": zero,
        "excluded": {why: list(ids) for why, ids in table.excluded.items()},
    }
    if as_json:
        print_json(result)
        return
    note(f"{output}: {table.n_rows} rows, {empty} with an empty reference")
    if zero:
        note(f"{zero} rows have a reference voxel of probability 0")
    for line in origin_notes(table):
        note(line)
    note_left_out(failures)
    for why, ids in table.excluded.items():
        note(f"left out ({why}): {some_names(ids)}")
