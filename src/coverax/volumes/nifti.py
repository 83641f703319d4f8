"""NIfTI files: header by nibabel, bytes by isal, voxels in storage order.

Voxels stay in the order of the file (x fastest): statistics do not care, so nothing is
transposed or copied. `Buffer` lets a reader thread inflate case after case into the
same memory; fresh pages cost a quarter of the inflate time.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import isal_zlib
from jaxtyping import Float, UInt

from coverax.choices import ProbsStorage
from coverax.files import PathLike, publishing
from coverax.volumes.header import NiftiFile, parse_header
from coverax.volumes.origin import description_of
from coverax.volumes.source import opened

PROBS_STEP = 2.0**-15  # of probabilities stored as uint16
_FIRST = 16  # bytes that isal's inner loop leaves to the end of a flush


class Buffer:
    """Memory that grows to the largest volume a reader has met, and is reused."""

    def __init__(self):
        self._bytes = np.empty(0, np.uint8)
        self._values: Buffer | None = None

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        """Memory for float32 values beside the bytes they are made of."""
        if self._values is None:
            self._values = Buffer()
        n_bytes = math.prod(shape) * np.dtype(np.float32).itemsize
        return self._values.take(n_bytes).view(np.float32).reshape(shape)

    def take(self, n_bytes: int) -> np.ndarray:
        """The first `n_bytes` of the buffer; what it held before is gone."""
        if self._bytes.size < n_bytes:
            self._bytes = np.empty(0, np.uint8)  # free the old before the new
            self._bytes = np.empty(n_bytes, np.uint8)
        return self._bytes[:n_bytes]


def read_header(path: PathLike) -> NiftiFile:
    """Read the header of a NIfTI file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not gzip, not NIfTI, or has another number of axes.
    """
    path = Path(path)
    with opened(path) as source:
        return parse_header(source)


def read_voxels(
    path: PathLike,
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
    path = Path(path)
    with opened(path) as source:
        file = parse_header(source)
        check_header(file)
        wanted = list(range(file.n_channels) if channels is None else channels)
        check_channels(file, wanted)
        n_bytes = file.grid.n_voxels * file.dtype.itemsize
        rows = (buffer or Buffer()).take(n_bytes * len(wanted)).reshape(-1, n_bytes)
        for channel in range(file.n_channels):
            if channel in wanted:
                got = source.fill(rows[wanted.index(channel)])
            else:
                got = source.skip(n_bytes)
            if got < n_bytes:
                raise ValueError(
                    f"{path}: truncated: voxel data end {n_bytes - got} bytes early"
                )
        source.finish()  # the checksum covers what lies behind the voxels, too
    return file, rows.view(file.dtype)


def check_channels(file: NiftiFile, channels: Sequence[int]) -> None:
    """Raise where a file lacks a channel.

    Raises:
        ValueError: A channel lies outside the class axis.
    """
    for channel in channels:
        if 0 <= channel < file.n_channels:
            continue
        if not file.has_channel_axis:
            raise ValueError(
                f"{file.path}: channel {channel} asked for, but the axes "
                f"{file.grid.shape} are x, y[, z] and hold no classes; those of a "
                "slice are stored as x, y, 1, class"
            )
        raise ValueError(
            f"{file.path}: channel {channel} asked for, the file has "
            f"{file.n_channels} (0 to {file.n_channels - 1})"
        )


def write_mask(
    path: PathLike, mask: np.ndarray, like: NiftiFile, *, largest: int = 1
) -> None:
    """Write a mask on the grid of `like`, keeping its header and affine.

    A label map is a mask with labels up to `largest`, the top of its display window.

    The file appears complete or not at all.
    """
    path, dtype = Path(path), label_type(largest)
    header = _header_like(like, dtype, mask.shape, largest)
    if like.mark:  # that of the map, which a mask is not
        header["descrip"] = b""
    _publish(path, _whole_file(header, mask.astype(dtype)))


def label_type(largest: int) -> np.dtype:
    """The smallest unsigned type of a label map.

    Raises:
        ValueError: 16 bits do not hold its largest label.
    """
    if largest > np.iinfo(np.uint16).max:
        raise ValueError(f"label {largest} does not fit into 16 bits")
    return np.min_scalar_type(largest)


def probs_file(
    path: PathLike,
    like: NiftiFile,
    n_classes: int,
    storage: ProbsStorage = "float32",
    mark: str = "",
) -> NiftiFile:
    """The header that `write_probs` would give a map on the grid of `like`."""
    path = Path(path)
    shape = (*like.grid.shape, 1)[:3]
    header = _header_like(like, np.dtype(storage), (*shape, n_classes), 1)
    header["pixdim"][4] = 1
    if storage == "uint16":
        header["scl_slope"], header["scl_inter"] = PROBS_STEP, 0
    if mark:
        header["descrip"] = description_of(mark)
    return NiftiFile(path, header, like.grid, n_classes, True)


def write_probs(
    path: PathLike,
    probs: Float[np.ndarray, "x y z classes"],
    like: NiftiFile,
    storage: ProbsStorage = "float32",
    mark: str = "",
) -> None:
    """Write a softmax on the grid of `like`, keeping its header and affine.

    A mark says in its header which step made it.

    NIfTI has no type for 16-bit floats. `uint16` stores multiples of 2^-15, each within
    one of them, so that 0 and 1 are exact, classes still sum to exactly 1, and what is
    read back is a float32 without further rounding.

    The file appears complete or not at all.
    """
    path = Path(path)
    header = probs_file(path, like, probs.shape[-1], storage, mark).header
    stored = probs if storage == "float32" else _in_steps(probs)
    _publish(path, _whole_file(header, stored.astype(header.get_data_dtype())))


def write_map(
    path: PathLike,
    rows: Float[np.ndarray, "channels voxels"] | UInt[np.ndarray, "channels voxels"],
    like: NiftiFile,
    *,
    slope: float = 1.0,
    mark: str = "",
) -> None:
    """Write channels of a map on the grid of `like`, keeping its header and affine.

    One channel has no class axis; several are the fourth one.

    The file appears complete or not at all.

    Args:
        path: A `.nii` or `.nii.gz` file.
        rows: Stored values in storage order, x fastest.
        like: Where they lie.
        slope: What turns stored into real values.
        mark: Which of our steps made the map.
    """
    n = len(rows)
    shape = (*like.grid.shape, 1)[:3] if n > 1 else like.grid.shape
    header = _header_like(like, rows.dtype, (*shape, n) if n > 1 else shape, 1)
    if n > 1:
        header["pixdim"][4] = 1
    if slope != 1:
        header["scl_slope"], header["scl_inter"] = slope, 0
    if mark or like.mark:
        header["descrip"] = description_of(mark) if mark else b""
    stored = rows.astype(header.get_data_dtype(), copy=False)  # its order of bytes
    _publish(Path(path), _whole_file(header, stored.reshape(-1)))


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


def write_volume(
    path: PathLike, array: np.ndarray, affine: np.ndarray, *, mark: str = ""
) -> None:
    """Write an array with an affine in mm, and a mark; a bool array becomes uint8."""
    path = Path(path)
    values = array.astype(np.uint8) if array.dtype == bool else array
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    if mark:
        image.header["descrip"] = description_of(mark)
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
    header["magic"] = header.single_magic
    header["vox_offset"] = len(header.binaryblock) + 4
    return header


def _whole_file(header: nib.Nifti1Header, voxels: np.ndarray) -> bytes:
    """Header, no extensions, voxels: as the header is, nothing in it mended."""
    return header.binaryblock + bytes(4) + voxels.tobytes(order="F")


def _publish(path: Path, data: bytes) -> None:
    """Write an image under a temporary name, then rename."""
    pieces = gzipped(data) if path.name.endswith(".gz") else [data]
    with publishing(path) as temporary, temporary.open("wb") as file:
        file.writelines(pieces)


def gzipped(data: bytes) -> list[bytes]:
    """A gzip file in pieces: without a time, and from the same bytes the same bytes.

    The first bytes are flushed alone. Where a stream has no history yet, isal's inner loop
    hashes part of the address of its own state (levels 1 and 2, the first byte in
    `igzip_icf_body_h1_gr_bt.asm`) and codes one file in thousands another way. Bytes too
    few for that loop give the stream its history. Level 3 is free of this, and takes two
    to seven times as long.
    """
    stream, view = isal_zlib.compressobj(2, wbits=31), memoryview(data)
    first = [stream.compress(view[:_FIRST]), stream.flush(isal_zlib.Z_SYNC_FLUSH)]
    return [*first, stream.compress(view[_FIRST:]), stream.flush()]
