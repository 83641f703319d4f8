"""`coverax train`: images and references to a net that is fit to be calibrated."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coverax.cli.common import (
    AsJson,
    needs_train_extra,
    note,
    print_json,
    say,
    show_progress,
)
from coverax.shown import plural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coverax.train import CaseFiles, Cohort, Pieces, TrainConfig, Trained

NAME = "train"


def command(
    config: Annotated[Path, typer.Argument(help="TOML file of the run.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="New folder of the run.")
    ],
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the last checkpoint in the folder."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read the references; show shapes, parameters, memory and speed of a "
            "step; write nothing.",
        ),
    ] = False,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Weights to start from: a folder of `coverax train`, or MONAI's as "
            ".npz or .safetensors. [default: run.start of the config]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a segmentation net by a config; the split keeps calibration units out."""
    with needs_train_extra():
        from coverax.train import check_start, find_cohort, load_config

    choices = load_config(config)
    if start is not None:
        choices = replace(choices, run=replace(choices.run, start=start))
    cohort = find_cohort(choices)
    if warning := check_start(choices, cohort.split):
        note(warning)
    if dry_run:
        _dry_run(choices, cohort, as_json)
        return
    result = _train(choices, cohort, output, resume)
    best = max((d for d in result.dices if not math.isnan(d)), default=None)
    summary = {
        "steps": result.steps,
        "best_dice": best,
        "stopped_early": result.is_early,
        "output": str(output),
    }
    if as_json:
        print_json(summary)
        return
    dice = "" if best is None else f", best Dice {best:.4f}"
    early = ", stopped early" if result.is_early else ""
    note(f"{output}: {plural(result.steps, 'step')}{early}{dice}")


def _train(
    config: "TrainConfig", cohort: "Cohort", output: Path, resume: bool
) -> "Trained":
    from coverax.train import starting_run, steps_done, train

    with starting_run(config, cohort, output, resume=resume):
        pieces = _read(config, cohort)
    left = config.run.steps - steps_done(output)
    shown: dict[str, str] = {}

    def on_validation(row: dict[str, Any]) -> None:
        shown["dice"] = f", Dice {row['dice']:.3f}"

    if left > 0:
        note("compiling the step, once: from seconds to minutes")
    try:
        with show_progress("Training", left) as advance:
            return train(
                config,
                pieces,
                output,
                on_step=lambda row: advance(
                    f"loss {row['loss']:.3f}{shown.get('dice', '')}"
                ),
                on_validation=on_validation,
            )
    except KeyboardInterrupt:
        note(
            f"{output}: {steps_done(output)} of {config.run.steps} steps are kept: go on "
            "with the same command and --resume"
        )
        raise


def _read(config: "TrainConfig", cohort: "Cohort") -> "Pieces":
    """Cases in memory, and the pieces of the loop."""
    from coverax.train import make_pieces, orientations, prepare

    parts = {"train": cohort.of("train"), "learning": {}}
    if config.run.validate_every:
        parts["learning"] = cohort.of("learning")
    with show_progress("Reading", sum(map(len, parts.values()))) as on_case:
        prepared = {
            name: prepare(config, files, on_case) for name, files in parts.items()
        }
    if empty := [c.case_id for c in prepared["train"] if not c.has_foreground]:
        note(
            f"{plural(len(empty), 'case')} to train on without foreground; patches lie "
            f"anywhere: {', '.join(empty[:5])}"
        )
    _say_unnamed(config, [*parts["train"].values(), *parts["learning"].values()])
    found = orientations([*prepared["train"], *prepared["learning"]])
    if config.data.orientation is None and len(found) > 1:
        counts = ", ".join(f"{n} {name}" for name, n in found.items())
        note(
            f"the axes of the volumes run differently ({counts}); data.orientation = "
            '"RAS" turns all into one'
        )
    return make_pieces(config, cohort.split, prepared["train"], prepared["learning"])


def _say_unnamed(config: "TrainConfig", cases: "Iterable[CaseFiles]") -> None:
    """A note where references have segments that are no class."""
    from coverax.train import unnamed_segments

    references = [case.labels for case in cases]
    for name, count in unnamed_segments(references, config.data).items():
        note(f"segment {name} is not in data.classes: background in {count} references")


def _dry_run(config: "TrainConfig", cohort: "Cohort", as_json: bool) -> None:
    from coverax.train import build_model, check_labels
    from coverax.train.augment import augment
    from coverax.train.dry_run import dry_run

    seen = cohort.of("train") | cohort.of("learning")
    with show_progress("Reading references", len(seen)) as on_case:
        classes = check_labels(config, seen, on_case)
    _say_unnamed(config, seen.values())
    found = dry_run(config, build_model(config), augment)
    parts = ("train", "learning", "calibration", "test")
    cases = {part: len(cohort.of(part)) for part in parts}
    if as_json:
        print_json(found.to_json() | {"cases": cases, "cases_with": classes})
        return
    shapes = ", ".join(" x ".join(map(str, level)) for level in found.logits)
    rate = 1 / found.seconds_per_step
    lines = {
        "cases": ", ".join(f"{n} {part}" for part, n in cases.items()),
        "classes": ", ".join(f"{name} in {n}" for name, n in classes.items())
        + f" of {plural(len(seen), 'case')}",
        "images": " x ".join(map(str, found.images)),
        "logits": shapes,
        "parameters": f"{found.n_parameters:,}",
        "devices": f"{found.n_devices}",
        "memory": f"{_megabytes(found.state_bytes)} state and batch, "
        f"{_megabytes(found.temporary_bytes)} in a step, a device",
        "compiled in": f"{found.compile_seconds:.1f} s",
        "speed": f"{rate:.3g} steps/s, {found.voxels_per_second:.3g} voxels/s",
    }
    for name, text in lines.items():
        say(f"{name:<12} {text}")


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"
