"""Which reader takes which file: the one registry of formats.

Everything else asks here for a stem, a header or voxels, and never looks at a suffix.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from coverax.choices import Container
from coverax.files import PathLike
from coverax.volumes import itk, nifti, nnunet, png
from coverax.volumes.header import NiftiFile
from coverax.volumes.nifti import Buffer
from coverax.volumes.nnunet_dataset import DATASET, Dataset, find_dataset
from coverax.volumes.origin import EXPORTED_RECORD, PACKED_RECORD


class Format(NamedTuple):
    """How files of one suffix are read.

    Attributes:
        read_header: Path to header, as `read_header`.
        read_voxels: As `read_voxels`.
        write_mask: As `write_mask`; of a format that no mask is written in, NIfTI's.
    """

    read_header: Callable[[Path], NiftiFile]
    read_voxels: Callable[..., tuple[NiftiFile, np.ndarray]]
    write_mask: Callable[..., None] = nifti.write_mask


_NIFTI = Format(nifti.read_header, nifti.read_voxels)
_ITK = Format(itk.read_header, itk.read_voxels, itk.write_mask)
NPZ = ".npz"
SEGMENTS = ".seg.nrrd"
PICTURES = png.SUFFIX
# The longer suffix first, where one ends another.
FORMATS: dict[str, Format] = {
    ".nii.gz": _NIFTI,
    ".nii": _NIFTI,
    NPZ: Format(nnunet.read_npz_file, nnunet.read_npz_voxels),
    SEGMENTS: _ITK,
    **dict.fromkeys(itk.SUFFIXES, _ITK),
    PICTURES: Format(png.read_header, png.read_voxels),
}
SUFFIXES = tuple(FORMATS)
_NIFTI_SUFFIX = ".nii.gz"
# In which container the masks of a map are written: one file each, so .mhd becomes .mha.
_MASKS_OF = {".mhd": ".mha", **{suffix: suffix for suffix in (".mha", ".nrrd")}}


def file_suffix(path: PathLike) -> str | None:
    """The suffix of a volume as the registry has it; None for another kind of file."""
    name = Path(path).name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def file_stem(path: PathLike) -> str | None:
    """File name without the suffix of its format; None for another kind of file."""
    suffix = file_suffix(path)
    return None if suffix is None else Path(path).name[: -len(suffix)]


def nifti_name(path: PathLike) -> str:
    """The name under which NIfTI made of a volume is written."""
    path = Path(path)
    is_nifti = FORMATS.get(file_suffix(path) or "") is _NIFTI
    return path.name if is_nifti else f"{file_stem(path) or path.name}{_NIFTI_SUFFIX}"


def mask_suffix(path: PathLike, container: Container | None = None) -> str:
    """The suffix of the masks of a map: that of its own container, or of one asked for.

    The masks of a softmax of nnU-Net have the file ending of its `dataset.json`.
    """
    if container is not None:
        return f".{container}"
    suffix = file_suffix(path)
    if suffix == NPZ:
        dataset = dataset_of(path)
        suffix = dataset.file_ending if dataset else None
    return _MASKS_OF.get(suffix or "", _NIFTI_SUFFIX)


def dataset_of(path: PathLike) -> Dataset | None:
    """What `dataset.json` says of the channels of a map; None where none speaks of it.

    It speaks of the softmax files of nnU-Net near it, and of what was made of them and
    lies beside it with a record of ours.
    """
    folder = Path(path).parent
    is_copy = any(
        (folder / name).is_file() for name in (PACKED_RECORD, EXPORTED_RECORD)
    )
    if file_suffix(path) == NPZ or (is_copy and (folder / DATASET).is_file()):
        return find_dataset(folder)
    return None


def check_writable(suffix: str) -> None:
    """Refuse, before any work, masks that only a missing extra could write.

    Raises:
        ValueError: SimpleITK is needed and not there.
    """
    if suffix in itk.SUFFIXES and not itk.is_there():
        raise ValueError(
            f"masks in {suffix} need SimpleITK: pip install 'coverax[itk]', or write "
            "NIfTI (--as nii.gz)"
        )


def write_mask(
    path: PathLike, mask: np.ndarray, like: NiftiFile, *, largest: int = 1
) -> None:
    """Write a mask or label map on the grid of `like`, in the format that `path` names.

    The file appears complete or not at all.

    Args:
        path: With one of the suffixes that `mask_suffix` gives.
        mask: Whole numbers from 0 to `largest`, `[x, y[, z]]`.
        like: The map; NIfTI keeps its header and affine.
        largest: Largest label; it takes uint8 up to 255, else uint16.

    Raises:
        ValueError: SimpleITK is needed and missing, or the header of `like` does not tell
            the size of a voxel, which other formats than NIfTI must.
    """
    format_of(Path(path)).write_mask(Path(path), mask, like, largest=largest)


def read_header(path: PathLike) -> NiftiFile:
    """Read the header of a volume, as NIfTI has one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what its name says, or has another number of axes.
    """
    return format_of(Path(path)).read_header(Path(path))


def read_voxels(
    path: PathLike,
    *,
    channels: Sequence[int] | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> tuple[NiftiFile, np.ndarray]:
    """Read stored voxel values as `[channels, voxels]`, x fastest.

    Args:
        path: A volume of any format of the registry.
        channels: Which entries of the class axis, all by default.
        check_header: Raises where the header is not what is wanted, before voxels are
            read.
        buffer: Memory to reuse; the result is then valid until the next call with it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or has fewer channels than asked for.
    """
    path = Path(path)
    return format_of(path).read_voxels(
        path, channels=channels, check_header=check_header, buffer=buffer
    )


def check_is_map(path: PathLike) -> None:
    """Refuse the segmentation beside a softmax where a map is wanted.

    Raises:
        ValueError: A softmax of that case lies beside the file.
    """
    path = Path(path)
    softmax = path.with_name(f"{file_stem(path)}{NPZ}")
    if file_suffix(path) not in (NPZ, None) and softmax.is_file():
        raise ValueError(
            f"{path}: is the segmentation of {softmax.name} beside it and no map; name "
            "the softmax"
        )


def as_map(file: NiftiFile) -> NiftiFile:
    """A header taken for that of a map: the grey values of a picture are shares."""
    return png.as_map(file) if file_suffix(file.path) == PICTURES else file


def files_beside(path: PathLike) -> tuple[Path, ...]:
    """What else a map is read from: where an nnU-Net softmax says its voxels lie."""
    path = Path(path)
    return nnunet.files_beside(path) if file_suffix(path) == NPZ else ()


def format_of(path: Path) -> Format:
    """The format by name; a file of another name is NIfTI, or refused as none."""
    return FORMATS.get(file_suffix(path) or "", _NIFTI)
