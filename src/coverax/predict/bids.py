"""Masks as a BIDS derivative: names, sidecars, and what the dataset says of itself."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import quote

from coverax._version import __version__
from coverax.calibrate import Calibration
from coverax.choices import Container
from coverax.files import (
    PathLike,
    as_output_error,
    publish_json,
    publish_sealed_json,
    publish_text,
)
from coverax.stream import fill_folder
from coverax.volumes import (
    BidsName,
    Region,
    inherited_metadata,
    name_of_bids,
    parse_name,
)

BIDS_VERSION = "1.10.0"
_MAPS = "maps"  # the dataset of the maps, in BIDS URIs
_DATATYPES = ("anat", "func", "dwi")
_TABLE = "desc-conformal_dseg.tsv"
_DESCRIPTION, _README = "dataset_description.json", "README.md"
_IGNORED = ".bidsignore"


class _Mask(NamedTuple):
    """One mask of a case.

    Attributes:
        region: Of which region.
        flat: Its file in a flat folder of masks.
        path: Its file below the root, without the extension.
    """

    region: Region
    flat: str
    path: str


@dataclass(frozen=True, slots=True)
class BidsFolder:
    """A BIDS derivative to be filled with the masks of cases.

    `desc-conformal_dseg` of one region, `label-REGION_desc-conformal_mask` of several;
    of sets `desc-conformalInner_mask` and `desc-conformalOuter_mask`. A sidecar a mask
    has the statement, the map it was made from, and all that a flat folder says.

    Attributes:
        calibration: What makes the masks.
        sources: The maps of each case.
        masks: What is written of each case.
        root: The folder that all maps lie below.
    """

    calibration: Calibration
    sources: Mapping[str, Sequence[Path]]
    masks: Mapping[str, Sequence[_Mask]]
    root: Path

    @classmethod
    def of(
        cls,
        calibration: Calibration,
        sources: Mapping[str, Sequence[Path]],
        regions_of: Mapping[str, Sequence[Region]],
    ) -> "BidsFolder":
        """Name the masks of every case.

        Raises:
            ValueError: A case is not named as BIDS names images, or two masks would be
                one file.
        """
        masks = {
            case_id: _masks_of(calibration, case_id, sources[case_id][0], regions)
            for case_id, regions in regions_of.items()
        }
        owners: dict[str, str] = {}
        for case_id, own in masks.items():
            for mask in own:
                if mask.path in owners:
                    raise ValueError(
                        f"case {owners[mask.path]} and case {case_id} would both write "
                        f"{mask.path}.nii.gz; rename a case or a region"
                    )
                owners[mask.path] = case_id
        folders = [path.absolute().parent for own in sources.values() for path in own]
        return cls(calibration, sources, masks, Path(os.path.commonpath(folders)))

    def files(self) -> dict[str, list[str]]:
        """The files of each case below the root, each mask before its sidecar."""
        return {
            case_id: [
                f"{m.path}{ending}" for m in own for ending in (".nii.gz", ".json")
            ]
            for case_id, own in self.masks.items()
        }

    def fill(
        self,
        output: PathLike,
        maps: Mapping[str, PathLike],
        write_case: Callable[[str, Path, Path], None],
        *,
        files: Mapping[str, Sequence[str]],
        meaning: Mapping[str, Any],
        finish: Callable[[Path, dict[str, str]], None],
        **options: Any,
    ) -> dict[str, str]:
        """Fill the dataset as `fill_folder` fills a flat folder of masks.

        Args:
            output: Its root.
            maps: As of `fill_folder`.
            write_case: Writes the masks and the sidecar of a case into a flat folder.
            files: Those names, which others stand for.
            meaning: As of `fill_folder`.
            finish: Takes a flat folder of sidecars, and the failures.
            **options: As of `fill_folder`.
        """
        del files

        def finish_all(folder: Path, failures: dict[str, str]) -> None:
            with _flat_folder(folder) as flat:
                for case_id in self.masks.keys() - failures.keys():
                    sidecar = self._flat_sidecar(case_id, folder)
                    publish_json(flat / f"{case_id}.json", sidecar)
                finish(flat, failures)
                lists = self._place_lists(flat, folder)
            self._describe(folder, Path(output), lists)

        return fill_folder(
            output,
            maps,
            _PlacedWriter(self, write_case),
            files=self.files(),
            meaning={**meaning, "bids": True},
            finish=finish_all,
            **options,
        )

    def place(self, case_id: str, flat: Path, folder: Path) -> None:
        """Give the masks of a case their places, each with a sidecar."""
        about = json.loads((flat / f"{case_id}.json").read_text("utf-8"))
        about = {k: v for k, v in about.items() if k not in ("digest", "files")}
        for mask in self.masks[case_id]:
            placed = folder / f"{mask.path}.nii.gz"
            with as_output_error(placed):
                placed.parent.mkdir(parents=True, exist_ok=True)
                (flat / mask.flat).replace(placed)
            content = self._sidecar(case_id, mask, about)
            publish_sealed_json(folder / f"{mask.path}.json", content, [placed])

    def _place_lists(self, flat: Path, folder: Path) -> list[Path]:
        """Give the lists of all cases their places, and say that BIDS knows none."""
        found = sorted(p for p in flat.iterdir() if p.stem not in self.masks)
        placed = [path.replace(folder / path.name) for path in found]
        if placed:
            placed.append(folder / _IGNORED)
            publish_text(placed[-1], "".join(f"{path.name}\n" for path in found))
        return placed

    def _flat_sidecar(self, case_id: str, folder: Path) -> dict[str, Any]:
        """The sidecar of a case with every region that it has a mask of."""
        one_each = {mask.region: mask.path for mask in self.masks[case_id]}
        found = [
            json.loads((folder / f"{path}.json").read_text("utf-8"))
            for path in one_each.values()
        ]
        entries = [entry for sidecar in found for entry in sidecar["masks"]]
        return {"case_id": case_id, "masks": entries}

    def _describe(self, folder: Path, output: Path, lists: Sequence[Path]) -> None:
        """Write what belongs to the dataset as a whole."""
        statement = self.calibration.statement
        beside = [*lists, folder / _README]
        publish_text(beside[-1], f"# Masks with a guarantee\n\n{statement}\n")
        regions = self.calibration.definition.regions
        if not self.calibration.has_sides and len(regions) == 1:
            beside.append(folder / _TABLE)
            rows = f"index\tname\n0\tBackground\n1\t{regions[0].name}\n"
            publish_text(beside[-1], rows)
        home = os.path.relpath(self.root, output.absolute())
        description = {
            "Name": "Masks with a guarantee",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "coverax", "Version": __version__, "Description": statement}
            ],
            "DatasetLinks": {_MAPS: quote(Path(home).as_posix())},
            "calibration_digest": self.calibration.digest,
        }
        publish_sealed_json(folder / _DESCRIPTION, description, beside)

    def _sidecar(
        self, case_id: str, mask: _Mask, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        """What BIDS asks for, and all that a sidecar of ours says of the region."""
        paths = self.sources[case_id]
        uris = [
            f"bids:{_MAPS}:{quote(path.absolute().relative_to(self.root).as_posix())}"
            for path in paths
        ]
        known = inherited_metadata(paths[0])
        content = {
            "Description": about["statement"],
            "Sources": uris,
            "SpatialReference": known.get("SpatialReference", uris[0]),
        }
        if mask.path.endswith("_mask"):
            is_lesion = "lesion" in mask.region.name.lower()
            content["Type"] = "Lesion" if is_lesion else "ROI"
        if "_res-" in mask.path:
            content["Resolution"] = known.get("Resolution", "That of the map")
        entries = [
            entry | {"mask": f"{Path(mask.path).name}.nii.gz"}
            for entry in about["masks"]
            if entry["region"] == mask.region.name
        ]
        return {**content, **about, "masks": entries}


@dataclass(frozen=True, slots=True)
class _PlacedWriter:
    """Writes a case flat and places its files; it travels to other processes."""

    derivative: BidsFolder
    write_case: Callable[[str, Path, Path], None]

    def __call__(self, case_id: str, path: Path, folder: Path) -> None:
        """From its map to its masks and their sidecars."""
        with _flat_folder(folder) as flat:
            self.write_case(case_id, path, flat)
            self.derivative.place(case_id, flat, folder)


def container_of(container: Container | None, merge: bool) -> Container:
    """The container of the masks of a derivative, which no option changes.

    Raises:
        ValueError: Another one is asked for, or one label map of several regions.
    """
    if merge or container not in (None, "nii.gz"):
        raise ValueError(
            "a BIDS derivative has a mask a region, as .nii.gz: leave --merge and --as out"
        )
    return "nii.gz"


def filling(
    calibration: Calibration,
    sources: Mapping[str, Sequence[Path]] | None,
    regions_of: Mapping[str, Sequence[Region]],
) -> Callable[..., dict[str, str]]:
    """What fills a folder of masks: a flat one, or with sources a BIDS derivative."""
    if sources is None:
        return fill_folder
    return BidsFolder.of(calibration, sources, regions_of).fill


@contextmanager
def _flat_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder inside another, gone at the end."""
    with as_output_error(folder):
        made = TemporaryDirectory(prefix=".", dir=folder)
    with made as name:
        yield Path(name)


