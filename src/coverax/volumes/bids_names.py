"""Names of BIDS, and the metadata that files of a dataset inherit from above."""

import csv
import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from coverax.files import PathLike, one_line
from coverax.volumes.formats import file_stem

DESCRIPTION = "dataset_description.json"
# Entities that tell derivatives of one image apart, and are of no image themselves.
OF_DERIVATIVES = (
    *("space", "cohort", "atlas", "seg", "scale", "res", "den", "label", "desc"),
)
# Entities in the order of names, as the standard has it.
_ORDER = (
    *("sub", "tpl", "ses", "cohort", "sample", "task", "tracksys", "acq", "nuc", "voi"),
    *("ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip", "inv", "mt"),
    *("part", "proc", "hemi", "space", "split", "recording", "chunk", "atlas", "seg"),
    *("scale", "res", "den", "label", "desc"),
)
SUFFIX = "suffix"  # stands for the suffix where entities are asked for
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")
_WORD = re.compile(r"[A-Za-z0-9]+")
# What the standard calls labels where no table does.
_STANDARD = (
    *("BG Background", "GM Gray Matter", "WM White Matter"),
    *("CSF Cerebrospinal Fluid", "B Bone", "ST Soft Tissue", "NB Non-brain"),
    *("L Lesion", "CGM Cortical Gray Matter", "SGM Subcortical Gray Matter"),
    *("BS Brainstem", "CBM Cerebellum"),
)


class BidsName(NamedTuple):
    """What a name says.

    Attributes:
        entities: Key to value, in the order of the name.
        suffix: What kind of file it is, as `probseg`; empty where none is there.
    """

    entities: dict[str, str]
    suffix: str

    @property
    def image(self) -> str:
        """The entities of the image, as a name: what its derivatives have in common."""
        return "_".join(
            f"{k}-{v}" for k, v in self.entities.items() if k not in OF_DERIVATIVES
        )

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Whether the entities are as wanted; an empty value wants none."""
        own = self.entities | {SUFFIX: self.suffix}
        return all(own.get(key, "") == value for key, value in wanted.items())


def parse_name(name: str) -> BidsName | None:
    """Entities and suffix of a name without its extension; None where it is none."""
    entities: dict[str, str] = {}
    *parts, last = name.split("_")
    suffix = last if _WORD.fullmatch(last) else ""
    for part in parts if suffix else [*parts, last]:
        match = _ENTITY.fullmatch(part)
        if match is None or match[1] in entities:
            return None
        entities[match[1]] = match[2]
    return BidsName(entities, suffix)


def name_of_bids(name: BidsName) -> str:
    """The name of entities in their order, and a suffix.

    Raises:
        ValueError: An entity is none of the standard.
    """
    unknown = [key for key in name.entities if key not in _ORDER]
    if unknown:
        raise ValueError(
            f"{'_'.join(map('-'.join, name.entities.items()))}: {unknown[0]} is no entity "
            "of BIDS"
        )
    ordered = sorted(name.entities.items(), key=lambda own: _ORDER.index(own[0]))
    return "_".join([*map("-".join, ordered), name.suffix])


def inherited_metadata(path: PathLike) -> dict[str, Any]:
    """The metadata of a volume in a dataset; nothing where it is in none."""
    path = Path(path)
    name = parse_name(file_stem(path) or "")
    root = next((folder for folder in path.absolute().parents if is_bids(folder)), None)
    if name is None or root is None:
        return {}
    return sidecar_of(root, path.absolute(), name)


def is_bids(folder: Path) -> bool:
    """Whether a folder is the root of a dataset, by its description."""
    return (folder / DESCRIPTION).is_file()


def walk(root: Path) -> Iterator[tuple[Path, BidsName | None]]:
    """Volumes below the folders of subjects, sorted, with what their names say."""
    for subject in sorted(root.glob("sub-*")):
        for path in sorted(subject.rglob("*")):
            stem = file_stem(path)
            if stem is None or path.name.startswith(".") or not path.is_file():
                continue
            name = parse_name(stem)
            is_subject = name and f"sub-{name.entities.get('sub')}" == subject.name
            yield path, name if is_subject else None


def sidecar_of(root: Path, path: Path, name: BidsName) -> dict[str, Any]:
    """The metadata of a file: of JSON files above and beside it, the nearest wins.

    Raises:
        ValueError: One of them is no JSON object.
    """
    found: dict[str, Any] = {}
    for above in _inherited(root, path, name, ".json"):
        found |= _json_of(above)
    return found


def labels_of(root: Path, path: Path, name: BidsName) -> tuple[dict[str, int], bool]:
    """Names and abbreviations of the labels of a segmentation, in lower case.

    Returns:
        Name to label, and whether a table of the dataset says so: else the standard.

    Raises:
        ValueError: The table lacks `index` or `name`, or an index is no whole number.
    """
    tables = _inherited(root, path, name, ".tsv")
    if tables:
        return _table_of(tables[-1]), True
    standard = (names.split(" ", 1) for names in _STANDARD)
    return {n.lower(): i for i, both in enumerate(standard) for n in both}, False


def _inherited(root: Path, path: Path, name: BidsName, ending: str) -> list[Path]:
    """Files from the root down that apply to a file: same suffix, no other entity."""
    folders = [p for p in (path.parent, *path.parent.parents) if p.is_relative_to(root)]
    return [
        found
        for folder in reversed(folders)
        for found, own in _sidecars(folder, ending, folder.stat().st_mtime_ns)
        if own.suffix == name.suffix and own.entities.items() <= name.entities.items()
    ]


@functools.lru_cache(maxsize=4096)
def _sidecars(
    folder: Path, ending: str, _changed: int
) -> tuple[tuple[Path, BidsName], ...]:
    """Files of a folder that say something of others, the more special ones last."""
    named = [
        (path, parse_name(path.stem)) for path in sorted(folder.glob(f"*{ending}"))
    ]
    known = [(path, name) for path, name in named if name is not None and name.suffix]
    return tuple(sorted(known, key=lambda own: len(own[1].entities)))


def _json_of(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds no JSON object")
    return content


def _table_of(path: Path) -> dict[str, int]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    found: dict[str, int] = {}
    for row in rows:
        try:
            index = int(row["index"])
            names = [row["name"], row.get("abbreviation") or ""]
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                f"{path}: a table of labels has a column index of whole numbers and a "
                "column name"
            ) from None
        found |= {name.strip().lower(): index for name in names if name}
    return found
