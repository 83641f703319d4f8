"""From files to what the net sees: one grid, one scale of intensities, class indices."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

from coverax.checks import normal_form
from coverax.files import PathLike
from coverax.train import resample
from coverax.train.cache import cache_key, cached
from coverax.train.config import DataConfig
from coverax.train.references import read_classes
from coverax.volumes import (
    NiftiFile,
    Turn,
    check_maps_differ,
    check_same_grid,
    file_stem,
    name_hint,
    nifti_files,
    orientation_of,
    read_header,
    read_voxels,
    turn_to,
)

UNTURNED = Turn((0, 1, 2), (False, False, False))


class CaseFiles(NamedTuple):
    """Image and reference of a case."""

    image: Path
    labels: Path | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """One case as the net sees it.

    Attributes:
        case_id: Name of the case.
        image: Intensities, in the file's order of axes, or the config's orientation.
        labels: Index of the class of each voxel, -1 where it is to be ignored; None for a
            case without reference.
        file: Header of the image, whose grid the maps return to; None for arrays.
        spacing_mm: Voxel edges of arrays; None where the file has them.
        turn: From the file's order of axes to the image's.
    """

    case_id: str
    image: Float[np.ndarray, "x y z channels"]
    labels: Integer[np.ndarray, "x y z"] | None
    file: NiftiFile | None
    spacing_mm: tuple[float, ...] | None = None
    turn: Turn = UNTURNED

    @property
    def edges_mm(self) -> tuple[float, ...]:
        """Voxel edges along x, y and z."""
        if self.file is None:
            return (1.0, 1.0, 1.0) if self.spacing_mm is None else self.spacing_mm
        grid = self.file.grid
        edges = (*grid.spacing_mm, grid.edges_mm[2])[:3]
        return tuple(edges[axis] for axis in self.turn.axes)

    @property
    def header(self) -> NiftiFile:
        """Header of the image.

        Raises:
            ValueError: The case is of arrays.
        """
        if self.file is None:
            raise ValueError(f"case {self.case_id} has no file")
        return self.file

    @property
    def has_foreground(self) -> bool:
        """Whether a voxel of the reference is no background."""
        return self.labels is not None and bool((self.labels > 0).any())


def find_cases(config: DataConfig) -> dict[str, CaseFiles]:
    """Pair images with references by stem, sorted by name.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: Files have no partner and `allow_missing` is not set, or none has.
    """
    images = image_files(config.images, config)
    labels = nifti_files(config.labels)
    check_maps_differ(images.items(), f"{config.images}")
    both = sorted(images.keys() & labels.keys())
    hint = name_hint(
        images.keys() - labels.keys(),
        labels.keys() - images.keys(),
        ("the images", "the references"),
    )
    if not both:
        raise ValueError(
            f"no image of {config.images} has a reference in {config.labels}{hint}"
        )
    lonely = {
        "images without a reference": sorted(images.keys() - labels.keys()),
        "references without an image": sorted(labels.keys() - images.keys()),
    }
    named = [f"{what}: {', '.join(ids)}" for what, ids in lonely.items() if ids]
    if named and not config.allow_missing:
        raise ValueError(
            f"{'; '.join(named)} (folders {config.images} and {config.labels}; "
            f"data.allow_missing = true leaves them out){hint}"
        )
    return {i: CaseFiles(images[i], labels[i]) for i in both}


def image_files(folder: PathLike, config: DataConfig) -> dict[str, Path]:
    """Case id to image in a folder; with `config.channel_files` its first channel.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: A channel is missing, or a name tells none.
    """
    files = nifti_files(folder)
    if not config.channel_files:
        return files
    numbers = [_number(i) for i in range(config.channels)]
    for stem, path in files.items():
        if not stem.endswith(tuple(numbers)) or stem in numbers:
            raise ValueError(
                f"{path}: data.channel_files takes CASE{numbers[0]} to CASE{numbers[-1]}"
            )
    names = sorted({stem[: -len(numbers[0])] for stem in files})
    for name in names:
        wanted = {name + number for number in numbers}
        if lost := sorted(wanted - files.keys()):
            raise ValueError(f"{folder}: no channel {lost[0]} of case {name}")
    return {name: files[name + numbers[0]] for name in names}


def channel_paths(path: Path, config: DataConfig) -> list[Path]:
    """The files of an image, by that of its first channel."""
    stem = file_stem(path) or path.name
    if not config.channel_files:
        return [path]
    name, suffix = stem.removesuffix(_number(0)), path.name[len(stem) :]
    return [
        path.with_name(f"{name}{_number(i)}{suffix}") for i in range(config.channels)
    ]


def _number(channel: int) -> str:
    """What ends the name of a channel's file."""
    return f"_{channel:04d}"


