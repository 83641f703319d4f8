"""Slices of a volume for a page: one strip of grey pixels, and contours as paths."""

import base64
import io
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from coverax.volumes import Grid

# A viewer of this many slices, this wide, takes half a megabyte at most.
MOST_SLICES, MOST_PIXELS = 32, 160
_MARGIN = 2  # slices shown beyond the last one that holds anything
_TAIL = 0.005  # of the values at each end, drawn black or white
_BEFORE, _BEHIND = "LPI", "RAS"  # what lies at low and high ends of world axes


class Stack(NamedTuple):
    """Slices of one case along its third axis.

    Attributes:
        places: Slice numbers, ascending, counted from 0.
        n_slices: Slices of the volume.
        width: Of a slice, in mm.
        height: Of a slice, in mm.
        picture: All slices below each other, a PNG as data address.
        contours: By name, a path for each slice; empty where there is nothing.
        first: The place that shows most, by its index.
        ends: What lies left, right, below and above; empty where nobody knows.
        has_mm: Whether the size of a voxel is known.
    """

    places: tuple[int, ...]
    n_slices: int
    width: float
    height: float
    picture: str
    contours: dict[str, tuple[str, ...]]
    first: int
    ends: tuple[str, str, str, str]
    has_mm: bool


def stack_of(
    image: Shaped[np.ndarray, "x y z"],
    masks: Mapping[str, Bool[np.ndarray, "x y z"]],
    grid: Grid,
) -> Stack:
    """Slices that hold anything, with the contours of all masks.

    Args:
        image: What is drawn below.
        masks: By name.
        grid: Where the voxels lie.
    """
    edges_mm, placed = grid.edges_mm, grid.origin is None or grid.origin.has_form
    held = np.zeros(image.shape[2], int)
    for mask in masks.values():
        held += np.count_nonzero(mask, axis=(0, 1))
    places = _places(held)
    step = max(1, -(-max(image.shape[:2]) // MOST_PIXELS))
    grey = _grey(image)[::step, ::step]
    rows = [grey[:, ::-1, z].T for z in places]
    contours = {
        name: tuple(_path(mask[:, :, z], edges_mm) for z in places)
        for name, mask in masks.items()
    }
    return Stack(
        places=tuple(places),
        n_slices=image.shape[2],
        width=image.shape[0] * edges_mm[0],
        height=image.shape[1] * edges_mm[1],
        picture=_png(np.concatenate(rows)),
        contours=contours,
        first=int(np.argmax(held[places])),
        ends=_ends(grid.affine) if placed else ("", "", "", ""),
        has_mm=not math.isnan(grid.voxel_volume_ml),
    )


def strip(stack: Stack, n: int = 4) -> list[int]:
    """Indices of slices spread over the stack, for a still picture."""
    places = np.linspace(0, len(stack.places) - 1, min(n + 2, len(stack.places)))
    inner = places[1:-1] if places.size > 2 else places
    return sorted({round(float(place)) for place in inner})


def _places(held: np.ndarray) -> list[int]:
    """Slices from the first to the last that holds something, and a few around."""
    some = np.flatnonzero(held)
    if some.size == 0:
        some = np.array([held.size // 2])
    low = max(int(some[0]) - _MARGIN, 0)
    high = min(int(some[-1]) + _MARGIN, held.size - 1)
    spread = np.linspace(low, high, min(MOST_SLICES, high - low + 1))
    return sorted({round(float(place)) for place in spread})


def _grey(image: np.ndarray) -> np.ndarray:
    """The image as 64 greys between its darkest and brightest values but a few."""
    ranked = np.sort(image[np.isfinite(image)], axis=None)
    if ranked.size == 0:
        return np.zeros(image.shape, np.uint8)
    tail = int(ranked.size * _TAIL)
    low, high = float(ranked[tail]), float(ranked[-1 - tail])
    if low == high:  # most of it is one value
        low, high = float(ranked[0]), float(ranked[-1])
    scaled = (np.nan_to_num(image) - low) / (high - low or 1)
    return (np.clip(scaled, 0, 1) * 63).astype(np.uint8) << 2


def _png(grey: np.ndarray) -> str:
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _path(mask: np.ndarray, edges_mm: tuple[float, float, float]) -> str:
    """The outline of a mask in mm, the second axis upwards, as an SVG path."""
    from contourpy import contour_generator  # comes with matplotlib

    if not mask.any():
        return ""
    inside = np.pad(mask.T.astype(float), 1)
    x = (np.arange(-1, mask.shape[0] + 1) + 0.5) * edges_mm[0]
    y = (mask.shape[1] - np.arange(-1, mask.shape[1] + 1) - 0.5) * edges_mm[1]
    lines = contour_generator(x, y, inside).lines(0.5)
    return "".join(
        "M" + "L".join(f"{a:.4g} {b:.4g}" for a, b in np.asarray(line)) + "Z"
        for line in lines
    )


def _ends(affine: np.ndarray) -> tuple[str, str, str, str]:
    """What lies at both ends of the first and of the second axis."""
    found: list[str] = []
    for axis in range(2):
        column = affine[:3, axis]
        world = int(np.argmax(np.abs(column)))
        ends = (_BEFORE[world], _BEHIND[world])
        found += ends if column[world] > 0 else reversed(ends)
    return found[0], found[1], found[2], found[3]
