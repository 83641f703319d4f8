"""PNG of 2-D models by SimpleITK, an extra: grey values of 8 or 16 bits, no millimetres.

A picture tells neither the size of a pixel nor its place. It is read as a NIfTI file of
two axes, x along rows, that tells neither; nothing in mm is computed on its grid.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from coverax.volumes import itk
from coverax.volumes.header import NiftiFile, describe_header
from coverax.volumes.nifti import Buffer, check_channels
from coverax.volumes.source import MOST_DEFLATE

SUFFIX = ".png"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TYPES = {8: np.dtype(np.uint8), 16: np.dtype(np.uint16)}
_COLOURS = {2: "colours", 3: "a palette", 4: "transparency", 6: "colours"}
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}


def read_header(path: Path, *, colours: bool = False) -> NiftiFile:
    """The header of a picture, as NIfTI has one.

    Args:
        path: The file.
        colours: Take a picture in colours too, as three channels; what is seen through
            (alpha) is left out.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no PNG, or not of one grey value of 8 or 16 bits a pixel.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.is_file():
        raise ValueError(f"{path}: is no regular file, expected a volume")
    with path.open("rb") as stream:
        start = stream.read(26)
    if len(start) < 26 or not start.startswith(_SIGNATURE) or start[12:16] != b"IHDR":
        raise ValueError(f"{path}: not a sound PNG file (it begins otherwise)")
    shape = tuple(int.from_bytes(start[at : at + 4], "big") for at in (16, 20))
    depth, colour = start[24], start[25]
    if not colours and (colour or depth not in _TYPES):
        has = _COLOURS.get(colour, f"{depth} bits a pixel")
        raise ValueError(
            f"{path}: has {has}; save it with one grey value of 8 or 16 bits a pixel"
        )
    n_channels = _CHANNELS.get(colour)
    if n_channels is None or depth not in (1, 2, 4, *_TYPES):
        raise ValueError(f"{path}: not a sound PNG file (its header says otherwise)")
    promised = max(1, shape[0] * shape[1] * depth // 8)
    if not min(shape) or promised > MOST_DEFLATE * path.stat().st_size:
        raise ValueError(
            f"{path}: truncated, or the header is damaged: it promises {promised} bytes"
        )
    return bare_file(path, shape, _TYPES[max(depth, 8)], n_channels)


def bare_file(
    path: Path, shape: tuple[int, ...], dtype: np.dtype, n_channels: int = 1
) -> NiftiFile:
    """A volume whose header tells neither the size of a voxel nor its place."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    whole = (*shape, 1)[:3]
    header.set_data_shape((*whole, n_channels) if n_channels > 1 else shape)
    header["pixdim"][1:4] = 0
    header.set_slope_inter(1, 0)
    return describe_header(path, header)


def read_voxels(
    path: Path,
    *,
    channels: Sequence[int] | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> tuple[NiftiFile, np.ndarray]:
    """Grey values as `[1, pixels]`, x fastest; as `read_voxels` of NIfTI.

    Args:
        path: The file.
        channels: Channel 0 alone, by default too.
        check_header: Raises where the header is not what is wanted.
        buffer: Unused: SimpleITK holds memory of its own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As of `read_header`; SimpleITK is missing, or the file is damaged.
    """
    del buffer
    file = read_header(path)
    check_header(file)
    wanted = [0] if channels is None else list(channels)
    check_channels(file, wanted)
    values = itk.read_values(path).reshape(1, -1)
    if values.size != file.grid.n_voxels or values.dtype != file.dtype:
        raise ValueError(f"{path}: not a sound PNG file (its header says otherwise)")
    return file, np.array(values[[0] * len(wanted)])


def read_colours(path: Path) -> tuple[NiftiFile, np.ndarray]:
    """A picture of grey values or colours as `[1 or 3, pixels]`, x fastest.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no sound PNG, or SimpleITK is missing.
    """
    file = read_header(path, colours=True)
    values = itk.read_values(path).reshape(file.grid.n_voxels, -1)
    if values.shape[1] < file.n_channels:  # a palette of greys
        values = values[:, [0] * file.n_channels]
    return file, np.array(values[:, : file.n_channels].T)


def as_map(file: NiftiFile) -> NiftiFile:
    """A picture taken for a map: its largest grey value is probability 1."""
    header = file.header.copy()
    header.set_slope_inter(1 / np.iinfo(file.dtype).max, 0)
    return replace(file, header=header)
