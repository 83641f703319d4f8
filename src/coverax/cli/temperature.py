"""`coverax temperature fit|apply`: recalibrate maps with one number."""

import json
from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import (
    AsJson,
    CohortFile,
    LabelsDir,
    ProbsDir,
    RegionSpecs,
    Softmax,
    load_cohort,
    note,
    print_json,
    show_progress,
    usage_errors,
)

NAME = "temperature"
app = typer.Typer(
    help="Fit a temperature on units of their own, and apply it to maps.",
    no_args_is_help=True,
)


@app.command("fit")
def fit(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="temperature.json to write.")
    ],
    probs: ProbsDir = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    region: RegionSpecs = None,
    softmax: Softmax = False,
    voxels: Annotated[
        int, typer.Option(min=1, help="Voxels of a case at most; more are sampled.")
    ] = 200_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find the temperature of least log loss: of a softmax, or of each region."""
    from coverax.files import publish_json
    from coverax.reliability import fit_cohort
    from coverax.scores import ScoreDefinition
    from coverax.volumes import cohort_regions

    cases = load_cohort(probs, labels, cohort, allow_missing=False)
    with usage_errors():
        regions = cohort_regions(cases, region or [])
        ScoreDefinition(regions=regions, softmax=softmax).check()
    with show_progress("Reading", len(cases.cases)) as on_case:
        content = fit_cohort(
            cases,
            regions,
            softmax=softmax,
            voxels_per_case=voxels,
            seed=seed,
            on_case=on_case,
        )
    publish_json(output, content)
    if as_json:
        print_json(content)
        return
    for name, found in content["fits"].items():
        note(
            f"{name}: temperature {found['temperature']:.4f}, log loss "
            f"{found['nll_before']:.5f} -> {found['nll_after']:.5f} ({found['status']})"
        )


@app.command("apply")
def apply(
    temperature: Annotated[Path, typer.Argument(help="temperature.json.")],
    probs: Annotated[Path, typer.Option("--probs", help="Folder of maps.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for the maps.")
    ],
) -> None:
    """Write every map of a folder at the fitted temperature, under its name."""
    from coverax.reliability import apply_folder
    from coverax.volumes import nifti_files

    if not temperature.is_file():
        raise FileNotFoundError(f"{temperature}: no such file")
    content = json.loads(temperature.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.get("schema") != 1:
        raise ValueError(f"{temperature}: not a temperature of schema 1")
    with show_progress("Writing", len(nifti_files(probs))) as on_case:
        n_maps = apply_folder(content, probs, output, on_case=on_case)
    note(f"{output}: {n_maps} maps")
