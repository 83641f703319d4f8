"""From a reference to the class of each voxel: label values, or segments by name."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from coverax.files import PathLike
from coverax.table.region import Region
from coverax.train.config import DataConfig
from coverax.volumes import (
    NiftiFile,
    check_exclusive,
    check_same_grid,
    has_segments,
    other_segments,
    place_segments,
    read_labels,
    read_segments,
)


def read_classes(
    path: Path, config: DataConfig, image: NiftiFile
) -> Integer[np.ndarray, " voxels"]:
    """Class index of every voxel of a reference; -1 where it is to be ignored.

    Where the file names segments, a class is the segment of its name, whatever its label
    value, set into the image's grid by whole voxels; what is in none is background.

    Args:
        path: Label map, or segments of 3D Slicer.
        config: Names the classes.
        image: Header of the image.

    Returns:
        On the image's grid, flat, x fastest.

    Raises:
        FileNotFoundError: There is no such file.
        GridMismatchError: Image and reference lie on different grids, or segments reach
            beyond the image.
        ValueError: The file is damaged, holds a label value that the config does not
            name, or has no segment of a class, or segments of two classes overlap.
    """
    if has_segments(path):
        return _segments_as_classes(path, config, image)
    labels, file = read_labels(path)
    check_same_grid(image.grid, image.path, file.grid, path)
    classes, ignore = config.classes, config.ignore_label
    index = np.zeros(labels.shape, _index_type(config))
    known = np.zeros(labels.shape, bool)
    if ignore is not None:
        known = labels == ignore
        index[known] = -1
    for i, value in enumerate(classes.values()):
        found = labels == value
        index[found] = i
        known |= found
    if not known.all():
        unnamed = np.unique(labels[~known])[:5].tolist()
        named = ", ".join(f"{name} {value}" for name, value in classes.items())
        raise ValueError(
            f"{path}: label value {', '.join(map(str, unnamed))} is not in "
            f"data.classes ({named})"
        )
    return index


def unnamed_segments(
    references: Iterable[PathLike | None], config: DataConfig
) -> dict[str, int]:
    """Segments that are no class, and in how many references; by headers alone.

    Raises:
        FileNotFoundError, ValueError: As of `read_classes`.
    """
    found: dict[str, int] = {}
    background = next(iter(config.classes))
    for path in references:
        if path is not None and has_segments(path):
            for name in other_segments(path, _foreground(config)):
                if name.casefold() != background.casefold():
                    found[name] = found.get(name, 0) + 1
    return found


def _segments_as_classes(
    path: Path, config: DataConfig, image: NiftiFile
) -> Integer[np.ndarray, " voxels"]:
    if config.ignore_label is not None:
        raise ValueError(
            f"{path}: has segments, which are found by name: data.ignore_label needs "
            "references of labels"
        )
    regions = _foreground(config)
    found = read_segments(
        path, regions, way_out="name segments as data.classes does, in every file"
    )
    check_exclusive(found, regions)
    bits, _ = place_segments(found.bits, found.file, image)
    index = np.zeros(bits.shape, _index_type(config))
    for place in range(len(regions)):
        index[bits == bits.dtype.type(1 << place)] = place + 1
    return index


def _foreground(config: DataConfig) -> list[Region]:
    """The classes but the background, in their order."""
    named = list(config.classes.items())[1:]
    return [Region(name, (i,), (value,)) for i, (name, value) in enumerate(named, 1)]


def _index_type(config: DataConfig) -> np.dtype[np.signedinteger]:
    return np.min_scalar_type(-len(config.classes))
