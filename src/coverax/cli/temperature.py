"""`coverax temperature fit|apply`: recalibrate maps with one number."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.choices import Form
from coverax.cli.common import (
    AllowHardMasks,
    AllowOvershoot,
    AsJson,
    CohortFile,
    IgnoreLabel,
    LabelsDir,
    Logits,
    MapsCohort,
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
    load_maps,
    note,
    print_json,
    say,
    show_progress,
    usage_errors,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.cli.pages import Command, Group
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
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.reliability import Applied, Fit

NAME = "temperature"
app = typer.Typer(
    help="Fit a temperature on units of their own, and apply it to maps.",
    cls=Group,
    rich_markup_mode=None,
)


@app.command("fit", cls=Command)
def fit(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="temperature.json to write.")
    ],
    probs: ProbsDir = None,
    labels: LabelsDir = None,
    cohort: CohortFile = None,
    unit_pattern: UnitPattern = None,
    region: RegionSpecs = None,
    softmax: Softmax = False,
    ignore_label: IgnoreLabel = None,
    logits: Logits = False,
    allow_overshoot: AllowOvershoot = False,
    allow_hard_masks: AllowHardMasks = False,
    voxels: Annotated[
        int, typer.Option(min=1, help="Voxels of a case at most; more are sampled.")
    ] = 200_000,
    by_class: Annotated[
        bool,
        typer.Option(
            "--by-class",
            help="With --softmax: a fit of its own for the voxels that each class wins.",
        ),
    ] = False,
    form: Annotated[
        Form,
        typer.Option(
            help="With --softmax: one number; a factor for each gap of the sorted logits "
            "(order-preserving); or an affine map of the logits, each class on its own "
            "(vector) or jointly (matrix), which may change labels."
        ),
    ] = "temperature",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampling.")] = 0,
    threads: Threads = None,
    as_json: AsJson = False,
) -> None:
    """Find the temperature of least log loss: of a softmax or its classes, or of regions."""
    from coverax.files import check_output_file
    from coverax.reliability import fit_cohort
    from coverax.scores import ScoreDefinition

    if (by_class or form != "temperature") and not softmax:
        raise typer.BadParameter("--by-class and --form go with --softmax")
    check_not_input(output, cohort)
    check_output_file(output, ".json")
    cases = load_cohort(probs, labels, cohort, False, unit_pattern)
    check_not_input(output, *files_of(cases))
    regions, ignore_label = load_labels(cases, region, ignore_label)
    with usage_errors():
        definition = ScoreDefinition(
            regions=regions,
            softmax=softmax,
            ignore_label=ignore_label,
            logits=logits,
            allow_overshoot=allow_overshoot,
        )
    with show_progress("Reading", len(cases.cases)) as on_case:
        fitted = fit_cohort(
            cases,
            definition,
            voxels_per_case=voxels,
            by_class=by_class,
            form=form,
            seed=seed,
            threads=threads,
            allow_hard_masks=allow_hard_masks,
            on_case=on_case,
            on_fit=lambda name, n_voxels: note(f"{name}: fitting {n_voxels:,} voxels"),
        )
    fitted.check()
    fitted.write(output)
    if as_json:
        print_json(fitted.to_json())
        return
    for name, found in fitted.fits.items():
        loss = f"{found.nll_before:.5f} -> {found.nll_after:.5f} ({found.status})"
        say(f"{name}: {_told(form, found)}, log loss {loss}")


@app.command("apply", cls=Command)
def apply(
    temperature: Annotated[Path, typer.Argument(help="temperature.json.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder for the maps.")
    ],
    probs: Annotated[
        Path | None,
        typer.Option("--probs", help="Folder of maps, of the kind fitted on."),
    ] = None,
    cohort: MapsCohort = None,
    units: Annotated[
        Path | None,
        typer.Option(help="CSV of case_id,unit, to notice units of the fit."),
    ] = None,
    unit_pattern: UnitPattern = None,
    threads: Threads = None,
    workers: Workers = 0,
    dask: DaskAddress = None,
    memory: Memory = None,
    shard: ShardOf = None,
    parts: Parts = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write every map of a folder at the fitted temperature, under its name."""
    from coverax.reliability import apply_folder, read_temperature
    from coverax.stream import own_cases
    from coverax.volumes import maps_of_cases, nifti_files, read_groups, units_of

    if units is not None and (unit_pattern is not None or cohort is not None):
        raise typer.BadParameter("give either --units, or --unit-pattern or --cohort")
    where, part = place_of(workers, dask, memory), shard_of(shard)
    home = home_of(output, part, parts)
    fitted = read_temperature(temperature)
    found = load_maps(probs, cohort, unit_pattern=unit_pattern)
    if found is not None:
        maps = maps_of_cases(found)
        of_case = {case.case_id: case.unit for case in found.cases}
    else:
        maps = nifti_files(probs or "")
        of_case = units_of(maps, unit_pattern) if units is None else None
    inputs = [temperature, cohort, units, parts, probs, *maps.values()]
    allow_overwrite(home, overwrite, inputs)
    with show_progress("Writing", len(own_cases(maps, part))) as on_case:
        result = apply_folder(
            fitted,
            maps,
            output,
            units=of_case if units is None else read_groups(units, "unit"),
            threads=threads,
            where=where,
            shard=part,
            parts=parts,
            resume=resume,
            verify_inputs=verify_inputs,
            on_case=on_case,
            on_note=note,
        )
    _warn(result)
    if as_json:
        print_json(result.to_json() | {"output": str(home)})
        return
    note(f"{home}: {plural(result.n_cases, 'map')}")


def _told(form: Form, fit: "Fit") -> str:
    """What was fitted, and what it does to labels."""
    from coverax.reliability import OrderedFit, TemperatureFit

    if isinstance(fit, TemperatureFit):
        return f"{form} {fit.temperature:.4f}"
    if isinstance(fit, OrderedFit):
        factors = " ".join(f"{factor:.4f}" for factor in fit.factors)
        return f"{form}, factors {factors}, no label changes"
    return f"{form}, {fit.changed:.2%} of labels change"


def _warn(result: "Applied") -> None:
    """Lines on what a reader of the maps must know."""
    if result.fitted_on:
        note(
            f"warning: {len(result.fitted_on)} of {plural(result.n_cases, 'map')} of "
            "cases or units the temperature was fitted on; calibrate and evaluate on others"
        )
    if result.unchanged_channels:
        channels = ", ".join(map(str, result.unchanged_channels))
        note(
            f"channel {channels} belongs to no fitted region and is unchanged: sums over "
            "channels are others now (fit a softmax with --softmax)"
        )
