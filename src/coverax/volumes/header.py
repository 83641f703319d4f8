"""What a NIfTI header says, checked once."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from coverax.volumes.grid import Grid, Origin
from coverax.volumes.origin import map_mark
from coverax.volumes.source import Source, header_size

# Spatial units of NIfTI that are not millimetres: metres and micrometres.
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}
_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_PER_FILE = "a scale per file"
# Fewer scales may be those of several sites, each fixed.
_LEAST_SCALES = 3
# A quaternion this much too long is rounded, as headers written in float32 have it.
_LONG_QUATERNION = 1e-4
# What the header library mends by itself (a negative pixdim, qfac 0) needs no word; its
# own lines name no file.
_UNHEARD = logging.getLogger("coverax.volumes.header")
_UNHEARD.setLevel(logging.CRITICAL + 1)


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
    def step(self) -> float:
        """Distance between neighbouring values of an integer type; 0 for floats."""
        return 0.0 if self.dtype.kind == "f" else abs(self.scale[0])

    @property
    def storage(self) -> str:
        """How values are quantised on disk: `float`, or an integer type with its step."""
        if self.dtype.kind == "f":
            return "float"
        slope, intercept = self.scale
        return f"{self.dtype.name}*{slope:.9g}{intercept:+.9g}"

    @property
    def mark(self) -> str:
        """Which of our steps made the map; empty for files from elsewhere."""
        return map_mark(self.header["descrip"].tobytes())

    def is_stored_as(self, storages: tuple[str, ...]) -> bool:
        """Whether values are quantised as those of maps of these storages.

        Where those maps have a scale each, so may this one, but no coarser one than
        such a scale is at most: values in [0, 1] over the integers from 0 up.
        """
        allowed = common_storages(storages)
        if self.storage in allowed:
            return True
        if f"{self.dtype.name}, {_PER_FILE}" not in allowed:
            return False
        return self.step * np.iinfo(self.dtype).max <= 1 + 1e-6


def check_affine(path: Path, affine: np.ndarray) -> None:
    """Refuse an affine that places no voxels, or none that a header can hold.

    Raises:
        ValueError: It is singular, or not finite as float32.
    """
    with np.errstate(all="ignore"):
        held = affine.astype(np.float32).astype(np.float64)
        is_sound = (
            held.shape == (4, 4)
            and np.isfinite(held).all()
            and abs(np.linalg.det(held[:3, :3])) > 0
        )
    if not is_sound:
        raise ValueError(f"{path}: the affine is singular or not finite")


def new_header(
    grid: Grid,
    dtype: np.dtype,
    n_channels: int = 1,
    like: nib.Nifti1Header | None = None,
) -> nib.Nifti1Header:
    """A header for values on a grid; `like` is copied where the grid came with one."""
    header = nib.Nifti1Header() if like is None else like.copy()
    header.set_data_dtype(dtype)
    shape = (*grid.shape, 1)[:3] if n_channels > 1 else grid.shape
    header.set_data_shape((*shape, n_channels) if n_channels > 1 else shape)
    header.set_slope_inter(1, 0)
    header["descrip"] = b""  # what made another volume did not make this one
    if like is None:
        header.set_xyzt_units("mm")
        header.set_sform(grid.affine, code=1)
        header.set_qform(grid.affine, code=1, strip_shears=True)
    return header


def common_storages(storages: tuple[str, ...]) -> tuple[str, ...]:
    """Storages of a cohort, sorted; an integer type of many scales is one of them.

    A writer that fits the scale to each file makes it a property of the case, like the
    map itself, so it is exchangeable and nothing to compare.
    """
    scales: dict[str, set[str]] = {}
    for storage in storages:
        scales.setdefault(storage.split("*")[0].split(",")[0], set()).add(storage)
    out: set[str] = set()
    for name, own in scales.items():
        per_file = f"{name}, {_PER_FILE}"
        many = len(own) >= _LEAST_SCALES or per_file in own
        out |= {per_file} if many else own
    return tuple(sorted(out))


def parse_header(source: Source) -> NiftiFile:
    """Read the header of a file and leave it at its first voxel.

    Raises:
        ValueError: It is not NIfTI, has another number of axes, or promises more than
            the file can hold.
    """
    path = source.path
    start = source.read(4)
    found = header_size(start)
    if found is None:
        what = (
            "is empty (0 bytes); write it again" if not start else "is not a NIfTI file"
        )
        raise ValueError(f"{path} {what}")
    size, order = found
    block = start + source.read(size - 4)
    if len(block) < size:
        raise ValueError(f"{path}: truncated: the NIfTI header is incomplete")
    header = _HEADERS[size](block, order, check=False)
    offset = _checked_offset(header, size, source)
    with np.errstate(all="ignore"):  # what is not finite is refused below
        file = describe_header(path, header)
    promised = offset + file.grid.n_voxels * file.n_channels * file.dtype.itemsize
    if promised > source.n_most:
        raise ValueError(
            f"{path}: truncated, or the header is damaged: voxel data end "
            f"{promised - source.n_most} bytes early"
        )
    if source.skip(offset - size) < offset - size:
        raise ValueError(f"{path}: truncated: the file ends before its voxels")
    return file


def _checked_offset(header: nib.Nifti1Header, size: int, source: Source) -> int:
    """Where voxels start, in bytes; checked before anything is read up to there."""
    offset = float(header["vox_offset"])
    unsound = f"{source.path}: not a sound NIfTI header"
    if not math.isfinite(offset) or offset > source.n_most:
        raise ValueError(
            f"{unsound} or truncated: voxels would start at byte {offset:g}, behind the "
            "end of the file"
        )
    if offset < size + 4:
        raise ValueError(
            f"{unsound} (voxels would start at byte {offset:g}, inside it)"
        )
    return int(offset)


def describe_header(path: Path, header: nib.Nifti1Header) -> NiftiFile:
    """What follows from a header, checked.

    Raises:
        ValueError: It is unsound, or has another number of axes.
    """
    unsized = tuple(np.flatnonzero(header["pixdim"][1:4] == 0).tolist())
    codes = [int(header[name]) for name in ("sform_code", "qform_code")]
    try:
        header.check_fix(logger=_UNHEARD, error_level=40)
        header.get_slope_inter()  # raises where the scale is no number
        shape = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
    except (HeaderDataError, WrapStructError) as error:
        raise ValueError(f"{path}: not a sound NIfTI header ({error})") from None
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise ValueError(f"{path}: voxel type {dtype} is not a real number type")
    if len(shape) == 5 and shape[3] == 1:  # NIfTI vector images: x, y, z, 1, class
        shape = (*shape[:3], shape[4])
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise ValueError(f"{path}: expected axes x, y[, z[, class]], got shape {shape}")
    grid = _grid(path, header, shape, codes, unsized)
    header["pixdim"][1:4][list(unsized)] = 0  # a mask on this grid guesses no size
    has_channels = len(shape) == 4 and shape[3] > 1  # one channel is no class axis
    return NiftiFile(path, header, grid, shape[3] if has_channels else 1, has_channels)


def _grid(
    path: Path,
    header: nib.Nifti1Header,
    shape: tuple[int, ...],
    codes: list[int],
    unsized: tuple[int, ...],
) -> Grid:
    """The grid by sform, else qform, else voxel sizes alone."""
    sform, qform = codes
    used = "sform_code" if sform else "qform_code"
    if (sform or qform) and int(header[used]) == 0:  # the library knows no such code
        raise ValueError(
            f"{path}: not a sound NIfTI header ({used} {sform or qform} is unknown)"
        )
    unit = np.diag([*[_MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)] * 3, 1.0])
    if sform:
        affine = header.get_sform()
    elif qform:
        affine = _qform(path, header)
    else:
        affine = header.get_base_affine()
        affine[2, 2] = header["pixdim"][3]  # the thickness of a slice, too
    affine = unit @ np.array(affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) == 0:
        raise ValueError(f"{path}: the affine is singular or not finite")
    beside = None
    if sform and qform and int(header["qform_code"]):
        beside = _other_qform(path, header, unit)
    origin = Origin(path, shape, () if sform else unsized, bool(sform or qform), beside)
    return Grid(shape[:3], affine, origin)


def _qform(path: Path, header: nib.Nifti1Header) -> np.ndarray:
    """The affine of the qform; a quaternion that is a little too long is rounded."""
    names = ("quatern_b", "quatern_c", "quatern_d")
    quaternion = np.array([float(header[name]) for name in names])
    length = float(np.linalg.norm(quaternion))
    if length > 1:
        if not length <= 1 + _LONG_QUATERNION:
            raise ValueError(
                f"{path}: not a sound NIfTI header (the quaternion of its qform is no "
                f"rotation, its length is {length:.6g})"
            )
        for name, value in zip(names, quaternion / length, strict=True):
            header[name] = value
    return np.array(header.get_qform(), np.float64)


def _other_qform(
    path: Path, header: nib.Nifti1Header, unit: np.ndarray
) -> np.ndarray | None:
    """The qform beside an sform, for hints; None where it is unsound."""
    try:
        affine = unit @ _qform(path, header.copy())
    except ValueError:
        return None
    return affine if np.isfinite(affine).all() else None
