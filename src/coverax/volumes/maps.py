"""Probability maps and references as flat arrays, checked once, on reading.

Score and predict read maps through the same function, so that a threshold meets the
very numbers it was calibrated on.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Integer

from coverax.checks import check_labels as check_labels
from coverax.files import PathLike
from coverax.table.region import Region
from coverax.tolerance import MAX_OVERSHOOT, nearest_labels, range_slack, sum_slack
from coverax.volumes.formats import as_map, check_is_map, read_voxels
from coverax.volumes.header import NiftiFile
from coverax.volumes.nifti import Buffer, check_channels

_LABEL_LIMIT = 2.0**31  # labels are int32


@dataclass(frozen=True, slots=True)
class ProbMap:
    """A probability map in storage order.

    Attributes:
        probs: One row per channel read, one column per voxel.
        channels: The channels read, one a row.
        path: The file.
        file: Its header.
        overshoot: How far the values leave [0, 1]; 0 for a proper map.
        has_void: Whether voxels that do not count held no probabilities; they read as 0.
    """

    probs: Float[np.ndarray, "channels voxels"]
    channels: tuple[int, ...]
    path: Path
    file: NiftiFile
    overshoot: float
    has_void: bool = False

    def of(self, region: Region) -> Float[np.ndarray, " voxels"]:
        """The map of a region; of several channels their sum, at most 1.

        Raises:
            ValueError: The sum exceeds 1 by more than the storage rounds
                (`coverax.tolerance`): the channels do not exclude each other.
        """
        rows = [self.probs[self.channels.index(c)] for c in region.channels]
        _, slack = sum_slack(len(rows), self.file.step)
        return join_channels(rows, region, self.path, max(slack, self.overshoot))


def join_channels(
    rows: Sequence[Float[np.ndarray, " voxels"]],
    region: Region,
    where: Path | str,
    slack: float,
) -> Float[np.ndarray, " voxels"]:
    """The map of a region from its channels: their sum, at most 1.

    Raises:
        ValueError: The sum exceeds 1 by more than `slack`.
    """
    if len(rows) == 1:
        return rows[0]
    total = functools.reduce(np.add, rows)
    excess = float(total.max()) - 1
    if excess > slack:
        raise ValueError(
            f"{where}: the channels of region {region} sum to {1 + excess:.6g}; "
            "only classes that exclude each other (a softmax) can be joined"
        )
    return np.minimum(total, np.float32(1), out=total)


def read_probs(
    path: PathLike,
    *,
    channels: Sequence[int],
    logits: bool = False,
    allow_overshoot: bool = False,
    valid: Bool[np.ndarray, " voxels"]
    | Callable[[NiftiFile], np.ndarray | None]
    | None = None,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> ProbMap:
    """Read channels of a map as float32 probabilities.

    A value that leaves [0, 1] by rounding of its storage alone (`coverax.tolerance`) is
    the 0 or 1 it stands for.

    Args:
        path: Map of any format, 3-D (one channel) or x, y, z, class.
        channels: Channels to keep, in this order.
        logits: The file holds logits: sigmoid for one channel, softmax over several.
        allow_overshoot: Accept values up to `MAX_OVERSHOOT` outside [0, 1].
        valid: Voxels that count, in storage order; None means all. The others need
            hold no probabilities: if one does not, they all read as 0. A function
            makes the mask for the map's own grid, from its header.
        check_header: Raises where the file is not of the kind wanted.
        buffer: Memory to reuse.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or has values that are no probabilities (or,
            with `logits`, values that already look like probabilities).
    """
    path = Path(path)
    check_is_map(path)
    file, stored = read_voxels(
        path,
        channels=None if logits else channels,
        check_header=lambda found: check_header(as_map(found)),
        buffer=buffer,
    )
    file = as_map(file)
    check_channels(file, channels)
    values = _as_float32(stored, file, buffer.values if buffer else None)
    low, high = _range(values)
    has_void = False
    is_sound = 0 <= low <= high <= 1 or (logits and np.isfinite(high - low))
    if valid is not None and not is_sound:
        counted = valid(file) if callable(valid) else valid
        if counted is not None:
            values, low, high, has_void = _without_void(values, counted)
    if not np.isfinite([low, high]).all():
        n_bad = int(np.count_nonzero(~np.isfinite(values).all(axis=0)))
        raise ValueError(f"{path}: {n_bad} voxels are NaN or infinite")
    if logits:
        if 0 <= low < high <= 1:
            raise ValueError(
                f"{path}: logits expected, but all values lie in [0, 1]: these look "
                "like probabilities"
            )
        values = _probabilities(values)[list(channels)]
        return ProbMap(values, tuple(channels), path, file, 0.0, has_void)
    overshoot = max(0.0, -low, high - 1.0)
    if 0 < overshoot <= range_slack(file.scale[1]):
        values, overshoot = np.clip(values, 0, 1, out=values), 0.0
    if overshoot > (MAX_OVERSHOOT if allow_overshoot else 0):
        hint = (
            "; allow_overshoot (--allow-overshoot) accepts this much"
            if overshoot <= MAX_OVERSHOOT
            else ""
        )
        raise ValueError(
            f"{path}: probabilities must lie in [0, 1], got {low:.9g} to {high:.9g}{hint}"
        )
    return ProbMap(values, tuple(channels), path, file, overshoot, has_void)


def read_labels(
    path: PathLike, *, buffer: Buffer | None = None
) -> tuple[Integer[np.ndarray, " voxels"], NiftiFile]:
    """Read a reference label map as a flat integer array in storage order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, has a class axis, or holds fractions beyond the
            rounding of its storage (`coverax.tolerance`).
    """
    return _read_whole(
        Path(path), "a reference", "labels must be whole numbers", buffer
    )


def read_valid(path: PathLike) -> tuple[Bool[np.ndarray, " voxels"], NiftiFile]:
    """Read a mask of the voxels that count, flat, in storage order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As `read_labels`.
    """
    path = Path(path)
    rule = "a mask of voxels that count must be 0 or a whole number"
    values, file = _read_whole(path, "a mask of voxels that count", rule, None)
    return values != 0, file


def _read_whole(
    path: Path, what: str, rule: str, buffer: Buffer | None
) -> tuple[Integer[np.ndarray, " voxels"], NiftiFile]:
    """A file of one whole number a voxel; `what` and `rule` are for messages."""
    file, stored = read_voxels(path, buffer=buffer)
    if file.n_channels > 1:
        axes = (*file.grid.shape, file.n_channels)
        raise ValueError(
            f"{path}: {what} has one label per voxel, got {file.n_channels} channels "
            f"(its axes {axes} are x, y, z, class)"
        )
    labels = stored[0]
    slope, intercept = file.scale
    if labels.dtype.kind in "iu" and (slope, intercept) == (1.0, 0.0):
        return labels, file
    with np.errstate(all="ignore"):  # what is not finite is refused
        values = labels * slope + intercept
        whole, bad = nearest_labels(values, file.step, intercept)
        bad |= ~(np.abs(whole) < _LABEL_LIMIT)
    if bad.any():
        raise ValueError(f"{path}: {rule}, got {float(values[bad][0])!r}")
    return whole.astype(np.int32), file


def _without_void(
    values: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, float, float, bool]:
    """Values and their range; 0 where no voxel counts if the range is not met elsewhere."""
    whole = _range(values)
    if valid.size != values.shape[1]:  # another grid, which others refuse
        return values, *whole, False
    counted = values[:, valid]
    inside = _range(counted) if counted.size else (0.0, 0.0)
    if inside == whole:
        return values, *whole, False
    return np.where(valid, values, np.float32(0)), *inside, True


def _range(values: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value; NaN where one is."""
    return float(values.min()), float(values.max())


