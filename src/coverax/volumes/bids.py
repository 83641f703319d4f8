"""BIDS derivatives as cohorts: probabilities, references, and what labels are called."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from coverax.files import PathLike
from coverax.table.region import Region
from coverax.volumes.bids_names import (
    SUFFIX,
    BidsName,
    is_bids,
    labels_of,
    sidecar_of,
    walk,
)
from coverax.volumes.case import Case, check_maps_differ, with_units
from coverax.volumes.folders import nifti_files

MAP = ("probseg",)
REFERENCE = ("dseg", "mask")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


class _File(NamedTuple):
    path: Path
    name: BidsName


@dataclass(frozen=True, slots=True)
class FoundPairs:
    """Maps and references that belong together, and what was left out.

    Attributes:
        cases: Each with its map, reference and unit.
        regions: Which channel of the maps is which label of the references, as far as
            their metadata say; to be named where cases are scored.
        left_out: Why, to what is no case of the cohort.
        notes: What a user should know.
    """

    cases: tuple[Case, ...]
    regions: tuple[Region, ...]
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A plain object for `--json`."""
        return {
            "n_cases": len(self.cases),
            "n_units": len({case.unit for case in self.cases}),
            "regions": [str(region) for region in self.regions],
            "left_out": self.left_out,
            "notes": self.notes,
        }


def map_files(
    folder: PathLike, *, only: Mapping[str, str] | None = None
) -> dict[str, Path]:
    """Case id to map of a folder of volumes, or of the `_probseg` of a BIDS derivative.

    Args:
        folder: A flat folder, or the root of a dataset.
        only: Entities that maps must have, where a dataset has several of an image.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: It holds no map, several of one image, or is flat and entities are
            asked for.
    """
    folder = Path(folder)
    if not is_bids(folder):
        if only:
            raise ValueError(
                f"{folder}: is no BIDS dataset, whose entities are asked for"
            )
        return nifti_files(folder)
    found, _ = _of_images(folder, MAP, only or {})
    return {image: file.path for image, file in found.items()}


def find_bids(
    derivatives: PathLike,
    labels_dir: PathLike,
    *,
    only: Mapping[str, str] | None = None,
    labels_only: Mapping[str, str] | None = None,
    unit_pattern: str | None = None,
) -> FoundPairs:
    """Match the probabilities of a BIDS derivative with references, by image.

    A map and a reference belong together if all entities of the image are the same:
    those that tell derivatives apart (`space`, `label`, `desc`, ...) do not count, and
    are what `only` and `labels_only` choose by.

    Args:
        derivatives: Root that holds `sub-XX/.../..._probseg.nii.gz`.
        labels_dir: Root that holds `..._dseg.nii.gz` or `..._mask.nii.gz`.
        only: Entities that maps must have; an empty value means without.
        labels_only: The same for references; `suffix` chooses `dseg` or `mask`.
        unit_pattern: Finds the unit in a case id, see `units_of`; `sub-XX` by default.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: There is no map or no reference, several of one image, two maps are
            one file, or cases have other labels than the first.
    """
    roots = Path(derivatives), Path(labels_dir)
    for folder in roots:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
    maps, no_maps = _of_images(roots[0], MAP, only or {})
    references, no_references = _of_images(roots[1], REFERENCE, labels_only or {})
    check_maps_differ(((i, file.path) for i, file in maps.items()), str(roots[0]))
    images = sorted(maps.keys() & references.keys())
    if not images:
        raise ValueError(
            f"no map of {roots[0]} has a reference in {roots[1]}: maps are of images as "
            f"{next(iter(maps))}, references of images as {next(iter(references))}"
        )
    notes: list[str] = []
    regions = _regions(roots, [(i, maps[i], references[i]) for i in images], notes)
    left_out = {
        "no reference": sorted(maps.keys() - references.keys()),
        "no map": sorted(references.keys() - maps.keys()),
        "maps of other entities": no_maps,
        "references of other entities": no_references,
    }
    cases = [Case(i, maps[i].path, references[i].path, unit=i) for i in images]
    return FoundPairs(
        with_units(cases, unit_pattern),
        regions,
        {why: names for why, names in left_out.items() if names},
        notes,
    )


def parse_entities(specs: Sequence[str]) -> dict[str, str]:
    """Parse `KEY=VALUE`, several of them; `KEY=` means without.

    Raises:
        ValueError: One has another form, or a key occurs twice.
    """
    found: dict[str, str] = {}
    for spec in specs:
        key, equals, value = spec.partition("=")
        if not key.isalpha() or not equals or key in found:
            raise ValueError(
                f"expected KEY=VALUE of a BIDS entity, each key once, got {spec!r:.80}"
            )
        found[key] = value
    return found