def prepare_case(
    image_path: PathLike, label_path: PathLike | None, config: DataConfig
) -> Prepared:
    """Read a case, bring it to the net's spacing, scale its intensities.

    A case without foreground is allowed: patches of it are drawn anywhere. With
    `config.cache` the arrays of a case with reference are kept there and memory-mapped.

    Raises:
        FileNotFoundError: A file is missing.
        GridMismatchError: Image and reference lie on different grids.
        ValueError: A file is damaged; the image is not finite, constant or has another
            number of channels; or the reference holds a value that the config does not
            name.
    """
    image_path = Path(image_path)
    label_path = None if label_path is None else Path(label_path)
    case_id = normal_form(file_stem(image_path) or image_path.name)
    if config.channel_files:
        case_id = case_id.removesuffix(_number(0))
    file = read_header(image_path)
    if config.cache is None or label_path is None:
        image, labels = _compute(image_path, label_path, config)
    else:
        key = cache_key(config, *channel_paths(image_path, config), label_path)
        compute = partial(_compute, image_path, label_path, config)
        image, labels = cached(config.cache, case_id, key, compute)
    return Prepared(case_id, image, labels, file, turn=_turn(file, config))


def _turn(file: NiftiFile, config: DataConfig) -> Turn:
    """From the file's order of axes to the config's orientation."""
    if config.orientation is None or len(file.grid.shape) < 3:
        return UNTURNED
    return turn_to(file.grid, config.orientation)


def orientations(cases: Sequence[Prepared]) -> dict[str, int]:
    """How many volumes run which way, as `RAS`, the most frequent first."""
    files = [case.file for case in cases if case.file is not None]
    found = Counter(orientation_of(f.grid) for f in files if len(f.grid.shape) == 3)
    return dict(found.most_common())


def present_classes(
    image_path: Path, label_path: Path | None, config: DataConfig
) -> Bool[np.ndarray, " classes"]:
    """Which classes the reference of a case has; of its image the header is read alone.

    Raises:
        FileNotFoundError, GridMismatchError, ValueError: As of `prepare_case`.
    """
    file = read_header(image_path)
    _check_channels(file, config)
    if label_path is None:
        return np.zeros(len(config.classes), bool)
    labels = read_classes(label_path, config, file)
    return np.array([(labels == i).any() for i in range(len(config.classes))])


def _compute(
    image_path: Path, label_path: Path | None, config: DataConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and labels on the net's grid."""
    file, image = _read_image(image_path, config)
    labels = None
    if label_path is not None:
        labels = _as_volumes(read_classes(label_path, config, file), file)[0]
    turn = _turn(file, config)
    image = turn.apply(image)
    labels = None if labels is None else turn.apply(labels)
    if config.spacing_mm is not None:
        file.grid.check_sizes()
        edges = (*file.grid.spacing_mm, file.grid.edges_mm[2])[:3]
        spacing = tuple(edges[axis] for axis in turn.axes)
        shape = resample.resampled_shape(image.shape[:3], spacing, config.spacing_mm)
        image = resample.resample_image(image, shape)
        if labels is not None:
            labels = resample.resample_labels(labels, shape, len(config.classes))
    return scaled(image, config, image_path), labels


def _read_image(path: Path, config: DataConfig) -> tuple[NiftiFile, np.ndarray]:
    """Intensities `[x, y, z, channels]`, float32; a slice has one voxel along z."""
    read = [_read_intensities(p, config) for p in channel_paths(path, config)]
    first = read[0][0]
    for file, _ in read[1:]:
        check_same_grid(first.grid, first.path, file.grid, file.path)
    return first, np.concatenate([image for _, image in read], axis=-1)


def _read_intensities(path: Path, config: DataConfig) -> tuple[NiftiFile, np.ndarray]:
    """Of one file."""
    file, stored = read_voxels(path)
    _check_channels(file, config)
    slope, intercept = file.scale
    values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: the image holds values that are not finite")
    return file, np.moveaxis(_as_volumes(values, file), 0, -1)


def _check_channels(file: NiftiFile, config: DataConfig) -> None:
    channels = 1 if config.channel_files else config.channels
    if file.n_channels != channels:
        raise ValueError(
            f"{file.path}: {file.n_channels} channels where data.channels is {channels}"
        )


def _as_volumes(flat: np.ndarray, file: NiftiFile) -> np.ndarray:
    """Flat rows in storage order (x fastest) as `[rows, x, y, z]`."""
    x, y, z = (*file.grid.shape, 1)[:3]
    return flat.reshape(-1, z, y, x).transpose(0, 3, 2, 1)


def scaled(
    image: Float[np.ndarray, "x y z channels"], config: DataConfig, path: Path | str
) -> Float[np.ndarray, "x y z channels"]:
    """Intensities by the config's rule, each channel on its own; `path` names it."""
    if config.window is not None:
        low, high = config.window
        image = np.clip(image, low, high)
        middle, scale = np.float64((low + high) / 2), np.float64((high - low) / 2)
    else:
        voxels = image.reshape(-1, image.shape[-1])
        middle, scale = (
            voxels.mean(axis=0, dtype=np.float64),
            voxels.std(axis=0, dtype=np.float64),
        )
        if not scale.all():
            raise ValueError(
                f"{path}: the image is constant; nothing is left to see after z-scoring"
            )
    return np.ascontiguousarray(((image - middle) / scale).astype(np.float32))
