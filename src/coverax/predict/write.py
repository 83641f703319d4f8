"""Thresholds to mask files, in the geometry of the maps."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from coverax._version import __version__
from coverax.calibrate import Calibration, Status
from coverax.choices import Kind
from coverax.files import PathLike, publish_sealed_json
from coverax.predict.bids import filling
from coverax.predict.masks import RegionMasks, lesion_mask
from coverax.predict.sets import SIDE_SUFFIXES, side_masks
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
    map_content,
    read_header,
    read_probs,
    write_mask,
)

_KIND = "calibration"  # what a folder of masks depends on


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
        groups: Group of each case, for a calibration by groups.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        bids: Write a BIDS derivative, see `BidsFolder`; cases are named `sub-XX...`.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Returns:
        Number of cases written, of masks that are the whole volume, and the failed
        cases by case id.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: The calibration gives no guarantee, two cases would write one file,
            inner and outer masks were asked of another method, or the maps are hard
            masks or of another origin than those that calibrated.
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
    n_whole: list[int] = []

    def finish(folder: Path, _failures: dict[str, str]) -> None:
        n_whole.append(check_written(folder, maps, definition, allow_hard_masks))

    def write_one(case_id: str, path: Path, folder: Path) -> None:
        own = calibration.of_group(_group_of(calibration, groups or {}, case_id))
        _write_case(own.of_case(case_id), case_id, path, folder, sides)

    sources = {i: (path,) for i, path in maps.items()} if bids else None
    failures = filling(calibration, sources, regions_of)(
        output,
        maps,
        write_one,
        files=output_names(
            regions_of, definition, ("", *SIDE_SUFFIXES) if sides else ("",)
        ),
        kind=_KIND,
        # What the files are depends on the calibration and on which are wanted.
        meaning={"calibration": calibration.digest, "sides": sides},
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
        "n_whole_volume": n_whole[0],
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
            f"this one has {describe_mark(file.mark)}; maps of another model, or scaled "
            "otherwise, have other scores"
        )


def check_first_mark(paths: Iterable[PathLike], definition: ScoreDefinition) -> None:
    """The same for the first map of a folder: one line for all, before any is read."""
    for path in list(paths)[:1]:
        try:
            file = read_header(path)
        except (OSError, ValueError):
            return  # what is wrong with it is said where all maps are read
        check_mark(file, definition)


def _channels(n: int) -> str:
    return f"{n} channels" if n else "no class axis"


def _mask_stem(case_id: str, region: Region, definition: ScoreDefinition) -> str:
    alone = len(definition.regions) == 1
    return case_id if alone else f"{case_id}_{region.name}"


def _masked(
    calibration: Calibration, definition: ScoreDefinition, group: str | None
) -> list[Region]:
    """Regions of a case that get a mask: all that were not refused."""
    return [r for r in definition.regions if not calibration.refused(r.name, group)]


def output_names(
    regions_of: Mapping[str, list[Region]],
    definition: ScoreDefinition,
    suffixes: tuple[str, ...],
) -> dict[str, list[str]]:
    """The files of each case, its sidecar last; no two masks may share a name."""
    owners: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    for case_id, regions in regions_of.items():
        stems = [_mask_stem(case_id, region, definition) for region in regions]
        masks = [f"{stem}{s}.nii.gz" for stem in stems for s in suffixes]
        files[case_id] = [*masks, f"{case_id}.json"]
        for name in masks:
            if name in owners:
                raise ValueError(
                    f"case {owners[name]} and case {case_id} would both write {name}; "
                    "rename a case or a region"
                )
            owners[name] = case_id
    return files


def _write_case(
    calibration: Calibration, case_id: str, path: Path, folder: Path, sides: bool
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
    write_masks(
        calibration, case_id, prob_map.file, masks, values_of, folder, sides=sides
    )


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


def write_masks(
    calibration: Calibration,
    case_id: str,
    file: NiftiFile,
    masks: Mapping[str, RegionMasks],
    values_of: Mapping[str, str],
    folder: Path,
    *,
    sides: bool,
) -> None:
    """Write the masks of every region, and the sidecar.

    Args:
        calibration: What made them.
        case_id: Whose they are.
        file: The map whose geometry they take.
        masks: By region; none of those that were refused.
        values_of: What the maps of each region hold.
        folder: Where to.
        sides: Write the inner and the outer mask too.
    """
    entries: list[dict[str, Any]] = []
    written: list[Path] = []
    for region in calibration.definition.regions:
        refused = calibration.refused(region.name)
        if refused is not None:
            entries.append({"region": region.name, "mask": None, "status": refused})
            continue
        own = masks[region.name]
        stem = _mask_stem(case_id, region, calibration.definition)
        for suffix, values in own.files.items():
            if sides or not suffix:
                labels = values.reshape(file.grid.shape, order="F")
                mask = folder / f"{stem}{suffix}.nii.gz"
                largest = own.largest if not suffix else 1
                write_mask(mask, labels, file, largest=largest)
                written.append(mask)
        about = {"region": region.name, "mask": f"{stem}.nii.gz"}
        entries.append(about | own.entry | {"map_values": values_of[region.name]})
    sidecar = {
        "schema": 1,
        "coverax": __version__,
        "case_id": case_id,
        "calibration_digest": calibration.digest,
        "method": calibration.method,
        "alpha": calibration.alpha,
        "delta": calibration.delta,
        "guarantee": calibration.status == Status.OK,
        "group": calibration.options.get("group"),
        "statement": calibration.statement,
        "masks": entries,
    }
    # Last: it marks the case done.
    publish_sealed_json(folder / f"{case_id}.json", sidecar, written)


def check_written(
    folder: Path,
    maps: Mapping[str, Path],
    definition: ScoreDefinition,
    allow_hard_masks: bool,
) -> int:
    """Masks that are the whole volume; refuses a folder made of hard masks."""
    found = [folder / f"{case_id}.json" for case_id in maps]
    sidecars = [json.loads(p.read_text("utf-8")) for p in found if p.is_file()]
    entries = [(s["case_id"], entry) for s in sidecars for entry in s["masks"]]
    check_not_masks(
        [(case_id, e["region"], e.get("map_values", SOFT)) for case_id, e in entries],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    return sum(bool(entry.get("whole_volume")) for _, entry in entries)


# Kind of a calibration -> what it writes for one region of one case.
REGION_MASKS: dict[Kind, Callable[[Calibration, View], RegionMasks]] = {
    "cut": lesion_mask,
    "sides": side_masks,
}
