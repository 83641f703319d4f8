"""Softmax files of nnU-Net: `CASE.npz`, its `CASE.pkl`, and the segmentation beside.

The array is `[class, z, y, x]` of the grid that nnU-Net's reader saw, which is the file's
own storage order with x fastest: voxels are taken as they lie. Where that reader had
turned the image to RAS, the voxels are turned back to the segmentation's own order, by
whole voxels. Version 1 (`softmax`, cropped) has its crop undone: background outside.
"""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from coverax.volumes.grid import Grid, check_same_grid
from coverax.volumes.nifti import (
    Buffer,
    NiftiFile,
    check_channels,
    read_header,
    read_voxels,
)
from coverax.volumes.npz import NpzArray, read_npz_header, read_npz_rows
from coverax.volumes.orient import Turn, find_turn
from coverax.volumes.pickles import plain, read_plain_pickle
from coverax.volumes.region import Region

KEYS = ("probabilities", "softmax")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A segmentation may lack what postprocessing took away; what it has must be the map's.
_LEAST_AGREEMENT = 0.99


@dataclass(frozen=True, slots=True)
class Dataset:
    """What `dataset.json` says of the channels of a model.

    Attributes:
        path: The file.
        regions: The structures, each with its channel and its labels in a reference.
        is_regions: Whether channels are sigmoids of regions that may overlap; else they
            are a softmax whose channel is the label.
        n_channels: Channels that a map of this model has.
        class_order: Of a region model, the label that each channel paints.
        ignore_label: Label of voxels that do not count.
    """

    path: Path
    regions: tuple[Region, ...]
    is_regions: bool
    n_channels: int
    class_order: tuple[int, ...] = ()
    ignore_label: int | None = None


