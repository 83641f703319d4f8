"""`coverax evaluate`: a calibration against cases with references."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from coverax.cli.common import (
    AllowHardMasks,
    AllowMissing,
    AsJson,
    CohortFile,
    EngineChoice,
    Figures,
    FoldProbsDirs,
    LabelsDir,
    Threads,
    UnitPattern,
    check_figures_wanted,
    files_of,
    load_cohort,
    maps_of_folds,
    note,
    note_left_out,
    print_json,
    show_progress,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.cli.places import (
    DaskAddress,
    Memory,
    Parts,
    ShardOf,
    Workers,
    home_of,
    place_of,
    shard_of,
)
from coverax.cli.show import show_evaluation
from coverax.shown import plural

NAME = "evaluate"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for results.")
    ],
    probs: FoldProbsDirs = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    unit_pattern: UnitPattern = None,
    engine: EngineChoice = "auto",
    threads: Threads = None,
    workers: Workers = 0,
    dask: DaskAddress = None,
    memory: Memory = None,
    shard: ShardOf = None,
    parts: Parts = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the draw where units own several cases.")
    ] = 0,
    nsd_tolerance: Annotated[
        float | None,
        typer.Option(
            metavar="MM",
            help="Measure surfaces too: HD95, ASSD, and NSD within this distance.",
        ),
    ] = None,
    allow_missing: AllowMissing = False,
    allow_hard_masks: AllowHardMasks = False,
    overwrite: Overwrite = False,
    figures: Figures = False,
    as_json: AsJson = False,
) -> None:
    """Measure compliance, error rates and volumes against the fixed cut 0.5."""
    from coverax.calibrate import read_calibration
    from coverax.evaluate import (
        evaluate_cohort,
        evaluate_folds,
        evaluate_groups,
        evaluate_part,
        evaluate_strata,
        evaluated_parts,
        fill_evaluation,
    )
    from coverax.folders import whole_folder

    check_figures_wanted(figures)
    where, part = place_of(workers, dask, memory), shard_of(shard)
    if figures and part is not None:
        raise typer.BadParameter("--figures goes with the whole: give it with --parts")
    output = home_of(output, part, parts)
    loaded = read_calibration(calibration)
    several = loaded.folds is not None or len(probs or []) > 1
    if several and (cohort is not None or engine != "auto"):
        raise typer.BadParameter(
            "a calibration from folds takes --probs once a fold and --labels, and no "
            "--cohort or --engine"
        )
    maps = maps_of_folds(loaded, probs or []) if several else []
    first = probs[0] if probs else None
    cases = load_cohort(first, labels, cohort, allow_missing, unit_pattern)
    inputs = [calibration, cohort, parts, *files_of(cases), *(probs or [])]
    allow_overwrite(output, overwrite, inputs)
    failures: list[str] = []
    if part is not None:
        with show_progress("Counting", len(part.of(cases.cases))) as on_case:
            n_counted = evaluate_part(
                loaded,
                cases,
                part,
                output,
                engine=engine,
                threads=threads,
                where=where,
                nsd_tolerance_mm=nsd_tolerance,
                allow_missing=allow_missing,
                on_case=on_case,
                on_failure=failures.append,
            )
        note(f"{output}: counts of {plural(n_counted, 'case')}")
        note_left_out(failures)
        return
    options: dict[str, Any] = {}
    if parts is not None:
        options["parts"] = evaluated_parts(
            parts, loaded, cases, nsd_tolerance_mm=nsd_tolerance
        )
    with (
        whole_folder(output) as folder,  # first, so that one who cannot write waits not
        show_progress("Evaluating", len(cases.cases)) as on_case,
    ):
        by_map = loaded.parts.strata is not None
        by_group = evaluate_strata if by_map else evaluate_groups
        evaluate = partial(
            by_group if loaded.is_grouped else evaluate_cohort, engine=engine
        )
        if several:
            evaluate = partial(evaluate_folds, maps=maps)
        evaluation = evaluate(
            loaded,
            cases,
            threads=threads,
            where=where,
            seed=seed,
            nsd_tolerance_mm=nsd_tolerance,
            allow_missing=allow_missing,
            allow_hard_masks=allow_hard_masks,
            on_case=on_case,
            on_failure=failures.append,
            **options,
        )
        fill_evaluation(evaluation, folder)
        if figures:
            from coverax.report import save_figures
            from coverax.report.result_figures import evaluation_figures

            save_figures(evaluation_figures(evaluation), folder / "figures")
    note_left_out(failures)
    if as_json:
        print_json(evaluation.summary.to_json())
    else:
        show_evaluation(evaluation.summary)
