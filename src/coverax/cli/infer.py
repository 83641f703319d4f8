"""`coverax infer`: a checkpoint and images to probability maps, or to their scores."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from coverax.choices import ProbsStorage
from coverax.cli.common import (
    REGION_FORM,
    TRANSFORM_FORM,
    AllowMissing,
    AsJson,
    LabelsDir,
    Resume,
    UnitPattern,
    VerifyInputs,
    needs_train_extra,
    note,
    note_left_out,
    parse_tolerance,
    print_json,
    show_progress,
    usage_errors,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.cli.places import Parts, ShardOf, home_of, shard_of
from coverax.shown import plural

if TYPE_CHECKING:
    from coverax.stream import Shard
    from coverax.train import InferOptions, Split, TrainConfig

NAME = "infer"


def command(
    checkpoint: Annotated[
        Path, typer.Argument(help="Folder of `coverax train`, or one of its steps.")
    ],
    images: Annotated[Path, typer.Option("--images", help="Folder of images.")],
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="New folder for maps; a table with --score-only."
        ),
    ],
    part: Annotated[
        list[str] | None,
        typer.Option(
            help="Infer the cases of a part of the split; repeat. [default: what the "
            "model has not seen]"
        ),
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="split.json; that of the checkpoint by default.")
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(
            min=0, max=0.95, help="Share of a window that the next one sees again."
        ),
    ] = 0.5,
    flip: Annotated[
        list[int] | None,
        typer.Option(
            min=0, max=2, help="Average over mirrored images too; repeat for more axes."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at a time.")] = 1,
    storage: Annotated[
        ProbsStorage, typer.Option(help="float32, or uint16 in steps of 2^-15.")
    ] = "float32",
    score_only: Annotated[
        bool,
        typer.Option("--score-only", help="Score against --labels; write no maps."),
    ] = False,
    labels: LabelsDir = None,
    unit_pattern: UnitPattern = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            parser=parse_tolerance,
            metavar="SHARE",
            help="With --score-only: tolerated false-negative rate. [default: 0.1]",
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar=REGION_FORM,
            help="With --score-only: a structure. [default: the classes, as a softmax]",
        ),
    ] = None,
    transform: Annotated[
        list[str] | None,
        typer.Option(
            metavar=TRANSFORM_FORM,
            help="With --score-only: keep scores for confidence sets.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Readers, and writers, beside the net.")
    ] = 2,
    shard: ShardOf = None,
    parts: Parts = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write one softmax a case in the geometry of its image, or score it unwritten."""
    from coverax.volumes import check_maps_differ, units_of

    scoring = tolerance or region or transform or unit_pattern
    own = shard_of(shard)
    if score_only and (own or parts):
        raise typer.BadParameter("--shard and --parts go with maps that are written")
    home = home_of(output, own, parts)
    _check_usage(score_only, labels, storage, scoring)
    with needs_train_extra():
        from coverax import train

        loaded = train.load_checkpoint(checkpoint)
    known = _known_split(checkpoint, split, loaded.split_digest)
    files = train.image_files(images, loaded.config.data)
    inputs = [checkpoint, images, labels, split, parts, *files.values()]
    allow_overwrite(home, overwrite, inputs)
    check_maps_differ(files.items(), f"{images}")
    chosen = train.choose_images(files, known, part or [], allow_missing=allow_missing)
    _note_left_out(files, chosen, known)
    with usage_errors():
        options = train.InferOptions(overlap, batch, tuple(flip or ()), storage)
    run = _Run(
        apply=partial(train.make_predict(loaded.model), loaded.params),
        config=loaded.config,
        options=options,
        model=train.digest_params(loaded.params),
        images={case_id: files[case_id] for case_id in chosen},
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        shard=own,
        parts=parts,
    )
    if score_only and labels is not None:
        by_name = units_of(chosen, unit_pattern)
        units = by_name | {
            i: known.units[i] for i in by_name if known and i in known.units
        }
        definition = _definition(run.config, tolerance, region, transform)
        result = _score(run, output, labels, units, chosen, definition)
    else:
        about = {"step": loaded.step, "split": loaded.split_digest, "parts": chosen}
        if known:
            about["units"] = {i: known.units[i] for i in chosen if i in known.units}
        result = _write(run, output, about)
    if as_json:
        print_json(result | {"output": str(home)})
        return
    what = "scores" if score_only else "maps"
    note(f"{home}: {what} of {plural(result['n_cases'], 'case')}")
    note_left_out(result["failed"])


class _Run(NamedTuple):
    """What writing and scoring share."""

    apply: Any
    config: "TrainConfig"
    options: "InferOptions"
    model: str
    images: dict[str, Path]
    threads: int
    resume: bool
    verify_inputs: bool
    allow_missing: bool
    shard: "Shard | None"
    parts: Path | None