def find_dataset(folder: Path) -> Dataset | None:
    """The `dataset.json` of a folder of results, or up to two levels above it."""
    for place in (folder, *folder.resolve().parents[:2]):
        path = place / "dataset.json"
        if path.is_file():
            return _read_dataset(path, path.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _read_dataset(path: Path, _changed: int) -> Dataset:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = dict(content["labels"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: not a dataset.json of nnU-Net ({error!r})") from None
    ignore = labels.pop("ignore", None)
    labels = {k: v for k, v in labels.items() if k != "background" and v != 0}
    is_regions = any(isinstance(v, list) and len(v) > 1 for v in labels.values())
    try:
        values = {
            name: tuple(int(x) for x in (v if isinstance(v, list) else [v]))
            for name, v in labels.items()
        }
        order = tuple(int(x) for x in content.get("regions_class_order") or ())
        ignored = None if ignore is None else int(ignore)
    except (TypeError, ValueError):
        raise ValueError(
            f"{path}: labels must be whole numbers or lists of them"
        ) from None
    if not is_regions:
        regions = tuple(
            Region(name, (value[0],), value)
            for name, value in sorted(values.items(), key=lambda item: item[1])
        )
        n_channels = 1 + max((r.channels[0] for r in regions), default=0)
        return Dataset(path, regions, False, n_channels, ignore_label=ignored)
    if len(order) != len(values):
        raise ValueError(
            f"{path}: a model of regions needs regions_class_order with one label for "
            f"each of its {len(values)} regions, got {len(order)}"
        )
    regions = tuple(
        Region(name, (channel,), value)
        for channel, (name, value) in enumerate(values.items())
    )
    return Dataset(path, regions, True, len(regions), order, ignored)


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
    checked = found.segmentation is not None
    rows = read_npz_rows(found.array, every if checked else wanted, buffer)
    if rows.dtype != np.float64:
        rows = rows.astype(np.float32, copy=False)  # float16 is exact in it
    elif not rows.dtype.isnative:
        rows = rows.astype(np.float64)
    rows = _placed(rows, found, every if checked else wanted)
    if checked:
        _check_segmentation(rows, found)
        rows = rows if wanted == every else rows[wanted]
    return found.file, rows


def _described(path: Path) -> _Map:
    array = read_npz_header(path, KEYS)
    shape = array.shape
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ValueError(f"{path}: expected axes class, z, y, x, got shape {shape}")
    properties = _properties(path)
    crop, full = _crop(path, array, properties)
    seen_shape = (*full[::-1], 1)[:3]
    grid = _grid_of(path, properties, seen_shape)
    segmentation = _segmentation(path)
    target, header = grid, None
    if segmentation is not None and segmentation.name.endswith((".nii", ".nii.gz")):
        beside = read_header(segmentation)
        target, header = beside.grid, beside.header
    elif grid is None:
        raise ValueError(
            f"{path}: nothing says where its voxels lie: {path.stem}.pkl holds no "
            "geometry, and no segmentation lies beside it"
        )
    if grid is None:  # merged predictions once kept no properties
        grid = Grid(seen_shape, target.affine)
    turn = find_turn(grid, target)
    if turn is None:
        check_same_grid(grid, path, target, segmentation or path)
        turn = Turn((0, 1, 2), (False, False, False))
    file = NiftiFile(path, _header(header, target, shape[0]), target, shape[0], True)
    return _Map(array, file, turn, crop, full, segmentation)


def _header(
    like: nib.Nifti1Header | None, grid: Grid, n_channels: int
) -> nib.Nifti1Header:
    """The header of the segmentation, or a new one on the grid, for these channels."""
    header = nib.Nifti1Header() if like is None else like.copy()
    header.set_data_dtype(np.float32)
    header.set_data_shape((*(*grid.shape, 1)[:3], n_channels))
    header.set_slope_inter(1, 0)
    if like is None:
        header.set_xyzt_units("mm")
        header.set_sform(grid.affine, code=1)
        header.set_qform(grid.affine, code=1, strip_shears=True)
    return header


def _properties(path: Path) -> dict[str, Any] | None:
    """The dictionary of `CASE.pkl`; None where it is missing or holds an array."""
    beside = path.with_suffix(".pkl")
    if not beside.is_file():
        return None
    content = read_plain_pickle(beside)
    return content if isinstance(content, dict) else None


def _segmentation(path: Path) -> Path | None:
    stem = path.name.removesuffix(path.suffix)
    for suffix in (".nii.gz", ".nii", ".mha", ".nrrd"):
        beside = path.with_name(stem + suffix)
        if beside.is_file():
            return beside
    return None


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
            f"{path.with_suffix('.pkl')}: geometry not understood ({error!r})"
        ) from None
    if affine is None:
        return None
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise ValueError(f"{path.with_suffix('.pkl')}: the affine is not finite")
    if np.linalg.det(affine[:3, :3]) == 0:
        raise ValueError(f"{path.with_suffix('.pkl')}: the affine is singular")
    return Grid(shape, affine)


def _affine_of(properties: dict[str, Any]) -> np.ndarray | None:
    if "sitk_stuff" in properties:
        stuff = properties["sitk_stuff"]
        spacing, origin, direction = (
            np.array(plain(stuff[k]), np.float64)
            for k in ("spacing", "origin", "direction")
        )
        n = spacing.size
        affine = np.eye(4)
        affine[:n, :n] = direction.reshape(n, n) * spacing
        affine[:n, 3] = origin
        return _LPS_TO_RAS @ affine
    if "nibabel_stuff" in properties:
        stuff = properties["nibabel_stuff"]
        key = "reoriented_affine" if "reoriented_affine" in stuff else "original_affine"
        return np.array(plain(stuff[key]), np.float64)
    if "itk_spacing" in properties:  # version 1
        spacing, origin, direction = (
            np.array(plain(properties[k]), np.float64)
            for k in ("itk_spacing", "itk_origin", "itk_direction")
        )
        affine = np.eye(4)
        affine[:3, :3] = direction.reshape(3, 3) * spacing
        affine[:3, 3] = origin
        return _LPS_TO_RAS @ affine
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
            f"{path.with_suffix('.pkl')}: crop not understood ({error!r})"
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
    shape = (*found.full[::-1], 1)[:3]
    turned = [
        found.turn.apply(row.reshape(shape, order="F")).reshape(-1, order="F")
        for row in rows
    ]
    return np.stack(turned)


def segment(rows: np.ndarray, dataset: Dataset | None) -> np.ndarray:
    """The segmentation that nnU-Net makes of a map: `[channels, voxels]` to labels."""
    if dataset is not None and dataset.is_regions:
        labels = np.zeros(rows.shape[1], np.uint8)
        for row, label in zip(rows, dataset.class_order, strict=True):
            labels[row > 0.5] = label
        return labels
    best = rows[0].copy()
    labels = np.zeros(rows.shape[1], np.uint8)
    for channel in range(1, len(rows)):
        wins = rows[channel] > best
        np.copyto(best, rows[channel], where=wins)
        labels[wins] = channel
    return labels


def _check_segmentation(rows: np.ndarray, found: _Map) -> None:
    """Refuse a map whose labels fit the segmentation beside it with other axes only.

    Raises:
        ValueError: They do.
    """
    beside = found.segmentation
    if beside is None or not beside.name.endswith((".nii", ".nii.gz")):
        return
    dataset = find_dataset(found.file.path.parent)
    if dataset is not None and dataset.n_channels != len(rows):
        raise ValueError(
            f"{found.file.path}: has {len(rows)} channels, {dataset.path} speaks of "
            f"{dataset.n_channels}"
        )
    _, stored = read_voxels(beside)
    theirs = stored[0]
    mine = segment(rows, dataset)
    marked = np.flatnonzero(theirs)
    if not marked.size or _agreement(mine, theirs, marked) >= _LEAST_AGREEMENT:
        return
    better = _better_turn(mine, theirs, marked, (*found.file.grid.shape, 1)[:3])
    if better is not None:
        raise ValueError(
            f"{found.file.path}: its argmax fits {beside.name} with the axes {better} and "
            "not as they are written: axes were exchanged or turned; export the map again"
        )


def _agreement(mine: np.ndarray, theirs: np.ndarray, marked: np.ndarray) -> float:
    return float(np.count_nonzero(mine[marked] == theirs[marked]) / marked.size)


def _better_turn(
    mine: np.ndarray, theirs: np.ndarray, marked: np.ndarray, shape: tuple[int, ...]
) -> Turn | None:
    """The signed permutation of axes that fits clearly better, if there is one."""
    volume = mine.reshape(shape, order="F")
    now = _agreement(mine, theirs, marked)
    best: tuple[float, Turn | None] = (now + (1 - now) / 2, None)
    for axes in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            turn = Turn(axes, flips)  # pyright: ignore[reportArgumentType]
            turned = turn.apply(volume)
            # An array written with exchanged axes keeps its bytes, not its shape.
            if turned.shape != tuple(shape):
                turned = turned.reshape(shape, order="F")
            share = _agreement(turned.reshape(-1, order="F"), theirs, marked)
            if share > best[0]:
                best = (share, turn)
    return best[1]
