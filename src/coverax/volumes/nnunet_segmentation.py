"""The segmentation beside a softmax of nnU-Net: does the map's own argmax fit it."""

import itertools
import logging
from pathlib import Path

import numpy as np

from coverax.volumes import itk, png
from coverax.volumes.header import NiftiFile
from coverax.volumes.nnunet_dataset import Dataset
from coverax.volumes.orient import Turn
from coverax.volumes.same_grid import three_axes

_log = logging.getLogger("coverax")
# In the order of preference; files that need the extra come last.
SUFFIXES = (".nii.gz", ".nii", *itk.SUFFIXES, png.SUFFIX)
# A segmentation may lack what postprocessing took away; what it has must be the map's.
_LEAST_AGREEMENT = 0.99


def find_segmentation(path: Path) -> Path | None:
    """The segmentation beside a map; None where there is none."""
    stem = path.name[: -len(path.suffix)]
    found = (path.with_name(stem + suffix) for suffix in SUFFIXES)
    return next((beside for beside in found if beside.is_file()), None)


def read_segmentation_header(path: Path) -> NiftiFile:
    """The header of a segmentation; errors as of its format."""
    return _reader(path).read_header(path)


def segment(rows: np.ndarray, dataset: Dataset | None) -> np.ndarray:
    """The segmentation that nnU-Net makes of a map: `[channels, voxels]` to labels.

    Of a softmax the first of the most probable classes; of regions each in its turn
    where it lies strictly above 1/2, later ones over earlier ones.
    """
    if dataset is not None and dataset.is_regions:
        labels = np.zeros(rows.shape[1], np.int64)
        for row, label in zip(rows, dataset.class_order, strict=True):
            labels[row > 0.5] = label
        return labels
    best = rows[0].copy()
    labels = np.zeros(rows.shape[1], np.uint16)
    for channel in range(1, len(rows)):
        wins = rows[channel] > best
        np.copyto(best, rows[channel], where=wins)
        labels[wins] = channel
    return labels


def check_segmentation(
    rows: np.ndarray, file: NiftiFile, beside: Path, dataset: Dataset | None
) -> None:
    """Refuse a map whose labels fit the segmentation beside it with other axes only.

    Where postprocessing took voxels away, or labels differ otherwise, one note a folder
    says so.

    Raises:
        ValueError: They do, or the map has other channels than `dataset.json` names.
    """
    if dataset is not None and dataset.n_channels != len(rows):
        raise ValueError(
            f"{file.path}: has {len(rows)} channels, {dataset.path} speaks of "
            f"{dataset.n_channels}"
        )
    _, stored = _reader(beside).read_voxels(beside)
    theirs = stored[0]
    if theirs.size != rows.shape[1]:  # a file of several labels a voxel
        raise ValueError(f"{beside}: is no segmentation on the grid of {file.path}")
    mine = segment(rows, dataset)
    if np.array_equal(mine, theirs):
        return
    marked = np.flatnonzero(theirs)
    share = _agreement(mine, theirs, marked)
    if share >= _LEAST_AGREEMENT:
        _say_postprocessed(beside.parent, beside.name)
        return
    better = _better_turn(mine, theirs, marked, three_axes(file.grid.shape))
    if better is not None:
        raise ValueError(
            f"{file.path}: its argmax fits {beside.name} with the axes {better} and "
            "not as they are written: axes were exchanged or turned; export the map again"
        )
    _say_different(beside.parent, beside.name, share)


def say_unread(beside: Path) -> None:
    """Say once a folder that its segmentations are not compared with their maps."""
    if _is_first(beside.parent, "unread"):
        _log.warning(
            "%s: %s is not compared with its map: that needs SimpleITK "
            "(pip install 'coverax[itk]')",
            beside.parent,
            beside.name,
        )


def _say_postprocessed(folder: Path, name: str) -> None:
    if _is_first(folder, "postprocessed"):
        _log.warning(
            "%s: %s lacks voxels that its map has (postprocessing): the maps are taken "
            "as they are",
            folder,
            name,
        )


def _say_different(folder: Path, name: str, share: float) -> None:
    if _is_first(folder, "different"):
        _log.warning(
            "%s: %s agrees with the labels of its own map in %.3g %% of its voxels alone: "
            "is it of another model, or of an ensemble of regions?",
            folder,
            name,
            100 * share,
        )


_said: set[tuple[Path, str]] = set()


def _is_first(folder: Path, what: str) -> bool:
    """Whether a folder has not been spoken of in this process."""
    known = (folder, what) in _said
    _said.add((folder, what))
    return not known


def _reader(path: Path):
    """How the registry reads a segmentation."""
    from coverax.volumes.formats import format_of  # which knows this module, too

    return format_of(path)


def _agreement(mine: np.ndarray, theirs: np.ndarray, marked: np.ndarray) -> float:
    """Share of the marked voxels with one label in both; 1 where none is marked."""
    same = np.count_nonzero(mine[marked] == theirs[marked])
    return float(same / marked.size) if marked.size else 1.0


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
