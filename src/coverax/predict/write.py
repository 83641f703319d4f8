"""Thresholds to mask files, in the geometry of the maps."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration, Visit
from coverax.choices import Container, Kind
from coverax.files import JsonRecord, PathLike
from coverax.predict.bids import container_of, filling
from coverax.predict.changes import check_visits, visit_masks
from coverax.predict.lists import write_list
from coverax.predict.map_kind import check_first_mark, read_map
from coverax.predict.masks import RegionMasks, lesion_mask
from coverax.predict.merge import merged_labels
from coverax.predict.outputs import Wanted, output_names, write_masks
from coverax.predict.sets import side_masks
from coverax.predict.strata import group_of_map
from coverax.predict.triage import Given, check_given, given_of, release_masks
from coverax.predict.volumes import interval_masks
from coverax.provenance import SOFT, check_not_masks
from coverax.scores import ScoreDefinition, View
from coverax.stream import HERE, Shard, Where, check_failures, own_cases
from coverax.stream import count_finished as count_finished
from coverax.volumes import Region, map_values

_KIND = "calibration"  # what a folder of masks depends on


@dataclass(frozen=True, slots=True)
class Predicted(JsonRecord):
    """What became of the maps that were predicted.

    Attributes:
        n_cases: Cases written.
        n_whole_volume: Masks that are the whole volume.
        n_with_hidden: Cases in which a region lost voxels to another one (`merge`).
        failed: Case id to why it was left out.
    """

    n_cases: int
    n_whole_volume: int
    n_with_hidden: int
    failed: Mapping[str, str]


class Counted(NamedTuple):
    """What is counted over the sidecars of a run; of a shard nobody has counted yet."""

    n_whole_volume: int = 0
    n_with_hidden: int = 0


def predict_folder(
    calibration: Calibration,
    maps: Mapping[str, PathLike],
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
    groups: Mapping[str, str] | None = None,
    confidences: Given | None = None,
    visits: Mapping[str, Visit] | None = None,
    verify_inputs: bool = False,
    bids: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> Predicted:
    """Write the mask of every map, and a JSON sidecar that carries the guarantee.

    The folder appears when it is complete: masks are collected in `OUTPUT.partial` and
    renamed at the end, so a reader never meets half a cohort.

    Args:
        calibration: Thresholds and the definition of the maps they were made for.
        maps: Case id to map.
        output: A new folder, or an empty one.
        threads: Cases at a time.
        where: Where cases are worked on.
        shard: Write the masks of its cases only, into a folder of parts `output`.
        parts: Folder of parts that all shards have filled: take the masks from there.
        resume: Keep the finished masks of an interrupted run of the same calibration,
            maps and groups.
        allow_missing: Publish without the maps that failed.
        allow_vacuous: Write whole volumes where no guarantee can be given.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.
        sides: For confidence sets, write the inner and the outer mask too.
        container: Files of this kind; by default that of each map.
        merge: Write one label map a case, see `merged_labels`, and no mask a region.
        groups: Group of each case, for a calibration by groups.
        confidences: Of each case, or of each of its regions, what the column that ranks
            masks has, for a release by a column of the cohort.
        visits: Unit and visit of each case, for a change between visits: `changes.csv`
            has the interval of every pair.
        verify_inputs: With `resume`, tell a replaced map by its content too.
        bids: Write a BIDS derivative, see `BidsFolder`; cases are named `sub-XX...`.
        on_case: Called once a case, for progress.
        on_note: Called with a line that says what is done again.

    Raises:
        FileExistsError: `output` holds something already.
        ExceptionGroup: Maps failed; one exception each, naming case and file.
        ValueError: The calibration gives no guarantee, two cases would write one file,
            inner and outer masks were asked of another method, the regions do not fit
            into one label map, a container needs SimpleITK and it is missing, or the
            maps are hard masks or of another origin than those that calibrated, or
            confidences or visits are missing or not wanted.
    """
    output = Path(output)
    maps = {name: Path(path) for name, path in maps.items()}
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    by_map = calibration.parts.strata is not None
    if by_map and groups is not None:
        raise ValueError(
            f"the map of a case tells its {calibration.policy.group_by}: no groups are "
            "named (--groups)"
        )
    if calibration.is_grouped and groups is None and not by_map:
        raise ValueError(
            f"the calibration has a threshold for each {calibration.policy.group_by}: "
            "name the group of each case (--groups)"
        )
    check_request(calibration, sides=sides, allow_vacuous=allow_vacuous)
    if not allow_missing and not by_map:
        _check_groups(calibration, maps, groups or {})
    check_given(calibration, confidences, maps, allow_missing=allow_missing)
    check_visits(calibration, visits, maps, groups or {})
    definition = calibration.definition
    check_first_mark(maps.values(), definition)
    regions_of = {
        i: _masked(calibration, definition, (groups or {}).get(i)) for i in maps
    }
    sides = sides or (bids and calibration.has_sides)
    container = container_of(container, merge) if bids else container
    labels = merged_labels(calibration, maps.values()) if merge else None
    wanted = Wanted(sides, container, labels)
    counted: list[Counted] = []

    def finish(folder: Path, _failures: dict[str, str]) -> None:
        counted.append(check_written(folder, maps, definition, allow_hard_masks))
        own = visits and {case_id: visits[case_id] for case_id in maps}
        write_list(calibration, read_sidecars(folder, maps), folder, own)

    sources = {i: (path,) for i, path in maps.items()} if bids else None
    failures = filling(calibration, sources, regions_of)(
        output,
        maps,
        MaskWriter(calibration, dict(groups or {}), wanted, confidences),
        files=output_names(regions_of, maps, definition, wanted),
        kind=_KIND,
        # What the files are depends on the calibration and on which are wanted.
        meaning={"calibration": calibration.digest, **wanted._asdict()},
        case_meaning=_case_meaning(groups, confidences),
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
    n_done = len(own_cases(maps, shard)) - len(failures)
    return Predicted(n_done, *(counted or [Counted()])[0], failures)


@dataclass(frozen=True, slots=True)
class MaskWriter:
    """Writes the masks of one case; it travels to other processes."""

    calibration: Calibration
    groups: dict[str, str]
    wanted: Wanted
    confidences: Given | None = None

    def __call__(self, case_id: str, path: Path, folder: Path) -> None:
        """From its map to its masks and sidecar."""
        own = self.calibration
        if own.parts.strata is None:
            own = own.of_group(_group_of(own, self.groups, case_id)).of_case(case_id)
        _write_case(own, case_id, path, folder, self.wanted, self.confidences)


def _case_meaning(
    groups: Mapping[str, str] | None, confidences: Given | None
) -> Mapping[str, Any] | None:
    """What the files of a case depend on beside its map, for `resume`."""
    if confidences is None:
        return groups
    return {
        case_id: [
            (groups or {}).get(case_id),
            dict(own) if isinstance(own, Mapping) else own,
        ]
        for case_id, own in confidences.items()
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


def _masked(
    calibration: Calibration, definition: ScoreDefinition, group: str | None
) -> list[Region]:
    """Regions of a case that get a mask: all that were not refused."""
    return [r for r in definition.regions if not calibration.refused(r.name, group)]


def _write_case(
    calibration: Calibration,
    case_id: str,
    path: Path,
    folder: Path,
    wanted: Wanted,
    confidences: Given | None,
) -> None:
    prob_map = read_map(calibration.definition, path)
    masks: dict[str, RegionMasks] = {}
    values_of: dict[str, str] = {}
    for region in calibration.definition.regions:
        if calibration.refused(region.name) is None:
            probs = prob_map.of(region)
            values_of[region.name] = map_values(probs)
            nothing = np.zeros(probs.shape, bool)
            view = View(region, probs, nothing, None, prob_map.file.grid)
            masks[region.name] = _region_masks(calibration, case_id, view, confidences)
    write_masks(calibration, case_id, prob_map.file, masks, values_of, folder, wanted)


def maker_of(
    calibration: Calibration, confidences: Given | None, case_id: str, region: str
) -> Callable[[Calibration, View], RegionMasks]:
    """What makes the masks of a region of a case, by the confidence that it is given.

    Raises:
        ValueError: The calibration needs one, and there is none.
    """
    given = given_of(calibration, confidences, case_id, region)
    if given is None:
        return REGION_MASKS[calibration.kind]
    return partial(release_masks, given=given)


def _region_masks(
    calibration: Calibration, case_id: str, view: View, confidences: Given | None
) -> RegionMasks:
    """What a region gets, by the group of its map where this tells one."""
    make = maker_of(calibration, confidences, case_id, view.region.name)
    if (group := group_of_map(calibration, view)) is None:
        return make(calibration, view)
    own = calibration.of_map({view.region.name: group}).of_case(case_id)
    made = make(own, view)
    return made._replace(entry={"group": group} | made.entry)


def read_sidecars(folder: Path, maps: Mapping[str, Path]) -> list[dict[str, Any]]:
    """What was written of every case that did not fail."""
    found = [folder / f"{case_id}.json" for case_id in maps]
    return [json.loads(p.read_text("utf-8")) for p in found if p.is_file()]


def check_written(
    folder: Path,
    maps: Mapping[str, Path],
    definition: ScoreDefinition,
    allow_hard_masks: bool,
) -> Counted:
    """What a run counts over all sidecars; refuses a folder made of hard masks."""
    sidecars = read_sidecars(folder, maps)
    entries = [(s["case_id"], entry) for s in sidecars for entry in s["masks"]]
    check_not_masks(
        [(case_id, e["region"], e.get("map_values", SOFT)) for case_id, e in entries],
        allow=allow_hard_masks or definition.allow_hard_masks,
    )
    hidden = {case_id for case_id, entry in entries if entry.get("n_hidden")}
    n_whole = sum(bool(entry.get("whole_volume")) for _, entry in entries)
    return Counted(n_whole, len(hidden))


# Kind of a calibration -> what it writes for one region of one case.
REGION_MASKS: dict[Kind, Callable[[Calibration, View], RegionMasks]] = {
    "cut": lesion_mask,
    "sides": side_masks,
    "interval": interval_masks,
    "change": visit_masks,
    "release": release_masks,
}
