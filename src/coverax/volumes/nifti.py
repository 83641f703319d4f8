"""NIfTI files: header by nibabel, bytes by isal, voxels in storage order.

Voxels stay in the order of the file (x fastest): statistics do not care, so nothing is
transposed or copied. `Buffer` lets a reader thread inflate case after case into the
same memory; fresh pages cost a quarter of the inflate time.
"""

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from jaxtyping import Float
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from coverax.choices import ProbsStorage
from coverax.files import publishing
from coverax.volumes.grid import Grid

SUFFIXES = (".nii.gz", ".nii")
PROBS_STEP = 2.0**-15  # of probabilities stored as uint16
# The stub of isal types its error as an instance.
_DAMAGED: tuple[type[Exception], ...] = (
    igzip.BadGzipFile,
    igzip_lib.IsalError,  # pyright: ignore[reportAssignmentType]
    zlib.error,
)
# Deflate shrinks at most this much; a header that promises more is not believed, so
# that a damaged one costs an error and not the memory of the machine.
_MOST_DEFLATE = 1032
# Spatial units of NIfTI that are not millimetres: metres and micrometres.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}


class Buffer:
    """Memory that grows to the largest volume a reader has met, and is reused."""

    def __init__(self):
        self._bytes = np.empty(0, np.uint8)

    def take(self, n_bytes: int) -> np.ndarray:
        """The first `n_bytes` of the buffer; what it held before is gone."""
        if self._bytes.size < n_bytes:
            self._bytes = np.empty(0, np.uint8)  # free the old before the new
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes]


@dataclass(frozen=True, slots=True)
class NiftiFile:
    """The header of a NIfTI file, and what follows from it.

    Attributes:
        path: The file.
        header: nibabel header, for writers that keep it.
        grid: Spatial grid, the class axis left out.
        n_channels: Length of the class axis, 1 without one.
        has_channel_axis: Whether the file is x, y, z, class.
    """

    path: Path
    header: nib.Nifti1Header
    grid: Grid
    n_channels: int
    has_channel_axis: bool

    @property
    def dtype(self) -> np.dtype:
        """Voxel type on disk."""
        return self.header.get_data_dtype()

    @property
    def scale(self) -> tuple[float, float]:
        """Slope and intercept that turn stored into real values."""
        slope, intercept = self.header.get_slope_inter()
        return (
            1.0 if slope is None else slope,
            0.0 if intercept is None else intercept,
        )

    @property
    def storage(self) -> str:
        """How values are quantised on disk: `float`, or an integer type with its step."""
        if self.dtype.kind == "f":
            return "float"
        slope, intercept = self.scale
        return f"{self.dtype.name}*{slope:.9g}{intercept:+.9g}"


def file_stem(path: Path) -> str | None:
    """File name without its NIfTI suffix; None for another kind of file."""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return None


def read_header(path: Path) -> NiftiFile:
    """Read the header of a NIfTI file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not gzip, not NIfTI, or has another number of axes.
    """
    with _opened(path) as stream:
        return _parse_header(stream, path)


