"""Softmax files of nnU-Net: `CASE.npz`, its `CASE.pkl`, and the segmentation beside.

The array is `[class, z, y, x]` of the grid that nnU-Net's reader saw, which is the file's
own storage order with x fastest: voxels are taken as they lie. Where that reader had
turned the image to RAS, the voxels are turned back to the segmentation's own order, by
whole voxels. Version 1 (`softmax`, cropped) has its crop undone: background outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from coverax.files import one_line
from coverax.volumes import itk, png
from coverax.volumes.grid import Grid, Origin
from coverax.volumes.header import NiftiFile, check_affine, new_header
from coverax.volumes.nifti import Buffer, check_channels
from coverax.volumes.nnunet_dataset import find_dataset
from coverax.volumes.nnunet_segmentation import (
    check_segmentation,
    find_segmentation,
    read_segmentation_header,
    say_unread,
)
from coverax.volumes.npz import NpzArray, read_npz_header, read_npz_rows
from coverax.volumes.orient import Turn, turn_between
from coverax.volumes.pickles import plain, read_plain_pickle
from coverax.volumes.same_grid import three_axes

KEYS = ("probabilities", "softmax")
_ITK_KEYS = ("spacing", "origin", "direction")


@dataclass(frozen=True, slots=True)
class _Map:
    """An npz map and where its voxels lie.

    Attributes:
        array: The array in its archive.
        file: The map as it is handed on: its grid is the segmentation's own order.
        turn: From the array's grid to the file's.
        crop: Of a version 1 map, where the array lies in the full image: (z, y, x).
        full: The full image of such a map, (z, y, x).
        segmentation: The file beside it, where there is one.
    """

    array: NpzArray
    file: NiftiFile
    turn: Turn
    crop: tuple[slice, ...] | None
    full: tuple[int, ...]
    segmentation: Path | None


def read_npz_file(path: Path) -> NiftiFile:
    """The header of a map, as if it had been NIfTI.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The archive, its `.pkl` or the segmentation beside it is unsound, or
            nothing says where its voxels lie.
    """
    return _described(path).file


def read_npz_voxels(
    path: Path,
    *,
    channels: Sequence[int] | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> tuple[NiftiFile, np.ndarray]:
    """Values of a map as `[channels, voxels]`, x fastest; as `read_voxels` of NIfTI.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As of `read_npz_file`; a channel is not there, or the argmax of the
            map fits the segmentation beside it better with other axes.
    """
    found = _described(path)
    check_header(found.file)
    wanted = list(range(found.file.n_channels) if channels is None else channels)
    check_channels(found.file, wanted)
    every = list(range(found.array.shape[0]))
    read = every if found.segmentation else wanted
    rows = read_npz_rows(found.array, read, buffer)
    if rows.dtype != np.float64:
        rows = rows.astype(np.float32, copy=False)  # float16 is exact in it
    elif not rows.dtype.isnative:
        rows = rows.astype(np.float64)
    rows = _placed(rows, found, read)
    if found.segmentation is not None:
        dataset = find_dataset(path.parent)
        check_segmentation(rows, found.file, found.segmentation, dataset)
        rows = rows if wanted == every else rows[wanted]
    return found.file, rows


def files_beside(path: Path) -> tuple[Path, ...]:
    """The files beside a map that say where its voxels lie."""
    pickled, segmentation = path.with_suffix(".pkl"), find_segmentation(path)
    return (pickled, *([segmentation] if segmentation else []))


def _described(path: Path) -> _Map:
    array = read_npz_header(path, KEYS)
    if len(array.shape) not in (3, 4) or min(array.shape) < 1:
        raise ValueError(f"{path}: expected axes class, z, y, x, got {array.shape}")
    properties = _properties(path)
    crop, full = _crop(path, array, properties)
    seen = _grid_of(path, properties, three_axes(full[::-1]))
    segmentation = find_segmentation(path)
    beside = _header_beside(segmentation, needed=seen is None)
    target = beside.grid if beside else seen
    x, y, z = three_axes(full[::-1])
    if target is None and properties is not None and z == 1:
        # A picture, which has no place: its reader keeps a spacing of pixels alone.
        beside = png.bare_file(path, (x, y), np.dtype(np.float32))
        target = beside.grid
    if target is None:
        raise ValueError(
            f"{path}: nothing says where its voxels lie: {path.stem}.pkl is missing or "
            "holds no geometry, and no segmentation lies beside it"
        )
    n = array.shape[0]
    origin = Origin(path, (*target.shape, n))
    if seen is None:  # merged predictions once kept no properties, pictures have none
        seen = _as_stored(path, full, target)
        if target.origin is not None:
            origin = target.origin._replace(path=path, axes=origin.axes)
    turn = turn_between(seen, path, target, segmentation or path)
    own = Grid(target.shape, target.affine, origin)
    header = new_header(own, np.dtype(np.float32), n, _nifti_header(beside))
    file = NiftiFile(path, header, own, n, n > 1)
    return _Map(array, file, turn, crop, full, segmentation if beside else None)


def _header_beside(segmentation: Path | None, *, needed: bool) -> NiftiFile | None:
    """The header of the segmentation; None where there is none.

    Without SimpleITK a file that needs it is left alone, where the properties say
    enough.
    """
    if segmentation is None:
        return None
    if segmentation.suffix in itk.SUFFIXES and not needed and not itk.is_there():
        say_unread(segmentation)
        return None
    return read_segmentation_header(segmentation)


def _nifti_header(beside: NiftiFile | None) -> nib.Nifti1Header | None:
    return None if beside is None else beside.header


def _as_stored(path: Path, full: tuple[int, ...], target: Grid) -> Grid:
    """The grid of an array of which only the segmentation tells anything.

    Raises:
        ValueError: Their shapes differ.
    """
    own = three_axes(full[::-1])
    if own != three_axes(target.shape):
        exchanged = sorted(own) == sorted(three_axes(target.shape))
        why = (
            "axes were exchanged on the way, and without geometry in the .pkl nothing "
            "says how"
            if exchanged
            else "no order of the axes makes them fit"
        )
        raise ValueError(
            f"{path}: its voxels {full} (z, y, x) are not those of the segmentation "
            f"beside it, {target.shape} (x, y, z): {why}"
        )
    return Grid(own, target.affine)


def _properties(path: Path) -> dict[str, Any] | None:
    """The dictionary of `CASE.pkl`; None where it is missing or holds an array."""
    beside = path.with_suffix(".pkl")
    if not beside.is_file():
        return None
    content = read_plain_pickle(beside)
    return content if isinstance(content, dict) else None


def _grid_of(
    path: Path, properties: dict[str, Any] | None, shape: tuple[int, ...]
) -> Grid | None:
    """The grid that nnU-Net's reader saw, from its properties."""
    if properties is None:
        return None
    try:
        affine = _affine_of(properties)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(
            f"{path.with_suffix('.pkl')}: geometry not understood ({one_line(repr(error))})"
        ) from None
    if affine is None:
        return None
    check_affine(path.with_suffix(".pkl"), affine)
    return Grid(shape, affine)


