"""Options, progress and output that subcommands share."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coverax.choices import EngineName, RaterRule
from coverax.cli.terminal import gathered
from coverax.cli.terminal import note as note
from coverax.cli.terminal import print_json as print_json
from coverax.cli.terminal import results as results
from coverax.cli.terminal import say as say
from coverax.files import PathLike

if TYPE_CHECKING:
    from coverax.calibrate import Calibration
    from coverax.volumes import Cohort, Region


ProbsDir = Annotated[
    Path | None,
    typer.Option(
        "--probs", help="Folder of probability maps (.nii.gz, .npz, .mha, ...)."
    ),
]
LabelsDir = Annotated[
    Path | None,
    typer.Option(
        "--labels", help="Folder of references, matched by stem, or of one a rater."
    ),
]
Raters = Annotated[
    RaterRule | None,
    typer.Option(
        "--raters", help="Several references a case: against the worst, or draw one."
    ),
]
FoldProbsDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--probs",
        help="Folder of probability maps (.nii.gz, .npz, .mha, ...); with a calibration "
        "from folds one a fold, in the order of their names.",
    ),
]
CohortFile = Annotated[
    Path | None, typer.Option("--cohort", help="cohort.csv instead of two folders.")
]
MapsCohort = Annotated[
    Path | None,
    typer.Option(
        "--cohort", help="cohort.csv instead of --probs; it needs no references."
    ),
]
EngineChoice = Annotated[
    EngineName,
    typer.Option(
        "--engine", help="Same results; auto takes the device if it is a GPU or TPU."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Cases at a time; all cores by default."),
]
OnlyEntities = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="KEY=VALUE",
        help="Of a BIDS derivative the maps with this entity (KEY= without it); repeat.",
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Keep finished cases of an earlier run.")
]
VerifyInputs = Annotated[
    bool,
    typer.Option(
        "--verify-inputs",
        help="With --resume, tell replaced files by their content too.",
    ),
]
AllowMissing = Annotated[
    bool,
    typer.Option("--allow-missing", help="Publish without failing cases; record them."),
]
AllowVacuous = Annotated[
    bool,
    typer.Option(
        "--allow-vacuous", help="Accept a threshold that means the whole volume."
    ),
]
AllowHardMasks = Annotated[
    bool,
    typer.Option("--allow-hard-masks", help="Accept maps that hold 0 and 1 alone."),
]
AllowDuplicates = Annotated[
    bool,
    typer.Option(
        "--allow-duplicates", help="Accept one map under the names of several units."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result object on stdout.")
]


Figures = Annotated[
    bool,
    typer.Option("--figures", help="Draw figures too, PNG and SVG, in figures/."),
]


def check_figures_wanted(figures: bool) -> None:
    """Refuse figures before any work where they cannot be drawn."""
    if figures:
        from coverax.report import check_figures

        check_figures()


def parse_alpha(value: str) -> str:
    """Check an alpha or delta as a usage error; keep the number as it was written."""
    from coverax.rational import check_level

    with usage_errors():
        check_level("the level", value)
    return value.strip()


def parse_tolerance(value: str) -> str:
    """Check a tolerance as a usage error; keep the number as it was written."""
    from coverax.rational import check_tolerance

    with usage_errors():
        check_tolerance(value)
    return value.strip()


def parse_unit_pattern(value: str) -> str:
    """Check a regular expression as a usage error."""
    from coverax.volumes import check_unit_pattern

    with usage_errors():
        check_unit_pattern(value)
    return value


@contextmanager
def usage_errors() -> Iterator[None]:
    """Make a wrong value a usage error: the option is at fault, not the data."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


UnitPattern = Annotated[
    str | None,
    typer.Option(
        "--unit-pattern",
        parser=parse_unit_pattern,
        metavar="REGEX",
        help="Finds the unit in a case id: its first group, or all it matches. "
        "[default: sub-XX of BIDS names, else the case]",
    ),
]
Alpha = Annotated[
    str,
    typer.Option(
        "--alpha",
        parser=parse_alpha,
        metavar="LEVEL",
        help="Tolerated miscoverage, in (0, 1).",
    ),
]
Delta = Annotated[
    str | None,
    typer.Option(
        "--delta",
        parser=parse_alpha,
        metavar="LEVEL",
        help="Hold for all but this share of calibration sets (PAC).",
    ),
]
REGION_FORM = "NAME=CHANNEL[+CHANNEL]:LABEL[,LABEL]|any"
TRANSFORM_FORM = "SIDE=NAME[:KEY=VALUE,...]"
RegionSpecs = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        metavar=REGION_FORM,
        help="A structure: channel of the map (or channels that add up) and its "
        "reference labels; repeat.",
    ),
]
Softmax = Annotated[
    bool,
    typer.Option(
        "--softmax",
        help="A softmax: background in channel 0, the regions all others, in order; "
        "regions that join them last.",
    ),
]
IgnoreLabel = Annotated[
    int | None, typer.Option(help="Reference label whose voxels do not count.")
]
Logits = Annotated[bool, typer.Option("--logits", help="Maps hold logits.")]
AllowOvershoot = Annotated[
    bool,
    typer.Option("--allow-overshoot", help="Accept values up to 1e-3 outside [0, 1]."),
]
BandEdges = Annotated[
    str | None,
    typer.Option(
        metavar="MM,MM,...",
        help="Keep bins apart by distance to the surface of the reference (mm, positive "
        "inside), as -10,-3,0,3.",
    ),
]
UnitColumn = Annotated[
    str, typer.Option("--unit", help="Column of what is exchangeable.")
]


