"""MetaImage and NRRD by SimpleITK, an extra: world axes turned from LPS to RAS once."""

import shutil
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from coverax.files import OutputError, one_line, publishing
from coverax.volumes.grid import Grid, Origin
from coverax.volumes.header import NiftiFile, check_affine, new_header
from coverax.volumes.nifti import Buffer, check_channels, label_type
from coverax.volumes.source import MOST_DEFLATE

SUFFIXES = (".mha", ".mhd", ".nrrd")
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Where voxels and header are one file, it holds what it promises.
_WHOLE = (".mha", ".nrrd")
# Pixel types whose values are one number each, as NumPy names them.
_TYPES = {
    f"{bits}-bit {sign} integer": f"{kind}int{bits}".replace("sint", "int")
    for bits in (8, 16, 32, 64)
    for sign, kind in (("signed", "s"), ("unsigned", "u"))
} | {"32-bit float": "float32", "64-bit float": "float64"}


def read_header(path: Path) -> NiftiFile:
    """The header of a file, as NIfTI has one.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: SimpleITK is missing, or cannot read it, or it has other axes.
    """
    return _described(path, _information(path))


def read_voxels(
    path: Path,
    *,
    channels: Sequence[int] | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> tuple[NiftiFile, np.ndarray]:
    """Voxel values as `[channels, voxels]`, x fastest; as `read_voxels` of NIfTI.

    Args:
        path: The file.
        channels: Which entries of the class axis, all by default.
        check_header: Raises where the header is not what is wanted.
        buffer: Unused: SimpleITK holds memory of its own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As of `read_header`, or a channel is not there.
    """
    del buffer
    reader = _information(path)
    file = _described(path, reader)
    check_header(file)
    wanted = list(range(file.n_channels) if channels is None else channels)
    check_channels(file, wanted)
    try:
        image = reader.Execute()
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: {_why(error)}") from None
    values = _simple_itk(path).GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        rows = values.reshape(-1, file.n_channels).T
    else:  # classes, where there are any, are the slowest axis
        rows = values.reshape(file.n_channels, -1)
    return file, np.array(rows[wanted], file.dtype, order="C")


def read_values(path: Path) -> np.ndarray:
    """The values of a picture in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: SimpleITK is missing, or cannot read it.
    """
    reader = _information(path)
    try:
        return _simple_itk(path).GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        raise ValueError(f"{path}: {_why(error)}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """What the header says beyond voxels and their place, by key.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: SimpleITK is missing, or cannot read it.
    """
    reader = _information(path)
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}


def write_mask(
    path: Path, mask: np.ndarray, like: NiftiFile, *, largest: int = 1
) -> None:
    """Write a label map on the grid of `like`, compressed, in one file.

    Of a map that is of ITK itself, spacing, origin and direction are its own.

    Raises:
        OutputError: It cannot be written.
        ValueError: SimpleITK is missing, or the header of `like` does not tell the size
            of a voxel.
    """
    like.grid.check_sizes()  # every file of ITK has one
    sitk, dtype = _simple_itk(path), label_type(largest)
    placed = _placed_as(like)
    volume = mask.reshape((*mask.shape, 1)[: len(placed[0])]).astype(dtype)
    image = sitk.GetImageFromArray(np.ascontiguousarray(volume.T))
    image.SetSpacing(placed[0])
    image.SetOrigin(placed[1])
    image.SetDirection(placed[2])
    with publishing(path) as temporary, TemporaryDirectory() as folder:
        whole = Path(folder, f"mask{path.suffix}")  # ITK tells the format by it
        try:
            sitk.WriteImage(image, str(whole), useCompression=True)
        except RuntimeError as error:
            raise OutputError(f"{path}: {_why(error, 'written')}") from None
        shutil.copyfile(whole, temporary)


def _placed_as(like: NiftiFile) -> tuple[list[float], ...]:
    """Spacing, origin and direction of a grid in LPS, two or three axes."""
    if like.path.suffix.lower() in SUFFIXES:
        reader = _information(like.path)
        n = len(like.grid.shape)
        n_axes = reader.GetDimension()
        direction = np.array(reader.GetDirection()).reshape(n_axes, n_axes)[:n, :n]
        spacing, origin = reader.GetSpacing()[:n], reader.GetOrigin()[:n]
        return list(spacing), list(origin), direction.reshape(-1).tolist()
    affine = LPS_TO_RAS @ like.grid.affine
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    direction = (affine[:3, :3] / spacing).reshape(-1)
    return spacing.tolist(), affine[:3, 3].tolist(), direction.tolist()


def is_there() -> bool:
    """Whether SimpleITK is installed."""
    return find_spec("SimpleITK") is not None


def itk_affine(spacing: Any, origin: Any, direction: Any) -> np.ndarray:
    """Voxel index to RAS millimetres, from what ITK says of two or three axes."""
    spacing, origin, direction = (
        np.array(value, np.float64) for value in (spacing, origin, direction)
    )
    n = spacing.size
    affine = np.eye(4)
    with np.errstate(all="ignore"):  # what is not finite is refused
        affine[:n, :n] = direction.reshape(n, n) * spacing
        affine[:n, 3] = origin
        return LPS_TO_RAS @ affine


def _simple_itk(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own bindings
            import SimpleITK
    except ImportError:
        raise ValueError(
            f"{path}: {path.suffix} files need SimpleITK: pip install 'coverax[itk]'"
        ) from None
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)  # lines that name no file
    return SimpleITK


def _information(path: Path) -> Any:
    """A reader that has read the header."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is no regular file, expected a volume")
    reader = _simple_itk(path).ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise ValueError(f"{path}: {_why(error)}") from None
    return reader


def _why(error: BaseException, done: str = "read") -> str:
    """The last line of what ITK says: the first ones name its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    what = one_line(lines[-1]) if lines else type(error).__name__
    return f"not {done} by SimpleITK ({what})"


def _described(path: Path, reader: Any) -> NiftiFile:
    size = tuple(int(n) for n in reader.GetSize())
    n_components = int(reader.GetNumberOfComponents())
    pixels = _simple_itk(path).GetPixelIDValueAsString(reader.GetPixelID())
    dtype = _TYPES.get(pixels.removeprefix("vector of "))
    if dtype is None:
        raise ValueError(f"{path}: voxel type {pixels} is not a real number type")
    n_spatial = min(len(size), 3)
    if len(size) not in (2, 3, 4) or min(size) < 1:
        raise ValueError(f"{path}: expected axes x, y[, z[, class]], got {size}")
    if len(size) == 4 and n_components > 1:
        raise ValueError(f"{path}: has four axes and {n_components} values a voxel")
    n_channels = n_components if len(size) < 4 else size[3]
    promised = np.prod(size, dtype=object) * n_components * np.dtype(dtype).itemsize
    if path.suffix.lower() in _WHOLE and promised > MOST_DEFLATE * path.stat().st_size:
        raise ValueError(
            f"{path}: truncated, or the header is damaged: it promises {promised} bytes"
        )
    n = len(size)
    direction = np.array(reader.GetDirection()).reshape(n, n)[:n_spatial, :n_spatial]
    affine = itk_affine(
        reader.GetSpacing()[:n_spatial], reader.GetOrigin()[:n_spatial], direction
    )
    check_affine(path, affine)
    shape = size[:n_spatial]
    axes = (*shape, n_channels) if n_channels > 1 else shape
    grid = Grid(shape, affine, Origin(path, axes))
    header = new_header(grid, np.dtype(dtype), n_channels)
    return NiftiFile(path, header, grid, n_channels, n_channels > 1)