def _of_images(
    root: Path, suffixes: tuple[str, ...], wanted: Mapping[str, str]
) -> tuple[dict[str, _File], list[str]]:
    """The one file of each image, and the names of those that are not as wanted.

    Raises:
        ValueError: There is none, or an image has several.
    """
    found: dict[str, list[_File]] = {}
    others: list[str] = []
    for path, name in walk(root):
        if name is None or name.suffix not in suffixes:
            continue
        if name.has(wanted):
            found.setdefault(name.image, []).append(_File(path, name))
        else:
            others.append(path.name)
    kind = " or ".join(f"_{suffix}" for suffix in suffixes)
    if not found:
        but = f"; {len(others)} have other entities, as {others[0]}" if others else ""
        asked = "".join(f" {key}={value}" for key, value in wanted.items())
        raise ValueError(f"{root}: holds no sub-*/..{kind} volume{asked}{but}")
    for image, files in found.items():
        if len(files) > 1:
            raise ValueError(f"{root}: {_several(image, files)}")
    return {image: files[0] for image, files in found.items()}, others


def _several(image: str, files: Sequence[_File]) -> str:
    """What the files of one image differ in, and how to choose."""
    each = [file.name.entities | {SUFFIX: file.name.suffix} for file in files]
    keys = dict.fromkeys(key for own in each for key in own)
    ways = [
        f"{key}=" + "|".join(sorted(values))
        for key in keys
        if len(values := {own.get(key, "") for own in each}) > 1
    ]
    where = "--labels-only" if files[0].name.suffix in REFERENCE else "--only"
    return (
        f"{len(files)} files are of {image}, as {files[0].path.name} and "
        f"{files[1].path.name}: choose one by {where} {' or '.join(ways) or 'a folder'}"
    )


def _regions(
    roots: tuple[Path, Path],
    pairs: Sequence[tuple[str, _File, _File]],
    notes: list[str],
) -> tuple[Region, ...]:
    """The regions that the metadata of all cases name.

    Raises:
        ValueError: Cases name others.
    """
    first: tuple[Region, ...] | None = None
    for image, probs, labels in pairs:
        own, lacking = _regions_of(roots, probs, labels)
        if first is None:
            first = own
            notes.extend(lacking)
        elif own != first:
            raise ValueError(
                f"case {image} has regions {_listed(own)}, case {pairs[0][0]} has "
                f"{_listed(first)} (LabelMap, label entity and table of labels)"
            )
    return first or ()


def _regions_of(
    roots: tuple[Path, Path], probs: _File, labels: _File
) -> tuple[tuple[Region, ...], list[str]]:
    """Regions of a case, and what could not be told."""
    names = _channels(roots[0], probs, labels)
    if not names:
        return (), [
            f"{probs.path.name} has no LabelMap and no label: one region, channel 0 and "
            "label 1, unless --region names others"
        ]
    if labels.name.suffix == "mask":
        one = labels.name.entities.get("label", "").lower()
        masked = [
            (channel, name)
            for channel, name in names.items()
            if len(names) == 1 or name.lower() == one
        ]
        known, is_table = {name.lower(): 1 for _, name in masked}, True
    else:
        known, is_table = labels_of(roots[1], labels.path, labels.name)
    regions = tuple(
        Region(_NOT_IN_NAMES.sub("_", name), (channel,), (known[name.lower()],))
        for channel, name in names.items()
        if known.get(name.lower(), 0) > 0
    )
    lost = [name for name in names.values() if name.lower() not in known]
    lines = []
    if lost:
        what = "its table of labels" if is_table else "the common labels of BIDS"
        lines.append(
            f"channels without a label in the references ({what}): {', '.join(lost)}"
        )
    return regions, lines


def _channels(root: Path, probs: _File, labels: _File) -> dict[int, str]:
    """What each channel of a map is called; nothing where nothing says so."""
    names = sidecar_of(root, probs.path, probs.name).get("LabelMap")
    if isinstance(names, list) and names:
        if not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{probs.path}: its LabelMap must be a list of names")
        return dict(enumerate(names))
    one = probs.name.entities.get("label") or labels.name.entities.get("label")
    return {0: one} if one else {}


def _listed(regions: Sequence[Region]) -> str:
    return ", ".join(map(str, regions)) or "none"
