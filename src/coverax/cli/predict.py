"""`coverax predict`: a calibration and maps to masks."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from coverax.choices import Container
from coverax.cli.common import (
    AllowHardMasks,
    AllowMissing,
    AllowVacuous,
    AsJson,
    MapsCohort,
    OnlyEntities,
    Resume,
    Threads,
    VerifyInputs,
    load_maps,
    maps_of_folds,
    note,
    note_left_out,
    parse_only,
    print_json,
    show_progress,
)
from coverax.cli.overwrite import Overwrite, allow_overwrite
from coverax.cli.picture import note_drawn
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

NAME = "predict"


def command(
    calibration: Annotated[Path, typer.Argument(help="calibration.json.")],
    probs: Annotated[
        list[Path] | None,
        typer.Option(
            "--probs",
            help="Folder of probability maps, or root of a BIDS derivative; with a "
            "calibration from folds one a fold, in the order it prints.",
        ),
    ] = None,
    cohort: MapsCohort = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="New folder for masks.")
    ] = None,
    bids: Annotated[
        Path | None,
        typer.Option(
            "--bids",
            help="New folder for a BIDS derivative, instead of -o: cases are sub-XX...",
        ),
    ] = None,
    only: OnlyEntities = None,
    threads: Threads = None,
    workers: Workers = 0,
    dask: DaskAddress = None,
    memory: Memory = None,
    shard: ShardOf = None,
    parts: Parts = None,
    resume: Resume = False,
    verify_inputs: VerifyInputs = False,
    allow_missing: AllowMissing = False,
    allow_vacuous: AllowVacuous = False,
    allow_hard_masks: AllowHardMasks = False,
    sides: Annotated[
        bool,
        typer.Option("--sides", help="sets: write the inner and the outer mask too."),
    ] = False,
    container: Annotated[
        Container | None,
        typer.Option(
            "--as",
            help="Files of this kind. [default: as the map; of nnU-Net's softmax as its "
            "dataset.json says]",
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option(
            "--merge",
            help="One label map a case instead of a mask a region: later regions of the "
            "calibration over earlier ones.",
        ),
    ] = False,
    overlay: Annotated[
        Path | None,
        typer.Option(help="New folder for a picture of each mask (PNG)."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of scans to draw on, CASE or CASE_0000, on the grid of the "
            "maps; the maps themselves by default."
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(help="Folder of references, to be drawn on pictures alone."),
    ] = None,
    groups: Annotated[
        Path | None,
        typer.Option(
            help="CSV of case_id and the column of --group-by (or group), for a "
            "calibration by groups."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write one mask a case on the grid of its map, and a sidecar with the guarantee."""
    from coverax.calibrate import read_calibration
    from coverax.predict import (
        cohort_confidences,
        predict_folder,
        predict_folds,
        visits_of,
    )
    from coverax.stream import own_cases
    from coverax.volumes import map_files, maps_of_cases, read_groups

    where, part = place_of(workers, dask, memory), shard_of(shard)
    target = output or bids
    if target is None or (output is not None and bids is not None):
        raise typer.BadParameter("give either -o or --bids, a new folder")
    home = home_of(target, part, parts)
    loaded = read_calibration(calibration)
    if overlay is None and (images is not None or labels is not None):
        raise typer.BadParameter("--images and --labels go with --overlay")
    if overlay is not None and bids is not None:
        raise typer.BadParameter("--overlay goes with -o")
    if overlay is not None and part is not None:
        raise typer.BadParameter("--overlay goes with the whole: give it with --parts")
    several = loaded.folds is not None or len(probs or []) > 1
    if several and groups is not None:
        raise typer.BadParameter("--groups goes with a calibration by groups")
    wanted = parse_only(only)
    by = loaded.policy.group_by or "group"
    of_case = None if groups is None else read_groups(groups, by, instead="group")
    given, visits = None, None
    if (found := load_maps(probs, cohort, wanted)) is not None:
        if several or groups is not None:
            raise typer.BadParameter(
                "--cohort goes with maps of one model, and names the groups itself"
            )
        if any(case.valid for case in found.cases):
            note(
                "masks of voxels that count are not looked at: any voxel may be marked"
            )
        each = [maps_of_cases(found)]
        given = cohort_confidences(loaded, found.cases)
        visits = visits_of(loaded, found.cases)
        if loaded.is_grouped:
            of_case = {c.case_id: c.column(by) for c in found.cases}
    elif several:
        each = maps_of_folds(loaded, probs or [], wanted)
    else:
        each = [map_files(folder, only=wanted) for folder in probs or []]
    maps = each[0]
    if cohort is None and not several:
        visits = visits_of(loaded, maps)
    inputs = [
        calibration,
        cohort,
        groups,
        images,
        labels,
        parts,
        *(probs or []),
        *maps.values(),
    ]
    allow_overwrite(home, overwrite, inputs)
    if overlay is not None:
        _check_overlay(overlay, maps, images, labels, allow_missing=allow_missing)
    with show_progress("Predicting", len(own_cases(maps, part))) as on_case:
        predict = (
            partial(predict_folds, loaded, each)
            if several
            else partial(
                predict_folder,
                loaded,
                maps,
                groups=of_case,
                confidences=given,
                visits=visits,
            )
        )
        result = predict(
            target,
            bids=bids is not None,
            threads=threads,
            where=where,
            shard=part,
            parts=parts,
            resume=resume,
            verify_inputs=verify_inputs,
            allow_missing=allow_missing,
            allow_vacuous=allow_vacuous,
            allow_hard_masks=allow_hard_masks,
            sides=sides,
            container=container,
            merge=merge,
            on_case=on_case,
            on_note=note,
        )
    if overlay is not None:
        _draw(
            overlay, target, maps, images, labels, threads, allow_missing=allow_missing
        )
    if as_json:
        print_json(result.to_json() | {"output": str(home)})
        return
    note(f"{home}: masks of {plural(result.n_cases, 'case')}")
    if n_whole := result.n_whole_volume:
        note(f"whole volumes among the masks: {n_whole:,}")
    if n_hidden := result.n_with_hidden:
        note(
            f"in {plural(n_hidden, 'case')} a region lost voxels to a later one in the label map: "
            "the promise holds of the masks that are written without --merge"
        )
    for part in loaded.refused_parts:
        note(f"no mask of {part.where}: refused in calibration ({part.status})")
    note_left_out(
        [f"left out: case {case_id}: {why}" for case_id, why in result.failed.items()]
    )


def _check_overlay(
    overlay: Path,
    maps: dict[str, Path],
    images: Path | None,
    labels: Path | None,
    *,
    allow_missing: bool,
) -> None:
    """Refuse before any work what could not be drawn, by name."""
    from coverax.folders import check_output_folder
    from coverax.report import check_figures, find_backgrounds

    check_output_folder(overlay)
    check_figures()
    for folder, what in ((images, "scan"), (labels, "reference")):
        if folder is not None:
            find_backgrounds(maps, folder, what, allow_missing=allow_missing)


def _draw(
    overlay: Path,
    masks: Path,
    maps: dict[str, Path],
    images: Path | None,
    labels: Path | None,
    threads: int | None,
    *,
    allow_missing: bool,
) -> None:
    """One picture a mask; the folder appears when all are drawn."""
    from coverax.report import picture_folder, read_masks

    with show_progress("Drawing", len(read_masks(masks)[0])) as on_case:
        drawn = picture_folder(
            masks,
            overlay,
            images=images,
            probs=maps if images is None else None,
            labels=labels,
            threads=threads,
            resume=True,  # of a run whose masks were not published
            allow_missing=allow_missing,
            on_case=on_case,
            on_note=note,
        )
    note_drawn(overlay, drawn)
