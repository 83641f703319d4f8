"""Masks of a new case from the maps of all folds, one map in memory at a time."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from coverax.calibrate import Calibration, Folds
from coverax.checks import as_map
from coverax.choices import Container
from coverax.files import PathLike
from coverax.predict.bids import container_of, filling
from coverax.predict.fold_tally import Votes, folds_of, new_tally
from coverax.predict.map_kind import read_map
from coverax.predict.masks import RegionMasks
from coverax.predict.merge import merged_labels
from coverax.predict.outputs import Wanted, output_names, write_masks
from coverax.predict.write import (
    Counted,
    Predicted,
    check_request,
    check_written,
    several_maps,
)
from coverax.provenance import MASK, NOTHING, SOFT
from coverax.scores import (
    ScoreDefinition,
    View,
    array_view,
)
from coverax.shown import plural
from coverax.stream import HERE, Shard, Where, file_facts, own_cases
from coverax.volumes import Buffer, Grid, NiftiFile, Region, check_same_grid, map_values

_local = threading.local()  # of a thread: a map takes the place of the one before it


def check_folds(calibration: Calibration, n_given: int) -> Folds:
    """Refuse another number of maps a case than the calibration has folds.

    Raises:
        ValueError: They differ.
    """
    folds = folds_of(calibration)
    if n_given != len(folds.names):
        raise ValueError(f"{several_maps(calibration)}, not {n_given}")
    return folds


def fold_masks(
    calibration: Calibration,
    probs: Iterable[Any],
    *,
    region: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    allow_vacuous: bool = False,
) -> dict[str, Bool[np.ndarray, "*spatial"]]:
    """Masks of a case whose maps are already in memory.

    Args:
        calibration: From `calibrate_fold_sets`, `calibrate_fold_crc` or
            `calibrate_fold_fnr`.
        probs: One map of the region a fold, in the order of `calibration.folds.names`.
        region: Which one; the only one by default.
        spacing_mm: Voxel edges; transforms that look at neighbours need it.
        allow_vacuous: Give whole volumes where there is no guarantee.

    Returns:
        `mask` by votes; `inner` and `outer` of sets.

    Raises:
        ValueError: The number of maps is not that of the folds, their shapes differ, a
            value is no probability, or no guarantee can be given.
    """
    probs = [as_map(own) for own in probs]
    check_folds(calibration, len(probs))
    check_request(calibration, sides=False, allow_vacuous=allow_vacuous)
    shapes = {np.shape(p) for p in probs}
    if len(shapes) > 1:
        raise ValueError(f"the maps of the folds have shapes {sorted(shapes)}")
    named = [r for r in calibration.definition.regions if region in (None, r.name)]
    if len(named) != 1:
        known = ", ".join(r.name for r in calibration.definition.regions)
        raise ValueError(f"name one region of {known}, got {region}")
    tally = new_tally(calibration, named[0].name)
    for fold, own in enumerate(probs):
        tally.add(fold, array_view(named[0], own, spacing_mm))
    found = {"mask": tally.mask()} if isinstance(tally, Votes) else tally.sets()
    shape = probs[0].shape
    return {name: mask.reshape(shape, order="F") for name, mask in found.items()}


def predict_folds(
    calibration: Calibration,
    maps: Sequence[Mapping[str, PathLike]],
    output: PathLike,
    *,
    threads: int | None = None,
    where: Where = HERE,
    shard: Shard | None = None,
    parts: PathLike | None = None,
    resume: bool = False,
    allow_missing: bool = False,
    allow_vacuous: bool = False,
    allow_hard_masks: bool = False,
    sides: bool = False,
    container: Container | None = None,
    merge: bool = False,
    verify_inputs: bool = False,
    bids: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Predicted:
    """Write the mask of every case from the maps of all folds, as `predict_folder` does.

    The maps of a case are read one after the other; a thread holds one of them and one
    number a voxel and side.

    Args:
        calibration: From folds.
        maps: Case id to map, one mapping a fold in the order of
            `calibration.folds.names`.
        output: A new folder, or an empty one.
        threads: Cases at a time.
        where: Where cases are worked on.
        shard: Write the masks of its cases only, into a folder of parts `output`.
        parts: Folder of parts that all shards have filled: take the masks from there.
        resume: Keep the finished masks of an interrupted run.
        allow_missing: Publish without the cases that failed or lack a map.
        allow_vacuous: Write whole volumes where no guarantee can be given.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        sides: For sets, write the inner and the outer mask too.
        container: Files of this kind; by default that of the first fold's map.
        merge: Write one label map a case, as `predict_folder` does.
        verify_inputs: With `resume`, tell replaced maps by their content too.
        bids: Write a BIDS derivative, as `predict_folder` does.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed or are missing; one exception each.
        ValueError: The calibration gives no guarantee or is of another number of folds.
    """
    folds = check_folds(calibration, len(maps))
    check_request(calibration, sides=sides, allow_vacuous=allow_vacuous)
    named = [{i: Path(path) for i, path in own.items()} for own in maps]
    paths, lacking = common_maps(named, folds, allow_missing=allow_missing)
    regions = [
        r for r in calibration.definition.regions if not calibration.refused(r.name)
    ]
    definition = calibration.definition
    first = {case_id: own[0] for case_id, own in paths.items()}
    regions_of = dict.fromkeys(paths, regions)
    sides = sides or (bids and calibration.has_sides)
    container = container_of(container, merge) if bids else container
    labels = merged_labels(calibration, first.values()) if merge else None
    wanted = Wanted(sides, container, labels)
    counted: list[Counted] = []

    def finish(folder: Path, _failures: dict[str, str]) -> None:
        counted.append(check_written(folder, first, definition, allow_hard_masks))

    failures = filling(calibration, paths if bids else None, regions_of)(
        Path(output),
        first,
        FoldMaskWriter(calibration, regions, paths, wanted),
        files=output_names(regions_of, first, definition, wanted),
        kind="calibration",
        meaning={"calibration": calibration.digest, **wanted._asdict()},
        case_meaning={
            case_id: file_facts(own[1:], content=verify_inputs)
            for case_id, own in paths.items()
        },
        threads=threads,
        where=where,
        shard=shard,
        parts=parts,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_case=on_case,
        on_note=on_note,
        finish=finish,
    )
    n_done = len(own_cases(paths, shard)) - len(failures)
    return Predicted(n_done, *(counted or [Counted()])[0], lacking | failures)


@dataclass(frozen=True, slots=True)
class FoldMaskWriter:
    """Writes the masks of one case from its maps; it travels to other processes."""

    calibration: Calibration
    regions: Sequence[Region]
    paths: Mapping[str, Sequence[Path]]
    wanted: Wanted

    def __call__(self, case_id: str, _path: Path, folder: Path) -> None:
        """From its maps to its masks and sidecar."""
        if not hasattr(_local, "buffer"):
            _local.buffer = Buffer()
        own, given = self.paths[case_id], self.calibration
        masks, like, values_of = _masks_of(given, self.regions, own, _local.buffer)
        write_masks(given, case_id, like, masks, values_of, folder, self.wanted)


def common_maps(
    maps: Sequence[Mapping[str, Path]], folds: Folds, *, allow_missing: bool
) -> tuple[dict[str, tuple[Path, ...]], dict[str, str]]:
    """The maps of every case that has one in each fold, and why others have not.

    Raises:
        ExceptionGroup: A case lacks a map; one exception each.
    """
    every = sorted({case_id for own in maps for case_id in own})
    lacking = {
        case_id: "no map of fold "
        + ", ".join(
            n for n, own in zip(folds.names, maps, strict=True) if case_id not in own
        )
        for case_id in every
        if any(case_id not in own for own in maps)
    }
    if lacking and (not allow_missing or len(lacking) == len(every)):
        raise ExceptionGroup(
            f"{len(lacking)} of {plural(len(every), 'case')} failed",
            [ValueError(f"case {i}: {why}") for i, why in lacking.items()],
        )
    whole = [case_id for case_id in every if case_id not in lacking]
    return {i: tuple(Path(own[i]) for own in maps) for i in whole}, lacking


def _masks_of(
    calibration: Calibration,
    regions: Sequence[Region],
    paths: Sequence[Path],
    buffer: Buffer,
) -> tuple[dict[str, RegionMasks], NiftiFile, dict[str, str]]:
    """Masks of a case by region, the header they take, and what its maps hold."""
    tallies = {r.name: new_tally(calibration, r.name) for r in regions}
    files: list[NiftiFile] = []
    kinds = fold_definitions(calibration)
    values_of: dict[str, str] = {}
    for fold, path in enumerate(paths):
        prob_map = read_map(kinds[fold], path, buffer)
        files.append(prob_map.file)
        check_same_grid(files[0].grid, paths[0], prob_map.file.grid, path)
        for region in regions:
            view = _view(region, prob_map.of(region), prob_map.file.grid)
            tallies[region.name].add(fold, view)
            held = map_values(view.probs)
            values_of[region.name] = _softest(values_of.get(region.name, held), held)
    empty = np.zeros(0, np.float32)
    masks = {
        region.name: tallies[region.name].masks(_view(region, empty, files[0].grid))
        for region in regions
    }
    return masks, files[0], values_of


def fold_definitions(calibration: Calibration) -> list[ScoreDefinition]:
    """How to read the maps of each fold: its own model's, where headers name models."""
    definition, folds = calibration.definition, folds_of(calibration)
    kind = definition.map_kind
    if kind is None or not kind.fold_marks:
        return [definition] * len(folds.names)
    return [definition.with_kind(kind.of_fold(name)) for name in folds.names]


def _softest(one: str, other: str) -> str:
    """What the maps of several folds hold together."""
    return min(one, other, key=(SOFT, MASK, NOTHING).index)


def _view(region: Region, probs: np.ndarray, grid: Grid) -> View:
    return View(region, probs, np.zeros(probs.shape, bool), None, grid)