def _check_usage(score_only: bool, labels, storage: ProbsStorage, scoring) -> None:
    """Refuse options that contradict each other."""
    if score_only != (labels is not None):
        raise typer.BadParameter("--score-only and --labels go together")
    if scoring and not score_only:
        raise typer.BadParameter(
            "--tolerance, --region, --transform and --unit-pattern go with --score-only"
        )
    if score_only and storage != "float32":
        raise typer.BadParameter("--storage is about files; --score-only writes none")


def _known_split(checkpoint: Path, path: Path | None, digest: str) -> "Split | None":
    """The split that the model was trained with, where it can be had."""
    from coverax.train import read_split

    run = checkpoint.parent.parent if checkpoint.name.isdigit() else checkpoint
    found = path or run / "split.json"
    if path is None and not found.is_file():
        note("no split is known: make sure that the model has not seen these cases")
        return None
    split = read_split(found)
    if digest and split.digest != digest:
        raise ValueError(f"{found}: {checkpoint} was trained on another split")
    return split


def _note_left_out(files, chosen: dict[str, str], split: "Split | None") -> None:
    """Say how many images are not inferred, and how many nobody knows."""
    from coverax.train import NEW, part_of

    left_out = [part_of(i, split) for i in files if i not in chosen]
    if left_out:
        counts = Counter(left_out).most_common()
        parts = ", ".join(f"{count} of {part}" for part, count in counts)
        note(f"not asked for or seen in training: {parts}")
    new = [i for i, part in chosen.items() if part == NEW]
    if split and new:
        note(
            f"{plural(len(new), 'case', 'is', 'are')} not in the split: make sure that "
            "none of them belongs to a unit that the model has seen"
        )


def _definition(config: "TrainConfig", tolerance, region, transform):
    """What is scored: by default every class but the background, as a softmax."""
    from coverax.scores import ScoreDefinition, parse_transforms, sorted_tolerances
    from coverax.volumes import parse_regions

    classes = list(config.data.classes.items())[1:]
    specs = [f"{name}={i}:{value}" for i, (name, value) in enumerate(classes, 1)]
    with usage_errors():
        return ScoreDefinition(
            regions=parse_regions(region or specs),
            tolerances=sorted_tolerances(list(tolerance or ["0.1"])),
            transforms=parse_transforms(transform or []),
            softmax=not region,
        )


def _write(run: _Run, output: Path, about: dict[str, Any]) -> dict[str, Any]:
    from coverax import train
    from coverax.stream import own_cases

    with show_progress("Inferring", len(run.images)) as on_case:
        failed = train.infer_folder(
            run.apply,
            run.images,
            output,
            run.config,
            run.options,
            model=run.model,
            about=about,
            threads=run.threads,
            shard=run.shard,
            parts=run.parts,
            resume=run.resume,
            verify_inputs=run.verify_inputs,
            allow_missing=run.allow_missing,
            on_case=on_case,
            on_note=note,
        )
    lines = [f"left out: case {i}: {why}" for i, why in failed.items()]
    n_own = len(own_cases(run.images, run.shard))
    return {"n_cases": n_own - len(lines), "failed": lines}


def _score(
    run: _Run, output: Path, labels: Path, units, parts: dict[str, str], definition
) -> dict[str, Any]:
    from coverax import train
    from coverax.files import check_output_file
    from coverax.scores import score_cohort
    from coverax.stream import Journal
    from coverax.volumes import Case, Cohort, nifti_files

    check_output_file(output, ".parquet")
    references = nifti_files(labels)
    if lost := sorted(run.images.keys() - references.keys()):
        raise ValueError(f"{labels}: no reference of case {', '.join(lost[:5])}")
    cases = tuple(
        Case(i, image, references[i], unit=units[i], part=parts[i])
        for i, image in run.images.items()
    )
    meaning = [definition.to_json(), run.model, run.options.plain()]
    journal = Journal(output, meaning, resume=run.resume)
    failures: list[str] = []
    published = False
    try:
        with show_progress("Scoring", len(cases)) as on_case:
            table = score_cohort(
                Cohort(cases, {}),
                definition,
                threads=run.threads,
                journal=journal,
                verify_inputs=run.verify_inputs,
                allow_missing=run.allow_missing,
                read_map=train.map_reader(
                    run.apply, run.config, run.options, model=run.model
                ),
                beside=output,
                on_case=on_case,
                on_failure=failures.append,
                on_note=note,
            )
        table.write(output)
        published = True
    finally:
        if not published:
            journal.say_kept(note)
        journal.close(keep=not published)
    return {"n_cases": len(cases) - len(failures), "failed": failures}