@np.errstate(over="ignore", invalid="ignore")
def _as_float32(
    stored: np.ndarray,
    file: NiftiFile,
    room: Callable[[tuple[int, ...]], np.ndarray] | None = None,
) -> np.ndarray:
    """Stored values times slope plus intercept, rounded once to float32.

    What float32 cannot hold becomes infinite, and is then refused as such. `room` gives
    the memory where values are not converted in place.
    """
    slope, intercept = file.scale
    if (slope, intercept) == (1.0, 0.0):
        # In place where the type allows it; otherwise one rounding.
        return stored.astype(np.float32, copy=False)
    out = np.empty(stored.shape, np.float32) if room is None else room(stored.shape)
    few_bits = stored.dtype.kind in "iu" and stored.dtype.itemsize <= 2
    if few_bits and intercept == 0 and 0 < slope == float(np.float32(slope)):
        # 16 bits times 24 are exact in float64: both ways round the same number once.
        return np.multiply(stored, np.float32(slope), out=out, dtype=np.float32)
    step = 1 << 20  # float64 in pieces, so that no second map is held
    for channel in range(stored.shape[0]):
        for start in range(0, stored.shape[1], step):
            part = stored[channel, start : start + step].astype(np.float64)
            out[channel, start : start + step] = part * slope + intercept
    return out


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Sigmoid of one channel, softmax of several; float32, stable at both ends."""
    if logits.shape[0] == 1:
        e = np.exp(-np.abs(logits))
        return np.where(logits >= 0, 1, e) / (1 + e)
    e = np.exp(logits - logits.max(axis=0))
    return e / e.sum(axis=0)
