"""Slices, contours and words painted straight into an array of colours.

A figure with axes takes hundreds of milliseconds; a picture of slices needs none of them.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

Colour = tuple[int, int, int]
# Told apart by every reader, and never by colour alone: where a line lies and whether
# it is broken go with each.
ORANGE, BLUE, WHITE, BLACK = (255, 159, 28), (46, 196, 255), (255, 255, 255), (0, 0, 0)
GREY = (96, 96, 96)
_LINE, _DASH = 2, (5, 7)  # pixels
# A picture without colours of its own has these greys, and behind them those of lines.
_GREYS = 248
_LINES = (ORANGE, BLUE)
_TAIL = 0.005  # share of the values at each end, drawn black or white
_MOST_RANKED = 50_000
# 1, 2 or 5 of a power of ten: lengths of a scale bar.
_STEPS = (5, 2, 1)


class Inks:
    """How colours are written into a picture: a byte of a palette, or three.

    A palette has a third of the bytes, and letters still have smooth edges.
    """

    def __init__(self, *, in_colour: bool):
        self.in_colour = in_colour

    def of(self, colour: Colour) -> Any:
        """What a pixel of this colour holds."""
        if self.in_colour:
            return colour
        if colour in _LINES:
            return _GREYS + _LINES.index(colour)
        return round(colour[0] * (_GREYS - 1) / 255)

    def empty(self, height: int, width: int) -> np.ndarray:
        """A white canvas."""
        canvas = np.empty(
            (height, width, 3) if self.in_colour else (height, width), "u1"
        )
        canvas[:] = self.of(WHITE)
        return canvas

    def slice(self, values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A slice of bytes on another number of pixels."""
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(values))
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        if self.in_colour:
            return np.array(image.convert("RGB"))
        return _TO_GREYS[np.asarray(image)]

    def finished(self, image: Any) -> Any:
        """A drawn picture as it is saved."""
        if not self.in_colour:
            greys = [round(k * 255 / (_GREYS - 1)) for k in range(_GREYS)]
            lines = [part for colour in _LINES for part in colour]
            image.putpalette([g for grey in greys for g in (grey,) * 3] + lines)
        return image


_TO_GREYS = np.rint(np.arange(256) * (_GREYS - 1) / 255).astype(np.uint8)


class Layer(NamedTuple):
    """A mask to be drawn as a contour.

    Attributes:
        name: For the legend.
        mask: `[x, y, z]`.
        colour: Of the line.
        second: Makes it a broken line of both colours, with gaps.
        outside: Whether the line runs just outside the mask, not just inside.
    """

    name: str
    mask: Bool[np.ndarray, "x y z"]
    colour: Colour
    second: Colour | None = None
    outside: bool = False


def window_of(values: Shaped[np.ndarray, "*shape"]) -> tuple[float, float]:
    """What is drawn black and what white: all values but half a percent at each end.

    Of a large volume a sample of evenly spread voxels is ranked; what is not finite does
    not count.
    """
    flat = values.reshape(-1, order="A")
    flat = flat[:: max(1, math.ceil(flat.size / _MOST_RANKED)) | 1]
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return 0.0, 1.0
    tail = int(_TAIL * flat.size)
    ranked = np.partition(flat, (tail, flat.size - 1 - tail))
    low, high = ranked[tail], ranked[flat.size - 1 - tail]
    if low == high:  # most of it is one value
        low, high = flat.min(), flat.max()
    return float(low), float(high)


def as_bytes(
    values: Shaped[np.ndarray, "*shape"], window: tuple[float, float]
) -> UInt8[np.ndarray, "*shape"]:
    """Grey values between both ends of a window; what is not finite is black."""
    low, high = window
    scaled = (values.astype(np.float32) - low) * (255 / ((high - low) or 1))
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def scaled_mask(mask: Bool[np.ndarray, "h w"], size: tuple[int, int]) -> np.ndarray:
    """A mask on more pixels, or on fewer: none of its voxels is lost then."""
    for axis, (n, wanted) in enumerate(zip(mask.shape, size, strict=True)):
        if wanted >= n:
            mask = mask.take((2 * np.arange(wanted) + 1) * n // (2 * wanted), axis)
        else:
            mask = np.logical_or.reduceat(mask, np.arange(wanted) * n // wanted, axis)
    return mask


def contour(mask: Bool[np.ndarray, "h w"], *, outside: bool) -> np.ndarray:
    """Pixels along the edge of a mask, just inside or just outside of it.

    Where the mask goes on to the edge of the picture, the line runs along that edge.
    """
    t = _LINE
    padded = np.pad(mask, t)
    left, right = padded[t:-t, : -2 * t], padded[t:-t, 2 * t :]
    up, down = padded[: -2 * t, t:-t], padded[2 * t :, t:-t]
    inside = mask & ~(left & right & up & down)
    if not outside:
        return inside
    edge = np.ones(mask.shape, bool)
    edge[t:-t, t:-t] = False
    return ((left | right | up | down) & ~mask) | (mask & edge)


def paint(picture: np.ndarray, mask: np.ndarray, layer: Layer, inks: Inks) -> None:
    """Draw the contour of one slice of a layer into a picture."""
    if not mask.any():
        return
    line = contour(scaled_mask(mask, picture.shape[:2]), outside=layer.outside)
    if layer.second is None:
        picture[line] = inks.of(layer.colour)
        return
    rows, columns = np.nonzero(line)
    part = (rows // _DASH[0] + columns // _DASH[1]) % 3
    # Every third dash shows what lies below, another contour on the same edge.
    for k, colour in enumerate((layer.colour, layer.second)):
        own = part == k
        picture[rows[own], columns[own]] = inks.of(colour)


def bar_length(width_mm: float) -> float:
    """The longest round length that takes at most a third of a width, in mm."""
    power = 10.0 ** math.floor(math.log10(width_mm / 3))
    return next(s for s in _STEPS if s * power <= width_mm / 3) * power


@functools.cache
def font(size: int) -> Any:
    """A font that matplotlib brings, with Greek and Cyrillic letters."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(path, size)


def wrapped(text: str, size: int, width: int) -> list[str]:
    """A text in lines that fit into a width; a word that is longer is cut into several."""
    measure = font(size).getlength
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if measure(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and measure(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def legend_rows(names: Sequence[str], size: int, width: int) -> list[list[int]]:
    """Which entries of a legend stand in which row, each as wide as it is."""
    rows: list[list[int]] = [[]]
    used = 0.0
    for k, name in enumerate(names):
        own = font(size).getlength(name) + ENTRY
        if rows[-1] and used + own > width:
            rows.append([])
            used = 0.0
        rows[-1].append(k)
        used += own
    return rows


ENTRY = 44  # pixels of a legend entry beside its words
