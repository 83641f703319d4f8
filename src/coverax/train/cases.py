"""From files to what the net sees: one grid, one scale of intensities, class indices."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from coverax.checks import normal_form
from coverax.files import PathLike
from coverax.train import resample
from coverax.train.cache import cache_key, cached
from coverax.train.config import DataConfig
from coverax.volumes import (
    NiftiFile,
    check_maps_differ,
    check_same_grid,
    file_stem,
    name_hint,
    nifti_files,
    read_header,
    read_labels,
    read_voxels,
)


class CaseFiles(NamedTuple):
    """Image and reference of a case."""

    image: Path
    labels: Path | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """One case as the net sees it.

    Attributes:
        case_id: Name of the case.
        image: Intensities, in the file's order of axes.
        labels: Index of the class of each voxel; None for a case without reference.
        file: Header of the image, whose grid the maps return to.
    """

    case_id: str
    image: Float[np.ndarray, "x y z channels"]
    labels: Integer[np.ndarray, "x y z"] | None
    file: NiftiFile

    @property
    def has_foreground(self) -> bool:
        """Whether a voxel of the reference is no background."""
        return self.labels is not None and bool(self.labels.any())


def find_cases(config: DataConfig) -> dict[str, CaseFiles]:
    """Pair images with references by stem, sorted by name.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: Files have no partner and `allow_missing` is not set, or none has.
    """
    images, labels = nifti_files(config.images), nifti_files(config.labels)
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
    file = read_header(image_path)
    if config.cache is None or label_path is None:
        image, labels = _compute(image_path, label_path, config)
    else:
        key = cache_key(config, image_path, label_path)
        compute = partial(_compute, image_path, label_path, config)
        image, labels = cached(config.cache, case_id, key, compute)
    return Prepared(case_id, image, labels, file)


def _compute(
    image_path: Path, label_path: Path | None, config: DataConfig
) -> tuple[np.ndarray, np.ndarray | None]:
    """Image and labels on the net's grid."""
    file, image = _read_image(image_path, config.channels)
    labels = None
    if label_path is not None:
        labels = _read_classes(label_path, config.classes, file)
    if config.spacing_mm is not None:
        file.grid.check_sizes()
        spacing = (*file.grid.spacing_mm, file.grid.edges_mm[2])[:3]
        shape = resample.resampled_shape(image.shape[:3], spacing, config.spacing_mm)
        image = resample.resample_image(image, shape)
        if labels is not None:
            labels = resample.resample_labels(labels, shape, len(config.classes))
    return _scaled(image, config, image_path), labels


def _read_image(path: Path, channels: int) -> tuple[NiftiFile, np.ndarray]:
    """Intensities `[x, y, z, channels]`, float32; a slice has one voxel along z."""
    file, stored = read_voxels(path)
    if file.n_channels != channels:
        raise ValueError(
            f"{path}: {file.n_channels} channels where data.channels is {channels}"
        )
    slope, intercept = file.scale
    values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{path}: the image holds values that are not finite")
    return file, np.moveaxis(_as_volumes(values, file), 0, -1)


def _read_classes(
    path: Path, classes: dict[str, int], image: NiftiFile
) -> Integer[np.ndarray, "x y z"]:
    """Class index of every voxel of a reference."""
    labels, file = read_labels(path)
    check_same_grid(image.grid, image.path, file.grid, path)
    index = np.zeros(labels.shape, np.min_scalar_type(len(classes) - 1))
    known = np.zeros(labels.shape, bool)
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
    return _as_volumes(index, file)[0]


def _as_volumes(flat: np.ndarray, file: NiftiFile) -> np.ndarray:
    """Flat rows in storage order (x fastest) as `[rows, x, y, z]`."""
    x, y, z = (*file.grid.shape, 1)[:3]
    return flat.reshape(-1, z, y, x).transpose(0, 3, 2, 1)


def _scaled(
    image: Float[np.ndarray, "x y z channels"], config: DataConfig, path: Path
) -> Float[np.ndarray, "x y z channels"]:
    """Intensities by the config's rule, each channel on its own."""
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
