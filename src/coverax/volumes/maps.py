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
from coverax.table.region import Region
from coverax.volumes.nifti import Buffer, NiftiFile, check_channels, read_voxels

# Resampling overshoots [0, 1] a little; accepted on request, recorded, never clipped.
MAX_OVERSHOOT = 1e-3
# A softmax stored in float32 or coarser may sum to a little more than 1.
MAX_ROUNDING = 1e-5
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
    """

    probs: Float[np.ndarray, "channels voxels"]
    channels: tuple[int, ...]
    path: Path
    file: NiftiFile
    overshoot: float

    def of(self, region: Region) -> Float[np.ndarray, " voxels"]:
        """The map of a region; of several channels their sum, at most 1.

        Raises:
            ValueError: The sum leaves [0, 1] by more than rounding: the channels do not
                exclude each other.
        """
        rows = [self.probs[self.channels.index(c)] for c in region.channels]
        return join_channels(rows, region, self.path, max(MAX_ROUNDING, self.overshoot))


def join_channels(
    rows: Sequence[Float[np.ndarray, " voxels"]],
    region: Region,
    where: Path | str,
    slack: float = MAX_ROUNDING,
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
    path: Path,
    *,
    channels: Sequence[int],
    logits: bool = False,
    allow_overshoot: bool = False,
    check_header: Callable[[NiftiFile], None] = lambda _file: None,
    buffer: Buffer | None = None,
) -> ProbMap:
    """Read channels of a map as float32 probabilities.

    Args:
        path: NIfTI file, 3-D (one channel) or x, y, z, class.
        channels: Channels to keep, in this order.
        logits: The file holds logits: sigmoid for one channel, softmax over several.
        allow_overshoot: Accept values up to `MAX_OVERSHOOT` outside [0, 1].
        check_header: Raises where the file is not of the kind wanted.
        buffer: Memory to reuse.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, or has values that are no probabilities (or,
            with `logits`, values that already look like probabilities).
    """
    file, stored = read_voxels(
        path,
        channels=None if logits else channels,
        check_header=check_header,
        buffer=buffer,
    )
    check_channels(file, channels)
    values = _as_float32(stored, file)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        n_bad = int(np.count_nonzero(~np.isfinite(values)))
        raise ValueError(f"{path}: {n_bad} voxels are NaN or infinite")
    if logits:
        if 0 <= low < high <= 1:
            raise ValueError(
                f"{path}: logits expected, but all values lie in [0, 1]: these look "
                "like probabilities"
            )
        values = _probabilities(values)[list(channels)]
        return ProbMap(values, tuple(channels), path, file, 0.0)
    overshoot = max(0.0, -low, high - 1.0)
    if overshoot > (MAX_OVERSHOOT if allow_overshoot else 0):
        hint = (
            "; allow_overshoot (--allow-overshoot) accepts this much"
            if overshoot <= MAX_OVERSHOOT
            else ""
        )
        raise ValueError(
            f"{path}: probabilities must lie in [0, 1], got {low:.6g} to {high:.6g}{hint}"
        )
    return ProbMap(values, tuple(channels), path, file, overshoot)


def read_labels(
    path: Path, *, buffer: Buffer | None = None
) -> tuple[Integer[np.ndarray, " voxels"], NiftiFile]:
    """Read a reference label map as a flat integer array in storage order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, has a class axis, or holds fractions.
    """
    file, stored = read_voxels(path, buffer=buffer)
    if file.n_channels > 1:
        raise ValueError(
            f"{path}: a reference has one label per voxel, got {file.n_channels} channels"
        )
    labels = stored[0]
    if labels.dtype.kind in "iu" and file.scale == (1.0, 0.0):
        return labels, file
    values = labels * file.scale[0] + file.scale[1]
    is_label = (values == np.rint(values)) & (np.abs(values) < _LABEL_LIMIT)
    if not is_label.all():
        raise ValueError(
            f"{path}: labels must be whole numbers, got {values[~is_label][0]:.6g}"
        )
    return values.astype(np.int32), file


def read_valid(path: Path) -> tuple[Bool[np.ndarray, " voxels"], NiftiFile]:
    """Read a mask of the voxels that count, flat, in storage order."""
    labels, file = read_labels(path)
    return labels != 0, file


@np.errstate(over="ignore")
def _as_float32(stored: np.ndarray, file: NiftiFile) -> np.ndarray:
    """Stored values times slope plus intercept, rounded once to float32.

    What float32 cannot hold becomes infinite, and is then refused as such.
    """
    slope, intercept = file.scale
    if (slope, intercept) == (1.0, 0.0):
        # In place where the type allows it; otherwise one rounding.
        return stored.astype(np.float32, copy=False)
    if stored.dtype.kind == "u" and stored.dtype.itemsize <= 2:
        every = np.arange(1 << 8 * stored.dtype.itemsize, dtype=np.float64)
        return (every * slope + intercept).astype(np.float32)[stored]
    out = np.empty(stored.shape, np.float32)
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
