"""The files of a case: which a run writes, under which names, and what they say."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax._version import __version__
from coverax.calibrate import Calibration, Status
from coverax.choices import Container
from coverax.files import Json, PathLike, publish_sealed_json
from coverax.predict.masks import RegionMasks
from coverax.predict.merge import RULE, Merged, merge_masks
from coverax.predict.sets import SIDE_SUFFIXES
from coverax.scores import ScoreDefinition
from coverax.volumes import (
    NiftiFile,
    Region,
    check_writable,
    mask_suffix,
    write_mask,
)


class Wanted(NamedTuple):
    """What a run writes beside a sidecar a case.

    Attributes:
        sides: For confidence sets, the inner and the outer mask too.
        container: Files of this kind; None for that of each map.
        labels: Label of each region in the one label map of a case; None for a mask a
            region.
    """

    sides: bool = False
    container: Container | None = None
    labels: dict[str, int] | None = None

    @property
    def ends(self) -> tuple[str, ...]:
        """What stands behind the stem of each mask."""
        return ("", *SIDE_SUFFIXES) if self.sides else ("",)

    def stem(self, case_id: str, region: Region, definition: ScoreDefinition) -> str:
        """The stem of the files of a region."""
        alone = len(definition.regions) == 1 or self.labels is not None
        return case_id if alone else f"{case_id}_{region.name}"


def output_names(
    regions_of: Mapping[str, list[Region]],
    maps: Mapping[str, PathLike],
    definition: ScoreDefinition,
    wanted: Wanted,
) -> dict[str, list[str]]:
    """The files of each case, its sidecar last.

    Args:
        regions_of: Regions of each case that get a mask.
        maps: The map of each case.
        definition: All regions.
        wanted: What is written.

    Raises:
        ValueError: SimpleITK is needed and missing.
    """
    files: dict[str, list[str]] = {}
    suffixes = {i: mask_suffix(maps[i], wanted.container) for i in regions_of}
    for suffix in sorted(set(suffixes.values())):
        check_writable(suffix)
    for case_id, regions in regions_of.items():
        stems = _once(wanted.stem(case_id, r, definition) for r in regions)
        masks = [f"{s}{end}{suffixes[case_id]}" for s in stems for end in wanted.ends]
        files[case_id] = [*masks, f"{case_id}.json"]
    return files


def _once(stems: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(stems))


def write_masks(
    calibration: Calibration,
    case_id: str,
    file: NiftiFile,
    masks: Mapping[str, RegionMasks],
    values_of: Mapping[str, str],
    folder: Path,
    wanted: Wanted,
) -> None:
    """Write the masks of every region, or their one label map, and the sidecar.

    Args:
        calibration: What made them.
        case_id: Whose they are.
        file: The map whose geometry they take.
        masks: By region; none of those that were refused.
        values_of: What the maps of each region hold.
        folder: Where to.
        wanted: Which files.
    """
    definition, end = calibration.definition, mask_suffix(file.path, wanted.container)
    stems = {r.name: wanted.stem(case_id, r, definition) for r in definition.regions}
    merged, volumes = None, _volumes(masks, stems, wanted)
    if wanted.labels is not None and masks:
        own = {name: region.files[""] for name, region in masks.items()}
        merged = merge_masks(own, definition.regions, wanted.labels)
        volumes = {case_id: (merged.values, max(wanted.labels.values()))}
    for stem, (values, largest) in volumes.items():
        labels = values.reshape(file.grid.shape, order="F")
        write_mask(folder / f"{stem}{end}", labels, file, largest=largest)
    entries: list[Json] = []
    for region in definition.regions:
        name, spec = region.name, {"region": region.name, "spec": str(region)}
        refused = calibration.refused(name)
        if refused is not None:
            entries.append(spec | {"mask": None, "status": refused})
            continue
        about: Json = spec | {"mask": f"{stems[name]}{end}"}
        if merged is not None and wanted.labels is not None:
            about |= {"label": wanted.labels[name], "n_hidden": merged.hidden[name]}
        entries.append(about | masks[name].entry | {"map_values": values_of[name]})
    sidecar = _sidecar(calibration, case_id, entries, merged)
    written = [folder / f"{stem}{end}" for stem in volumes]
    # Last: it marks the case done.
    publish_sealed_json(folder / f"{case_id}.json", sidecar, written)


def _volumes(
    masks: Mapping[str, RegionMasks], stems: Mapping[str, str], wanted: Wanted
) -> dict[str, tuple[np.ndarray, int]]:
    """By the stem of its file, each mask and its largest label."""
    return {
        f"{stems[name]}{end}": (own.files[end], 1 if end else own.largest)
        for name, own in masks.items()
        for end in own.files
        if end in wanted.ends
    }


def _sidecar(
    calibration: Calibration,
    case_id: str,
    entries: list[Json],
    merged: Merged | None,
) -> Json:
    """What `CASE.json` says: the promise, and what was written.

    A region that lost voxels to another one in the label map lost its promise there.
    """
    is_whole = merged is None or not any(merged.hidden.values())
    sidecar: Json = {
        "schema": 1,
        "coverax": __version__,
        "case_id": case_id,
        "calibration_digest": calibration.digest,
        "method": calibration.method,
        "alpha": calibration.alpha,
        "delta": calibration.delta,
        "guarantee": calibration.status == Status.OK and is_whole,
        "group": calibration.parts.group,
        "statement": calibration.statement,
        "masks": entries,
    }
    if merged is not None:
        sidecar["merged"] = {"rule": RULE, "n_overlap": merged.n_overlap}
    return sidecar
