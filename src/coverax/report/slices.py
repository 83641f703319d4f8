"""Slices of a volume for a page: one strip of grey pixels, and contours as paths."""

import base64
import io
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from coverax.report.raster import as_bytes, window_of
from coverax.report.sheet import view_of
from coverax.volumes import Grid

# A viewer of this many slices, this wide, takes half a megabyte at most.
MOST_SLICES, MOST_PIXELS = 32, 160
_MARGIN = 2  # slices shown beyond the last one that holds anything
_COARSE = 0b11111100  # 64 greys: nobody sees more, and the picture is a third smaller


class Stack(NamedTuple):
    """Slices of one case along its third axis, turned as a sheet of them is.

    Attributes:
        places: Slice numbers, ascending, counted from 0.
        n_slices: Slices of the volume.
        width: Of a slice, in mm.
        height: Of a slice, in mm.
        picture: All slices below each other, a PNG as data address.
        contours: By name, a path for each slice; empty where there is nothing.
        first: The place that shows most, by its index.
        ends: What lies left, right, above and below; empty where nobody knows.
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
    view = view_of(grid)
    edges_mm = view.edges_mm(grid)
    held = np.zeros(image.shape[2], int)
    for mask in masks.values():
        held += np.count_nonzero(mask, axis=(0, 1))
    places = _places(held)
    turned = view.apply(image)
    height, width = turned.shape[:2]
    step = max(1, -(-max(height, width) // MOST_PIXELS))
    grey = as_bytes(turned[::step, ::step], window_of(image)) & _COARSE
    seen = {name: view.apply(mask) for name, mask in masks.items()}
    return Stack(
        places=tuple(places),
        n_slices=image.shape[2],
        width=width * edges_mm[1],
        height=height * edges_mm[0],
        picture=_png(np.concatenate([grey[:, :, z] for z in places])),
        contours={
            name: tuple(_path(mask[:, :, z], edges_mm) for z in places)
            for name, mask in seen.items()
        },
        first=int(np.argmax(held[places])),
        ends=view.ends,
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


def _png(grey: np.ndarray) -> str:
    from PIL import Image  # comes with matplotlib

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _path(mask: np.ndarray, edges_mm: tuple[float, float]) -> str:
    """The outline of a mask of rows and columns in mm, as an SVG path."""
    from contourpy import contour_generator  # comes with matplotlib

    if not mask.any():
        return ""
    y, x = (
        (np.arange(-1, n + 1) + 0.5) * edge
        for n, edge in zip(mask.shape, edges_mm, strict=True)
    )
    lines = contour_generator(x, y, np.pad(mask.astype(float), 1)).lines(0.5)
    return "".join(
        "M" + "L".join(f"{a:.4g} {b:.4g}" for a, b in np.asarray(line)) + "Z"
        for line in lines
    )