def parse_edges(text: str | None) -> tuple[float, ...]:
    """Numbers between commas.

    Raises:
        ValueError: Something between them is no number.
    """
    try:
        return tuple(float(part) for part in (text or "").split(",") if text)
    except ValueError:
        raise ValueError(
            f"expected numbers of mm as -10,-3,0,3, got {text!r}"
        ) from None


def load_cohort(
    probs: Path | None,
    labels: Path | None,
    cohort: Path | None,
    allow_missing: bool,
    unit_pattern: str | None = None,
) -> "Cohort":
    """The cohort from either kind of option; both or neither is a usage error."""
    from coverax.volumes import match_folders, read_cohort

    if (cohort is None) == (probs is None and labels is None):
        raise typer.BadParameter("give either --cohort or --probs with --labels")
    if cohort is not None:
        return read_cohort(cohort, unit_pattern=unit_pattern)
    if probs is None or labels is None:
        raise typer.BadParameter("--probs and --labels go together")
    return match_folders(
        probs, labels, allow_missing=allow_missing, unit_pattern=unit_pattern
    )


def load_maps(
    probs: list[Path] | Path | None,
    cohort: Path | None,
    only: dict[str, str] | None = None,
    unit_pattern: str | None = None,
) -> "Cohort | None":
    """The cohort whose maps are asked for; None where they are those of a folder."""
    from coverax.volumes import read_cohort

    if (cohort is None) == (not probs):
        raise typer.BadParameter("give either --probs or --cohort")
    if cohort is not None and only:
        raise typer.BadParameter("--only goes with --probs")
    if cohort is None:
        return None
    return read_cohort(cohort, unit_pattern=unit_pattern, needs_labels=False)


def load_labels(
    cases: "Cohort", specs: list[str] | None, ignore_label: int | None
) -> "tuple[tuple[Region, ...], int | None]":
    """Regions and the label to ignore: as asked for, else as the model of the maps."""
    from coverax.volumes import cohort_labels, cohort_regions

    with usage_errors():  # a spec is at fault, not a file
        cohort_regions(cases, specs or [])
    return cohort_labels(cases, specs or [], ignore_label)


def maps_of_folds(
    calibration: "Calibration",
    folders: list[Path],
    only: dict[str, str] | None = None,
) -> list[dict[str, Path]]:
    """Case id to map of each fold; says which folder is whose."""
    from coverax.predict import check_folds
    from coverax.volumes import map_files

    folds = check_folds(calibration, len(folders))
    for name, folder in zip(folds.names, folders, strict=True):
        note(f"fold {name}: {folder}")
    return [map_files(folder, only=only) for folder in folders]


def parse_only(specs: list[str] | None) -> dict[str, str]:
    """Entities of BIDS asked for; another form is a usage error."""
    from coverax.volumes import parse_entities

    with usage_errors():
        return parse_entities(specs or [])


@contextmanager
def show_progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Progress on stderr, a bar or lines of a log; called once a case, maybe with words."""
    if not sys.stderr.isatty():
        yield from _plain_progress(label, total)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    started = time.monotonic()
    with Progress(
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[said]}"),
        console=Console(stderr=True),
    ) as progress:
        task = progress.add_task(label, total=total, rate="", said="")
        done = 0

        def advance(said: str = "") -> None:
            nonlocal done
            done += 1
            rate = done / max(1e-9, time.monotonic() - started)
            progress.update(task, completed=done, rate=f"{rate:.3g}/s", said=said)

        yield advance


def _plain_progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    started = last = time.monotonic()
    done = 0

    def advance(said: str = "") -> None:
        nonlocal done, last
        done += 1
        now = time.monotonic()
        if now - last > 10 or done == total:
            last = now
            rate = done / max(1e-9, now - started)
            left = (total - done) / rate
            sys.stderr.write(
                f"{label}: {done}/{total}, {rate:.3g}/s, {left:.0f} s left"
                f"{said and f', {said}'}\n"
            )

    yield advance


def check_not_input(output: Path, *inputs: PathLike | None) -> None:
    """Refuse, as a usage error, an output that would replace an input."""
    from coverax import files

    try:
        files.check_not_input(output, inputs)
    except FileExistsError as error:
        raise typer.BadParameter(str(error)) from None


def files_of(cases: "Cohort") -> list[PathLike | None]:
    """Every file that a command reads of a cohort."""
    return [
        path
        for case in cases.cases
        for path in (case.probs, case.labels, case.valid, case.image)
    ]


@contextmanager
def needs_train_extra() -> Iterator[None]:
    """Say what to install where a package of the `train` extra is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"this command needs {error.name}: pip install 'coverax[train]'"
        ) from None


def note_left_out(lines: list[str]) -> None:
    """Say which cases were left out and why, one cause once; the output lists all."""
    for line in gathered(lines):
        note(line)
