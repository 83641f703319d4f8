"""Thresholds to mask files, in the geometry of the maps."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coverax.calibrate import Calibration
from coverax.choices import Container, Kind
from coverax.files import PathLike, read_json
from coverax.predict.bids import container_of, filling
from coverax.predict.masks import RegionMasks, lesion_mask
from coverax.predict.merge import merged_labels
from coverax.predict.outputs import Wanted, output_names, write_masks
from coverax.predict.sets import side_masks
from coverax.provenance import SOFT, check_not_masks, kind_of_values
from coverax.scores import ScoreDefinition, View
from coverax.stream import check_failures
from coverax.stream import count_finished as count_finished
from coverax.volumes import (
    Buffer,
    NiftiFile,
    ProbMap,
    Region,
    common_storages,
    describe_mark,
    file_stem,
    map_content,
    read_header,
    read_probs,
)

_KIND = "calibration"  # what a folder of masks depends on
COUNTS: tuple[str, ...] = ("n_whole_volume", "n_with_hidden")  # of all sidecars


def predict_folder(
    calibration: Calibration,
    maps: Mapping[str, PathLike],
    output: PathLike,
    *,
    threads: int | None = None,
    resume: bool = False,
    allow_missing: bool = False,
    allow_vacuous: bool = False,
    allow_hard_masks: bool = False,
    sides: bool = False,
    container: Container | None = None,
    merge: bool = False,
    groups: Mapping[str, str] | None = None,
    verify_inputs: bool = False,
    bids: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Write the mask of every map, and a JSON sidecar that carries the guarantee.

    The folder appears when it is complete: masks are collected in `OUTPUT.partial` and
    renamed at the end, so a reader never meets half a cohort.

    Args:
        calibration: Thresholds and the definition of the maps they were made for.
        maps: Case id to map.
        output: A new folder, or an empty one.
        threads: Cases at a time.
        resume: Keep the finished masks of an interrupted run of the same calibration,
            maps and groups.
        allow_missing: Publish without the maps that failed.
        allow_vacuous: Write whole volumes where no guarantee can be given.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        sides: For confidence sets, write the inner and the outer mask too.
        container: Files of this kind; by default that of each map.
        merge: Write one label map a case, see `merged_labels`, and no mask a region.
        groups: Group of each case, for a calibration by groups.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        bids: Write a BIDS derivative, see `BidsFolder`; cases are named `sub-XX...`.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Returns:
        Number of cases written, of masks that are the whole volume, of cases in which a
        region lost voxels to another one (`merge`), and the failed cases by case id.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: The calibration gives no guarantee, two cases would write one file,
            inner and outer masks were asked of another method, the regions do not fit
            into one label map, a container needs SimpleITK and it is missing, or the
            maps are hard masks or of another origin than those that calibrated.
    """
    output = Path(output)
    maps = {name: Path(path) for name, path in maps.items()}
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    if calibration.is_grouped and groups is None:
        raise ValueError(
            f"the calibration has a threshold for each {calibration.policy.group_by}: "
            "name the group of each case (--groups)"
        )
    check_request(calibration, sides=sides, allow_vacuous=allow_vacuous)
    if not allow_missing:
        _check_groups(calibration, maps, groups or {})
    definition = calibration.definition
    check_first_mark(maps.values(), definition)
    regions_of = {
        i: _masked(calibration, definition, (groups or {}).get(i)) for i in maps
    }
    sides = sides or (bids and calibration.has_sides)
    container = container_of(container, merge) if bids else container
    labels = merged_labels(calibration, maps.values()) if merge else None
    wanted = Wanted(sides, container, labels)
    counts: dict[str, int] = {name: 0 for name in COUNTS}

    def finish(folder: Path, _failures: dict[str, str]) -> None:
        counts.update(check_written(folder, maps, definition, allow_hard_masks))

    def write_one(case_id: str, path: Path, folder: Path) -> None:
        own = calibration.of_group(_group_of(calibration, groups or {}, case_id))
        _write_case(own.of_case(case_id), case_id, path, folder, wanted)

    sources = {i: (path,) for i, path in maps.items()} if bids else None
    failures = filling(calibration, sources, regions_of)(
        output,
        maps,
        write_one,
        files=output_names(regions_of, maps, definition, wanted),
        kind=_KIND,
        # What the files are depends on the calibration and on which are wanted.
        meaning={"calibration": calibration.digest, **wanted._asdict()},
        case_meaning=groups,
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_case=on_case,
        on_note=on_note,
        finish=finish,
    )
    return {
        "n_cases": len(maps) - len(failures),
        **counts,
        "failed": failures,
    }


def check_request(
    calibration: Calibration, *, sides: bool, allow_vacuous: bool
) -> None:
    """Refuse masks that a calibration does not have, or that promise nothing.

    Raises:
        ValueError: It gives no guarantee, or inner and outer masks were asked of
            another method.
    """
    if sides and not calibration.has_sides:
        raise ValueError(
            f"inner and outer masks belong to method sets, not {calibration.method}"
        )
    if not allow_vacuous:
        calibration.raise_if_bad()


def several_maps(calibration: Calibration) -> str:
    """What a calibration from folds needs where one map a case was given."""
    names = calibration.folds.names if calibration.folds else ()
    return (
        f"the calibration is of {len(names)} folds ({', '.join(names)}) and takes the "
        f"maps of each, in this order: give --probs {len(names)} times"
    )


def _check_groups(
    calibration: Calibration, maps: Mapping[str, Path], groups: Mapping[str, str]
) -> None:
    """Refuse cases without a calibrated group before the first mask is made."""
    if not calibration.is_grouped:
        return
    failures: dict[str, str] = {}
    for case_id in maps:
        try:
            calibration.of_group(_group_of(calibration, groups, case_id))
        except ValueError as error:
            failures[case_id] = str(error)
    check_failures(failures, len(maps))


