"""Scans to draw on: found by name, and only on the grid of what is drawn."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax.files import PathLike, one_line
from coverax.volumes import png
from coverax.volumes.folders import name_hint, nifti_files
from coverax.volumes.formats import PICTURES, file_suffix, read_header, read_voxels
from coverax.volumes.grid import Grid
from coverax.volumes.header import NiftiFile
from coverax.volumes.orient import turn_between
from coverax.volumes.same_grid import three_axes
from coverax.volumes.segments import has_segments, placing_of

# How nnU-Net calls the first channel of a scan.
_FIRST_CHANNEL = "_0000"


class Found(NamedTuple):
    """Files of the cases of a folder.

    Attributes:
        files: By case id.
        missing: Why a case has none, by case id.
    """

    files: dict[str, Path]
    missing: dict[str, str]


def find_scans(
    targets: Mapping[str, PathLike], folder: PathLike, what: str = "scan"
) -> Found:
    """The scan of every case, `CASE` or `CASE_0000`, on the grid of its map or mask.

    Only headers are read. Axes may be stored in another order or the other way round:
    that is turned back by whole voxels; of segments, stored as far as they reach, it is
    enough that they lie on the same lattice.

    Args:
        targets: Case id to the map or mask whose grid counts.
        folder: Of scans in any format; pictures may have colours.
        what: What is looked for, for messages.

    Raises:
        FileNotFoundError: There is no such folder.
        ValueError: It holds no volume, or that of no case.
    """
    files = nifti_files(folder)
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for case_id, target in targets.items():
        path = files.get(case_id, files.get(case_id + _FIRST_CHANNEL))
        try:
            if path is None:
                raise ValueError(
                    f"no {what} in {folder}: expected {case_id} or "
                    f"{case_id}{_FIRST_CHANNEL}"
                )
            onto, header = read_header(target), scan_header(path)
            if has_segments(path):
                placing_of(header, onto)
            else:
                turn_between(header.grid, path, onto.grid, target)
            found[case_id] = path
        except (ValueError, OSError) as error:
            missing[case_id] = one_line(error, 600)
    if missing and not found and not targets.keys() & files.keys():
        hint = name_hint(targets, files, ("the cases", f"the {what}s"))
        missing = {i: why + hint for i, why in missing.items()}
    return Found(found, missing)


def scan_header(path: PathLike) -> NiftiFile:
    """The header of a scan; a picture may have colours.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what its name says.
    """
    path = Path(path)
    if file_suffix(path) == PICTURES:
        return png.read_header(path, colours=True)
    return read_header(path)


class Scan(NamedTuple):
    """The values of a scan on the grid of what is drawn.

    Attributes:
        values: `[x, y, z]`, or `[x, y, z, 3]` of a picture in colours.
        n_channels: Channels of the file, of which the first is there; 1 for colours.
    """

    values: np.ndarray
    n_channels: int


def read_scan(
    path: PathLike, grid: Grid, target: PathLike, channels: tuple[int, ...] = (0,)
) -> Scan:
    """Read a scan in the order of the voxels of another file.

    Args:
        path: The scan, or a map.
        grid: Of what is drawn on it.
        target: The file of that grid, for messages.
        channels: Which are drawn; several are added up, as those of a map.

    Raises:
        FileNotFoundError: There is no such file.
        GridMismatchError: No turn by whole voxels brings one grid onto the other.
        ValueError: It is damaged.
    """
    path = Path(path)
    if file_suffix(path) == PICTURES:
        file, stored = png.read_colours(path)
        n_channels = 1
    else:
        file, stored = read_voxels(path, channels=channels)
        n_channels, scale = file.n_channels, file.scale
        if scale != (1.0, 0.0):
            stored = stored * np.float32(scale[0]) + np.float32(scale[1])
    turn = turn_between(file.grid, path, grid, target)
    volumes = [turn.apply(_volume(row, file.grid)) for row in stored]
    if file_suffix(path) == PICTURES:
        joined = np.stack(volumes, axis=-1) if len(volumes) > 1 else volumes[0]
    else:
        joined = functools.reduce(np.add, volumes)
    return Scan(joined, n_channels)


def _volume(values: np.ndarray, grid: Grid) -> np.ndarray:
    return values.reshape(three_axes(grid.shape), order="F")