def _affine_of(properties: dict[str, Any]) -> np.ndarray | None:
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        return itk.itk_affine(*(plain(stuff[k]) for k in _ITK_KEYS))
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        key = "reoriented_affine" if "reoriented_affine" in stuff else "original_affine"
        return np.array(plain(stuff[key]), np.float64)
    if "itk_spacing" in properties:  # version 1
        return itk.itk_affine(*(plain(properties[f"itk_{k}"]) for k in _ITK_KEYS))
    if "spacing" in properties:  # PNG and TIFF know no place, and no millimetres
        return None
    raise ValueError("neither sitk_stuff nor nibabel_stuff")


def _crop(
    path: Path, array: NpzArray, properties: dict[str, Any] | None
) -> tuple[tuple[slice, ...] | None, tuple[int, ...]]:
    """Where a version 1 array lies in its image, and the shape of the image."""
    own = array.shape[1:]
    if array.key != "softmax" or not properties or "crop_bbox" not in properties:
        return None, own
    try:
        box = [tuple(int(x) for x in plain(pair)) for pair in properties["crop_bbox"]]
        full = tuple(int(n) for n in plain(properties["original_size_of_raw_data"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path.with_suffix('.pkl')}: crop not understood ({one_line(repr(error))})"
        ) from None
    places = tuple(slice(low, high) for low, high in box)
    fits = len(full) == len(own) == len(box) and all(
        low >= 0 and high <= n and high - low == m
        for (low, high), n, m in zip(box, full, own, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{path}: an array of {own} does not fill the crop {box} of an image of {full}"
        )
    return places, full


def _placed(rows: np.ndarray, found: _Map, channels: Sequence[int]) -> np.ndarray:
    """Rows on the grid of the file: the crop undone, the axes turned."""
    if found.crop is not None:
        own = found.array.shape[1:]
        whole = np.zeros((len(rows), *found.full), rows.dtype)
        whole[[channel == 0 for channel in channels]] = 1  # background outside
        whole[(slice(None), *found.crop)] = rows.reshape(-1, *own)
        rows = whole.reshape(len(rows), -1)
    if found.turn.is_identity:
        return rows
    shape = three_axes(found.full[::-1])
    turned = [
        found.turn.apply(row.reshape(shape, order="F")).reshape(-1, order="F")
        for row in rows
    ]
    return np.stack(turned)