def _group_of(calibration: Calibration, groups: Mapping[str, str], case_id: str) -> str:
    if calibration.is_grouped and case_id not in groups:
        raise ValueError(f"no {calibration.policy.group_by} is given for it")
    return groups.get(case_id, "")


def check_map_kind(file: NiftiFile, definition: ScoreDefinition) -> None:
    """Refuse a map of another kind than the calibration was made for.

    Raises:
        ValueError: It has another number of channels, is quantised otherwise, or was
            made by another model or scaled by another temperature.
    """
    kind = definition.map_kind
    if kind is None:
        return
    n_channels = file.n_channels if file.has_channel_axis else 0
    if n_channels != kind.n_channels:
        raise ValueError(
            f"{file.path}: the calibration is for maps with "
            f"{_channels(kind.n_channels)}, this one has {_channels(n_channels)}"
        )
    if not file.is_stored_as(kind.storages):
        known = common_storages(kind.storages)
        raise ValueError(
            f"{file.path}: values are stored as {file.storage}, the calibration is for "
            f"{' or '.join(known)}; other rounding is another score"
        )
    check_mark(file, definition)


def check_mark(file: NiftiFile, definition: ScoreDefinition) -> None:
    """Refuse a map of another model or temperature than the calibration's.

    Raises:
        ValueError: Its header says so, or does not say what theirs say.
    """
    kind = definition.map_kind
    if kind is not None and kind.mark is not None and file.mark != kind.mark:
        raise ValueError(
            f"{file.path}: the calibration is for maps with {describe_mark(kind.mark)}, "
            f"this one has {describe_mark(file.mark)}; maps of another model, or scaled or "
            "rounded otherwise, have other scores"
        )


def check_first_mark(paths: Iterable[PathLike], definition: ScoreDefinition) -> None:
    """The same for the first map of a folder: one line for all, before any is read.

    Raises:
        ValueError: It is a mask that `predict_folder` wrote, too.
    """
    for path in map(Path, list(paths)[:1]):
        if not definition.allow_hard_masks:
            _check_no_mask(path)
        try:
            file = read_header(path)
        except (OSError, ValueError):
            return  # what is wrong with it is said where all maps are read
        check_mark(file, definition)


def _check_no_mask(path: Path) -> None:
    """Refuse a mask of ours, which the sidecar of its case names."""
    words = (file_stem(path) or "").split("_")
    for n in range(1, len(words) + 1):
        sidecar = path.with_name(f"{'_'.join(words[:n])}.json")
        if sidecar.is_file() and _names_mask(sidecar, path.name):
            raise ValueError(
                f"{path}: is a mask that predict wrote ({sidecar.name}) and no map: "
                "name the folder of maps"
            )


def _names_mask(sidecar: Path, name: str) -> bool:
    try:
        content = read_json(sidecar)
    except (OSError, ValueError, RecursionError):
        return False  # of another tool
    is_ours = isinstance(content, dict) and "calibration_digest" in content
    return is_ours and name in content.get("files", {})


def _channels(n: int) -> str:
    return f"{n} channels" if n else "no class axis"


def _masked(
    calibration: Calibration, definition: ScoreDefinition, group: str | None
) -> list[Region]:
    """Regions of a case that get a mask: all that were not refused."""
    return [r for r in definition.regions if not calibration.refused(r.name, group)]


def _write_case(
    calibration: Calibration, case_id: str, path: Path, folder: Path, wanted: Wanted
) -> None:
    prob_map = read_map(calibration.definition, path)
    masks: dict[str, RegionMasks] = {}
    values_of: dict[str, str] = {}
    for region in calibration.definition.regions:
        if calibration.refused(region.name) is None:
            probs = prob_map.of(region)
            values_of[region.name] = map_values(probs, prob_map.file)
            nothing = np.zeros(probs.shape, bool)
            view = View(region, probs, nothing, None, prob_map.file.grid)
            masks[region.name] = REGION_MASKS[calibration.kind](calibration, view)
    write_masks(calibration, case_id, prob_map.file, masks, values_of, folder, wanted)


def map_values(probs: np.ndarray, file: NiftiFile) -> str:
    """Whether a map holds probabilities, or 0 and 1 alone."""
    return kind_of_values(*map_content(probs, file.grid.shape[::-1]))


def read_map(
    definition: ScoreDefinition, path: Path, buffer: Buffer | None = None
) -> ProbMap:
    """A map as the calibration reads it."""
    return read_probs(
        path,
        check_header=partial(check_map_kind, definition=definition),
        channels=definition.channels,
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
        buffer=buffer,
    )


def check_written(
    folder: Path,
    maps: Mapping[str, Path],
    definition: ScoreDefinition,
    allow_hard_masks: bool,
) -> dict[str, int]:
    """What a run counts over all sidecars; refuses a folder made of hard masks."""
    found = [folder / f"{case_id}.json" for case_id in maps]
    sidecars = [json.loads(p.read_text("utf-8")) for p in found if p.is_file()]
    entries = [(s["case_id"], entry) for s in sidecars for entry in s["masks"]]
    check_not_masks(
        [(case_id, e["region"], e.get("map_values", SOFT)) for case_id, e in entries],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    hidden = {case_id for case_id, entry in entries if entry.get("n_hidden")}
    n_whole = sum(bool(entry.get("whole_volume")) for _, entry in entries)
    return dict(zip(COUNTS, (n_whole, len(hidden)), strict=True))


# Kind of a calibration -> what it writes for one region of one case.
REGION_MASKS: dict[Kind, Callable[[Calibration, View], RegionMasks]] = {
    "cut": lesion_mask,
    "sides": side_masks,
}