def read_voxels(
    path: Path,
    *,
    channels: Sequence[int] | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> tuple[NiftiFile, np.ndarray]:
    """Read stored voxel values as `[channels, voxels]` in storage order.

    Args:
        path: A `.nii` or `.nii.gz` file, 2-D, 3-D, or x, y, z, class.
        channels: Which entries of the class axis, all by default. The others are
            inflated (there is no way round) but never held.
        check_header: Raises where the header is not what is wanted, before voxels are
            read.
        buffer: Memory to reuse; the result is then valid until the next call with it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not gzip or not NIfTI, ends early, is damaged, or has fewer
            channels than asked for.
    """
    with _opened(path) as stream:
        file = _parse_header(stream, path)
        check_header(file)
        wanted = list(range(file.n_channels) if channels is None else channels)
        check_channels(file, wanted)
        n_bytes = file.grid.n_voxels * file.dtype.itemsize
        if n_bytes * file.n_channels > _MOST_DEFLATE * path.stat().st_size:
            raise ValueError(
                f"{path}: truncated, or the header is damaged: it promises "
                f"{n_bytes * file.n_channels} bytes of voxels"
            )
        rows = (buffer or Buffer()).take(n_bytes * len(wanted)).reshape(-1, n_bytes)
        unwanted = np.empty(0 if len(wanted) == file.n_channels else n_bytes, np.uint8)
        for channel in range(file.n_channels):
            row = rows[wanted.index(channel)] if channel in wanted else unwanted
            got = _fill(stream, row)
            if got < n_bytes:
                raise ValueError(
                    f"{path}: truncated: voxel data end {n_bytes - got} bytes early"
                )
        stream.read(1)  # reaching the end makes gzip check its checksum
    return file, rows.view(file.dtype)


def check_channels(file: NiftiFile, channels: Sequence[int]) -> None:
    """Raise where a file lacks a channel.

    Raises:
        ValueError: A channel lies outside the class axis.
    """
    for channel in channels:
        if not 0 <= channel < file.n_channels:
            raise ValueError(
                f"{file.path}: channel {channel} asked for, the file has "
                f"{file.n_channels} (0 to {file.n_channels - 1})"
            )


def write_mask(
    path: Path, mask: np.ndarray, like: NiftiFile, *, largest: int = 1
) -> None:
    """Write a uint8 mask on the grid of `like`, keeping its header and affine.

    A label map is a mask with labels up to `largest`, the top of its display window.

    The file appears complete or not at all.
    """
    header = _header_like(like, np.uint8, mask.shape, largest)
    image_class = (
        nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    )
    _publish(path, image_class(mask.astype(np.uint8), None, header).to_bytes())


def probs_file(
    path: Path, like: NiftiFile, n_classes: int, storage: ProbsStorage = "float32"
) -> NiftiFile:
    """The header that `write_probs` would give a map on the grid of `like`."""
    shape = (*like.grid.shape, 1)[:3]
    header = _header_like(like, np.dtype(storage), (*shape, n_classes), 1)
    header["pixdim"][4] = 1
    if header["pixdim"][3] == 0:  # a slice without thickness gets one
        header["pixdim"][3] = 1
    if storage == "uint16":
        header["scl_slope"], header["scl_inter"] = PROBS_STEP, 0
    header["vox_offset"] = len(header.binaryblock) + 4
    return NiftiFile(path, header, like.grid, n_classes, True)


def write_probs(
    path: Path,
    probs: Float[np.ndarray, "x y z classes"],
    like: NiftiFile,
    storage: ProbsStorage = "float32",
) -> None:
    """Write a softmax on the grid of `like`, keeping its header and affine.

    NIfTI has no type for 16-bit floats. `uint16` stores multiples of 2^-15, each within
    one of them, so that 0 and 1 are exact, classes still sum to exactly 1, and what is
    read back is a float32 without further rounding.

    The file appears complete or not at all.
    """
    header = probs_file(path, like, probs.shape[-1], storage).header
    stored = probs if storage == "float32" else _in_steps(probs)
    voxels = stored.astype(header.get_data_dtype()).tobytes(order="F")
    no_extensions = bytes(4)
    _publish(path, header.binaryblock + no_extensions + voxels)


def _in_steps(probs: Float[np.ndarray, "x y z classes"]) -> np.ndarray:
    """A softmax in whole steps that sum to exactly 1.

    Rounded down; the steps that are missing go to the classes that lost most. Rounding
    each to the nearest would let a sum of classes exceed 1.
    """
    out = np.empty(probs.shape, np.uint16)
    for z in range(probs.shape[2]):  # slice by slice: ranks take eight bytes a value
        exact = probs[:, :, z] / np.float32(PROBS_STEP)
        down = np.floor(exact)
        missing = 1 / PROBS_STEP - down.sum(axis=-1, keepdims=True)
        rank = np.argsort(np.argsort(down - exact, axis=-1), axis=-1)
        out[:, :, z] = down + (rank < missing)
    return out


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array with an affine in mm; a bool array becomes uint8."""
    values = array.astype(np.uint8) if array.dtype == bool else array
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    _publish(path, image.to_bytes())


def _header_like(
    like: NiftiFile, dtype: type | np.dtype, shape: tuple[int, ...], largest: int
) -> nib.Nifti1Header:
    """A copy of a header for other voxels on its grid."""
    header = like.header.copy()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, largest
    header.set_intent("none")
    header.extensions.clear()
    return header


def _publish(path: Path, data: bytes) -> None:
    """Write an image under a temporary name, then rename."""
    if path.name.endswith(".gz"):
        data = igzip.compress(data, compresslevel=2, mtime=0)
    with publishing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a NIfTI file, inflating `.gz`; low-level failures become one clear line."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    opener = igzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as stream:
            yield stream  # pyright: ignore[reportReturnType]
    except EOFError:
        raise ValueError(f"{path}: truncated gzip file") from None
    except _DAMAGED as error:
        raise ValueError(f"{path}: not a sound gzip file ({error})") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: is a folder, expected a NIfTI file") from None


def _fill(stream: io.BufferedIOBase, row: np.ndarray) -> int:
    """Read until `row` is full or the stream ends; return the bytes read."""
    view, done = memoryview(row), 0  # pyright: ignore[reportArgumentType]
    while done < len(view):
        got = stream.readinto(view[done:])  # pyright: ignore[reportAttributeAccessIssue]
        if not got:
            break
        done += got
    return done


def _parse_header(stream: io.BufferedIOBase, path: Path) -> NiftiFile:
    """Read the header and leave the stream at the first voxel."""
    start = stream.read(4)
    sizes = {int.from_bytes(start, order) for order in ("little", "big")}
    size = next((s for s in _HEADERS if s in sizes), None)
    if size is None:
        what = "is empty" if not start else "is not a NIfTI file"
        raise ValueError(f"{path} {what}")
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise ValueError(f"{path}: truncated: the NIfTI header is incomplete")
    try:
        header = _HEADERS[size].from_fileobj(io.BytesIO(block))
        offset = int(header.get_data_offset())
        dtype = header.get_data_dtype()
        header.get_slope_inter()  # raises where the scale is no number
    except (HeaderDataError, WrapStructError) as error:
        raise ValueError(f"{path}: not a sound NIfTI header ({error})") from None
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"{path}: voxel type {dtype} is not a real number type")
    if offset < size + 4:
        raise ValueError(
            f"{path}: not a sound NIfTI header (voxels would start at byte {offset}, "
            f"inside it)"
        )
    if len(stream.read(offset - size)) < offset - size:
        raise ValueError(f"{path}: truncated: the file ends before its voxels")
    return _described(path, header)


def _described(path: Path, header: nib.Nifti1Header) -> NiftiFile:
    shape = tuple(int(n) for n in header.get_data_shape())
    if len(shape) == 5 and shape[3] == 1:  # NIfTI vector images: x, y, z, 1, class
        shape = (*shape[:3], shape[4])
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise ValueError(f"{path}: expected axes x, y[, z[, class]], got shape {shape}")
    affine = np.array(header.get_best_affine(), np.float64)
    affine[:3] *= _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
        raise ValueError(f"{path}: the affine is singular or not finite")
    grid = Grid(shape[:3], affine)
    has_channels = len(shape) == 4 and shape[3] > 1  # one channel is no class axis
    return NiftiFile(path, header, grid, shape[3] if has_channels else 1, has_channels)
