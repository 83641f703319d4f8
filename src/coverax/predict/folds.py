"""Masks of a new case from the maps of all folds, one map in memory at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from coverax.calibrate import Calibration, Folds, MeanP, SideFolds
from coverax.checks import as_map
from coverax.choices import Container, Side
from coverax.files import PathLike
from coverax.predict.bids import container_of, filling
from coverax.predict.masks import RegionMasks, threshold_mask, volume_ml
from coverax.predict.merge import merged_labels
from coverax.predict.outputs import Wanted, output_names, write_masks
from coverax.predict.sets import label_sets, score_maps_of
from coverax.predict.write import (
    COUNTS,
    check_request,
    check_written,
    map_values,
    read_map,
    several_maps,
)
from coverax.provenance import MASK, NOTHING, SOFT
from coverax.scores import (
    ScoreDefinition,
    View,
    array_view,
    side_cut,
    side_transforms,
)
from coverax.stream import file_facts
from coverax.table import Transform
from coverax.volumes import Buffer, Grid, NiftiFile, Region, check_same_grid

_CHUNK = 1 << 16  # voxels whose counts are in memory at a time


class Votes:
    """How many folds mark each voxel."""

    def __init__(self, calibration: Calibration, region: str):
        self._folds = folds_of(calibration)
        found = [t for t in calibration.thresholds if t.region == region]
        self._own = {t.fold: t for t in found}
        self._count: np.ndarray | None = None

    def add(self, fold: int, view: View) -> None:
        """Count the voxels that a fold marks."""
        if self._count is None:
            self._count = np.zeros(view.probs.size, np.uint16)
        threshold = self._own[self._folds.names[fold]]
        self._count += threshold_mask(view.probs, threshold.probability)

    def mask(self) -> Bool[np.ndarray, " voxels"]:
        """Voxels that enough folds mark."""
        return np.asarray(self._count) >= (self._folds.votes or 0)

    def masks(self, view: View) -> RegionMasks:
        """The mask, and what the sidecar says of it."""
        mask, first = self.mask(), next(iter(self._own.values()))
        n_predicted = int(np.count_nonzero(mask))
        cuts = {name: t.probability.hex() for name, t in self._own.items()}
        entry = {
            "tolerance": first.tolerance,
            "votes_needed": self._folds.votes,
            "probability_thresholds": cuts,
            "status": max(t.status for t in self._own.values()).name,
            "whole_volume": n_predicted == mask.size,
            "n_predicted": n_predicted,
            "volume_ml": volume_ml(n_predicted, view),
        }
        return RegionMasks({"": mask}, 1, entry)


class Sides:
    """Sums of the p-values of each voxel, for the inner and the outer set."""

    def __init__(self, calibration: Calibration, region: str):
        self._calibration, self._region = calibration, region
        asked, folds = calibration.sets, folds_of(calibration)
        self._transforms = side_transforms(asked.inner, asked.outer)
        self._sides = {t.side: folds.side(region, t.side) for t in self._transforms}
        self._sums: dict[str, MeanP] = {}

    def add(self, fold: int, view: View) -> None:
        """Count, for each voxel, the scores of a fold that are at least its own."""
        maps = score_maps_of(self._calibration, view)
        for transform in self._transforms:
            side = self._sides[transform.side]
            if transform.side not in self._sums:
                sizes = side.known.sizes
                shape = (view.probs.size,)
                self._sums[transform.side] = MeanP(sizes, side.level, shape)
            values = maps[transform.side]
            size = side.known.scores[fold].size
            is_outer = transform.side == "outer"
            few = (
                (places, reached if is_outer else size - reached)
                for places, reached in _reached(_cuts(transform, side, fold), values)
            )
            most = 0 if is_outer else size
            self._sums[transform.side].add_most(fold, most, few)

    def sets(self) -> dict[Side, Bool[np.ndarray, " voxels"]]:
        """The inner and the outer set."""
        return {
            "inner": ~self._sums["inner"].above(),
            "outer": self._sums["outer"].above(),
        }

    def masks(self, view: View) -> RegionMasks:
        """The label map, both sets, and what the sidecar says of them."""
        found = {
            t.side: self._calibration.threshold_of(self._region, t.side)
            for t in self._transforms
        }
        described: dict[Side, dict[str, Any]] = {
            t.side: {
                "transform": t.spec,
                "mean_p_level": str(self._sides[t.side].level),
                "left_out_where_all_exceed": found[t.side].value.hex(),
            }
            for t in self._transforms
        }
        status = max(threshold.status for threshold in found.values())
        joint = self._calibration.sets.joint
        return label_sets(self.sets(), view, described, joint=joint, status=status)


def new_tally(calibration: Calibration, region: str) -> Votes | Sides:
    """What counts the maps of a region under a calibration from folds."""
    kind = Sides if calibration.has_sides else Votes
    return kind(calibration, region)


def folds_of(calibration: Calibration) -> Folds:
    """The folds of a calibration.

    Raises:
        ValueError: It is of one model.
    """
    if calibration.folds is None:
        raise ValueError(
            "the calibration is of one model, and takes the maps of one: give --probs once"
        )
    return calibration.folds


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
    return {name: mask.reshape(np.shape(probs[0])) for name, mask in found.items()}


def predict_folds(
    calibration: Calibration,
    maps: Sequence[Mapping[str, PathLike]],
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
    verify_inputs: bool = False,
    bids: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Write the mask of every case from the maps of all folds, as `predict_folder` does.

    The maps of a case are read one after the other; a thread holds one of them and one
    number a voxel and side.

    Args:
        calibration: From folds.
        maps: Case id to map, one mapping a fold in the order of
            `calibration.folds.names`.
        output: A new folder, or an empty one.
        threads: Cases at a time.
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

    Returns:
        As `predict_folder`.

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

    def write_one(case_id: str, _path: Path, folder: Path) -> None:
        _write_case(calibration, regions, case_id, paths[case_id], folder, wanted)

    definition = calibration.definition
    first = {case_id: own[0] for case_id, own in paths.items()}
    sides = sides or (bids and calibration.has_sides)
    container = container_of(container, merge) if bids else container
    labels = merged_labels(calibration, first.values()) if merge else None
    wanted = Wanted(sides, container, labels)
    counts: dict[str, int] = {name: 0 for name in COUNTS}

    def finish(folder: Path, _failures: dict[str, str]) -> None:
        counts.update(check_written(folder, first, definition, allow_hard_masks))

    regions_of = dict.fromkeys(paths, regions)
    failures = filling(calibration, paths if bids else None, regions_of)(
        Path(output),
        first,
        write_one,
        files=output_names(regions_of, first, definition, wanted),
        kind="calibration",
        meaning={"calibration": calibration.digest, **wanted._asdict()},
        case_meaning={
            case_id: file_facts(own[1:], content=verify_inputs)
            for case_id, own in paths.items()
        },
        threads=threads,
        resume=resume,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        on_case=on_case,
        on_note=on_note,
        finish=finish,
    )
    return {
        "n_cases": len(paths) - len(failures),
        **counts,
        "failed": lacking | failures,
    }


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
            f"{len(lacking)} of {len(every)} cases failed",
            [ValueError(f"case {i}: {why}") for i, why in lacking.items()],
        )
    whole = [case_id for case_id in every if case_id not in lacking]
    return {i: tuple(Path(own[i]) for own in maps) for i in whole}, lacking


def _write_case(
    calibration: Calibration,
    regions: Sequence[Region],
    case_id: str,
    paths: Sequence[Path],
    folder: Path,
    wanted: Wanted,
) -> None:
    tallies = {r.name: new_tally(calibration, r.name) for r in regions}
    files: list[NiftiFile] = []
    kinds = fold_definitions(calibration)
    values_of: dict[str, str] = {}
    buffer = Buffer()  # a map takes the place of the one before it
    for fold, path in enumerate(paths):
        prob_map = read_map(kinds[fold], path, buffer)
        files.append(prob_map.file)
        check_same_grid(files[0].grid, paths[0], prob_map.file.grid, path)
        for region in regions:
            view = _view(region, prob_map.of(region), prob_map.file.grid)
            tallies[region.name].add(fold, view)
            held = map_values(view.probs, prob_map.file)
            values_of[region.name] = _softest(values_of.get(region.name, held), held)
    empty = np.zeros(0, np.float32)
    masks = {
        region.name: tallies[region.name].masks(_view(region, empty, files[0].grid))
        for region in regions
    }
    write_masks(calibration, case_id, files[0], masks, values_of, folder, wanted)


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


def _cuts(transform: Transform, side: SideFolds, fold: int) -> np.ndarray:
    """Cuts of the score map, ascending: a voxel is in the set at a score from its cut on."""
    known = side.known.scores[fold].tolist()
    cuts = np.array([side_cut(transform, score) for score in known], np.float32)
    return np.sort(cuts[~np.isnan(cuts)])  # NaN: no voxel is in the inner set there


def _reached(
    cuts: np.ndarray, values: np.ndarray
) -> Iterator[tuple[Int[np.ndarray, " places"], Int[np.ndarray, " places"]]]:
    """Voxels that reach a cut, and how many, in pieces; most reach none.

    A voxel is in the outer set at a threshold iff its score is at most that, and in the
    inner one iff its score is more: so cuts tell counts of scores.
    """
    for start in range(0, values.size if cuts.size else 0, _CHUNK):
        piece = values[start : start + _CHUNK]
        places = np.flatnonzero(piece >= cuts[0])
        yield places + start, np.searchsorted(cuts, piece[places], side="right")