def _masks_of(
    calibration: Calibration, case_id: str, path: Path, regions: Sequence[Region]
) -> list[_Mask]:
    name = _image_name(case_id, path)
    is_alone = len(calibration.definition.regions) == 1
    kinds = {"": ("conformal", "dseg" if is_alone else "mask")}
    if calibration.has_sides:
        kinds = {f"_{s}": (f"conformal{s.title()}", "mask") for s in ("inner", "outer")}
    datatype = path.parent.name if path.parent.name in _DATATYPES else "anat"
    session = name.entities.get("ses")
    parts = [f"sub-{name.entities['sub']}", *([f"ses-{session}"] if session else [])]
    masks = []
    for region in regions:
        flat = case_id if is_alone else f"{case_id}_{region.name}"
        label = "".join(c for c in region.name if c.isascii() and c.isalnum())
        for ending, (description, suffix) in kinds.items():
            entities = {**name.entities, "desc": description}
            if not is_alone:
                entities["label"] = label
            stem = name_of_bids(BidsName(entities, suffix))
            place = "/".join([*parts, datatype, stem])
            masks.append(_Mask(region, f"{flat}{ending}.nii.gz", place))
    return masks


def _image_name(case_id: str, path: Path) -> BidsName:
    """The entities of a case, with those of the space its map lies in.

    Raises:
        ValueError: The case is not named as BIDS names images.
    """
    own = parse_name(case_id)
    if own is None or "sub" not in own.entities:
        raise ValueError(
            f"case {case_id} is not named as BIDS names images (sub-XX[_ses-Y][_...]): "
            "rename its map, or write masks with -o"
        )
    of_map = parse_name(path.name.split(".")[0])
    if of_map is not None and of_map.entities.items() >= own.entities.items():
        own = of_map
    kept = {k: v for k, v in own.entities.items() if k not in ("label", "desc")}
    return BidsName(kept, "")
