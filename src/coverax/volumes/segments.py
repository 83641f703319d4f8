"""Segments of 3D Slicer (`.seg.nrrd`) as references: found by name, layers kept apart."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt

from coverax.files import PathLike
from coverax.table.region import Region
from coverax.volumes import itk
from coverax.volumes.formats import SEGMENTS, file_suffix
from coverax.volumes.header import NiftiFile
from coverax.volumes.names import some_names
from coverax.volumes.nifti import Buffer
from coverax.volumes.orient import Placing, Turn, find_placing
from coverax.volumes.same_grid import GridMismatchError, check_same_grid

MOST_REGIONS = 64  # one bit each
_WAY_OUT = "name regions as segments, --region NAME=CHANNEL:1"
_KEY = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


class Segment(NamedTuple):
    """One segment of a file.

    Attributes:
        name: As the user has called it.
        layer: Entry of the list axis that holds it.
        value: Its label there.
    """

    name: str
    layer: int
    value: int


class Segments(NamedTuple):
    """Which voxels belong to which region; several regions may share a voxel.

    Attributes:
        bits: Of each voxel, bit k for region k; flat, x fastest.
        file: The header.
        others: Names of segments that belong to no region.
    """

    bits: UInt[np.ndarray, " voxels"]
    file: NiftiFile
    others: list[str]


def has_segments(path: PathLike) -> bool:
    """Whether a file names segments: else it holds plain labels, whatever its suffix."""
    path = Path(path)
    return file_suffix(path) == SEGMENTS and any(
        _KEY.fullmatch(key) for key in itk.read_metadata(path)
    )


def read_segments(
    path: PathLike,
    regions: Sequence[Region],
    *,
    buffer: Buffer | None = None,
    way_out: str = _WAY_OUT,
) -> Segments:
    """Read the segments that are called as the regions are.

    A region is the segment of its name, whatever labels its spec has; letter case, and
    signs that the name of a region cannot have, do not count. Without a segment of that
    name a region of `any` label is all segments, and the one region of a file with one
    segment is that one if nobody has named it (`foreground`).

    Args:
        path: A file with segments.
        regions: What to look for, at most `MOST_REGIONS`.
        buffer: As of `read_voxels`.
        way_out: What to do where a name is not found, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: SimpleITK is missing, the file is damaged, or no segment has the name
            of a region, or several have.
    """
    path = Path(path)
    if len(regions) > MOST_REGIONS:
        raise ValueError(f"{path}: at most {MOST_REGIONS} regions of segments are read")
    file, layers = itk.read_voxels(path, buffer=buffer)
    segments = _segments_of(path, file.n_channels)
    wanted = [_found(path, segments, r, len(regions), way_out) for r in regions]
    kind = np.uint8 if len(regions) <= 8 else np.uint64
    bits = np.zeros(layers.shape[1], kind)
    for place, own in enumerate(wanted):
        mask = np.zeros(layers.shape[1], bool)
        for segment in own:
            mask |= layers[segment.layer] == segment.value
        bits |= mask.astype(kind) << kind(place)
    return Segments(bits, file, _unclaimed(segments, wanted))


def check_exclusive(found: Segments, regions: Sequence[Region]) -> None:
    """Refuse segments that overlap where a voxel may lie in one region alone.

    Raises:
        ValueError: Two share voxels.
    """
    shared = found.bits[(found.bits & (found.bits - 1)) != 0]
    if not shared.size:
        return
    first = int(shared[0])
    a, b = [k for k in range(len(regions)) if first >> k & 1][:2]
    pair = shared.dtype.type((1 << a) | (1 << b))
    raise ValueError(
        f"{found.file.path}: segments {regions[a].name} and {regions[b].name} share "
        f"{int(((shared & pair) == pair).sum())} voxels, but classes exclude each other: "
        "a voxel may lie in one of them"
    )


def other_segments(path: PathLike, regions: Sequence[Region]) -> list[str]:
    """Names of segments that belong to no region, of the header alone.

    Raises:
        FileNotFoundError, ValueError: As of `read_segments`.
    """
    path = Path(path)
    segments = _segments_of(path, itk.read_header(path).n_channels)
    wanted = [_found(path, segments, r, len(regions), _WAY_OUT) for r in regions]
    return _unclaimed(segments, wanted)


def _unclaimed(
    segments: Sequence[Segment], wanted: Sequence[Sequence[Segment]]
) -> list[str]:
    claimed = {segment for own in wanted for segment in own}
    return [s.name for s in segments if s not in claimed]


def placing_of(file: NiftiFile, onto: NiftiFile) -> Placing:
    """How segments are set into another volume, by the headers.

    Raises:
        GridMismatchError: No whole voxels lead from one grid to the other.
    """
    placing = find_placing(file.grid, onto.grid)
    if placing is None:
        check_same_grid(onto.grid, onto.path, file.grid, file.path)  # says why
        raise GridMismatchError(
            f"{file.path} is not stored on voxels of {onto.path}: resample it"
        )
    return placing


def place_segments(
    bits: np.ndarray, file: NiftiFile, onto: NiftiFile
) -> tuple[np.ndarray, Turn]:
    """Bits of segments on the grid of another volume, by whole voxels.

    A file of segments is stored as far as they reach: around it nothing is marked.

    Returns:
        The bits, and how axes were turned.

    Raises:
        GridMismatchError: No whole voxels lead from one grid to the other, or segments
            reach beyond the other one.
    """
    placing = placing_of(file, onto)
    placed, n_lost = placing.apply_flat(bits, file.grid, onto.grid)
    if n_lost:
        raise GridMismatchError(
            f"{file.path}: {n_lost} voxels of its segments lie outside {onto.path}"
        )
    return placed, placing.turn


def _segments_of(path: Path, n_layers: int) -> list[Segment]:
    """The segments that the header names, in its order.

    Files of before layers were shared have one segment a layer, of label 1.
    """
    said: dict[int, dict[str, str]] = {}
    for key, value in itk.read_metadata(path).items():
        if match := _KEY.fullmatch(key):
            said.setdefault(int(match[1]), {})[match[2]] = value.strip()
    segments = []
    for number, own in sorted(said.items()):
        layer = number if len(said) == n_layers else 0
        try:
            layer = int(own.get("Layer", layer))
            value = int(own.get("LabelValue", 1))
        except ValueError:
            layer, value = -1, 0
        if not 0 <= layer < n_layers or value == 0:
            raise ValueError(
                f"{path}: its header gives segment {number} a layer or label that it "
                "cannot have"
            )
        segments.append(Segment(own.get("Name") or f"Segment{number}", layer, value))
    return segments


def _found(
    path: Path,
    segments: Sequence[Segment],
    region: Region,
    n_regions: int,
    way_out: str,
) -> list[Segment]:
    same = [s for s in segments if _plain(s.name) == _plain(region.name)]
    if len(same) == 1:
        return same
    if not same and not region.labels:
        return list(segments)
    if not same and n_regions == len(segments) == 1 and region.name == "foreground":
        return list(segments)
    what = f"{len(same)} segments are" if same else "no segment is"
    names = some_names((repr(s.name) for s in segments), 10)
    raise ValueError(f"{path}: {what} called {region.name}; it has {names}: {way_out}")


def _plain(name: str) -> str:
    return _NOT_IN_NAMES.sub("_", name).casefold()
