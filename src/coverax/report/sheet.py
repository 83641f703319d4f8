"""A sheet of slices of one case: words above, slices with contours, a legend below."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from coverax.report.raster import (
    BLACK,
    ENTRY,
    GREY,
    WHITE,
    Inks,
    Layer,
    as_bytes,
    bar_length,
    font,
    legend_rows,
    paint,
    window_of,
    wrapped,
)
from coverax.volumes import Grid, orientation_of

_N_SLICES = 4
_LONG_EDGE, _LONE_EDGE, _SHORT_EDGE = 256, 420, 24  # of a slice, in pixels
_LEAST_WIDTH, _MARGIN, _GAP = 520, 10, 8
_TITLE, _TEXT, _SMALL = 15, 12, 11
# Where the patient's left, back and feet are drawn: right, below.
_RIGHTWARDS, _DOWNWARDS = ("L", "P"), ("I", "P")
_OPPOSITE = dict(zip("LRPAIS", "RLAPSI", strict=True))


class View(NamedTuple):
    """How a slice is turned to be looked at.

    Attributes:
        across: The axis that runs to the right, 0 or 1.
        flips: Whether the axes to the right and downwards are drawn backwards.
        ends: What lies left, right, above and below; empty where nobody knows.
    """

    across: int
    flips: tuple[bool, bool]
    ends: tuple[str, str, str, str]

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """`[x, y, z, ...]` as `[row, column, z, ...]`."""
        turned = volume if self.across else volume.swapaxes(0, 1)
        steps = tuple(slice(None, None, -1 if f else 1) for f in self.flips[::-1])
        return turned[steps]

    def edges_mm(self, grid: Grid) -> tuple[float, float]:
        """Edges of a voxel downwards and to the right."""
        edges = grid.edges_mm
        return edges[1 - self.across], edges[self.across]


def view_of(grid: Grid) -> View:
    """As radiologists look: the patient's right on the left, front or head above.

    Where the header tells no place, the first axis runs to the right and the second
    one downwards, as in a picture.
    """
    if grid.origin is not None and not grid.origin.has_form:
        return View(0, (False, False), ("", "", "", ""))
    own = orientation_of(grid)[:2]
    is_along = [set(own[k]) & set("LR") for k in range(2)]
    if not any(is_along):
        is_along = [set(own[k]) & set("AP") for k in range(2)]
    across = 0 if is_along[0] else 1
    right, down = own[across], own[1 - across]
    flips = (right not in _RIGHTWARDS, down not in _DOWNWARDS)
    right = _OPPOSITE[right] if flips[0] else right
    down = _OPPOSITE[down] if flips[1] else down
    return View(across, flips, (_OPPOSITE[right], right, _OPPOSITE[down], down))


def slices_of(touched: Bool[np.ndarray, " z"]) -> list[int]:
    """Slices spread over those that any mask touches; the middle one where none does."""
    held = np.flatnonzero(touched)
    if held.size == 0:
        return [touched.size // 2]
    places = np.linspace(0, held.size - 1, min(_N_SLICES + 2, held.size))
    # The first and the last slice of a mask show little of it.
    inner = places[1:-1] if places.size > 2 else places
    return sorted({int(held[round(p)]) for p in inner})


def draw_sheet(
    image: np.ndarray,
    layers: Sequence[Layer],
    grid: Grid,
    title: str,
    lines: Sequence[str],
    *,
    window: tuple[float, float] | None = None,
    notes: Sequence[str] = (),
) -> Any:
    """Slices along the third axis with the contours of masks.

    Args:
        image: What to draw on, `[x, y, z]`, or `[x, y, z, 3]` in colours.
        layers: Masks of the same shape; later ones are drawn over earlier ones.
        grid: Where their voxels lie.
        title: Above.
        lines: What is to be said, below the title.
        window: The values drawn black and white, by default all but half a percent at
            each end.
        notes: What is to be said below the legend.

    Returns:
        A Pillow image.
    """
    touched = np.zeros(image.shape[2], bool)
    for layer in layers:
        touched |= layer.mask.any(axis=(0, 1))
    view, places = view_of(grid), slices_of(touched)
    is_colour = image.ndim == 4
    ends = window or window_of(image)
    if is_colour:
        top = float(np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1)
        ends = (0.0, top)
    mm = view.edges_mm(grid)
    turned = view.apply(image)
    size = _size_of(turned.shape, mm, len(places))
    seen = [layer._replace(mask=view.apply(layer.mask)) for layer in layers]
    inks, panels = Inks(in_colour=is_colour), []
    for z in places:
        panel = inks.slice(as_bytes(turned[:, :, z], ends), size)
        for layer in seen:
            paint(panel, layer.mask[:, :, z], layer, inks)
        panels.append(panel)
    is_sized = not (grid.origin and grid.origin.unsized)
    bar = _Bar(turned.shape[1] * mm[1], size[1]) if is_sized else None
    said = [*notes, *_about(view, ends, is_colour=is_colour, is_sized=is_sized)]
    captions = [f"slice {z + 1} of {image.shape[2]}" for z in places]
    sheet = _Sheet(panels, captions, view.ends, bar, layers, inks)
    return sheet.with_words(title, lines, said)


def _about(
    view: View, window: tuple[float, float], *, is_colour: bool, is_sized: bool
) -> list[str]:
    said = [] if is_colour else [f"black {window[0]:.4g}, white {window[1]:.4g}"]
    if not view.ends[0]:
        said.append("the header tells no orientation")
    if not is_sized:
        said.append("the size of a voxel is not known")
    return said


def _size_of(
    shape: tuple[int, ...], mm: tuple[float, float], n: int
) -> tuple[int, int]:
    """Height and width of a slice in pixels, true to its millimetres."""
    height, width = shape[0] * mm[0], shape[1] * mm[1]
    longest = (_LONE_EDGE if n == 1 else _LONG_EDGE) / max(height, width)
    return (
        max(_SHORT_EDGE, round(height * longest)),
        max(_SHORT_EDGE, round(width * longest)),
    )


class _Bar:
    """A scale bar: its words, and its length in pixels."""

    def __init__(self, width_mm: float, n_pixels: int):
        length = bar_length(width_mm)
        self.words = f"{length:g} mm"
        self.n_pixels = max(1, round(length / width_mm * n_pixels))


class _Sheet:
    """Puts slices and words onto one canvas."""

    def __init__(
        self,
        panels: Sequence[np.ndarray],
        captions: Sequence[str],
        ends: tuple[str, str, str, str],
        bar: "_Bar | None",
        layers: Sequence[Layer],
        inks: Inks,
    ):
        self.ink, self.inks = inks.of, inks
        self.panels, self.captions, self.ends = panels, captions, ends
        self.bar, self.layers = bar, layers
        words = [*captions, bar.words if bar else ""]
        longest = max(font(_SMALL).getlength(text) for text in words)
        self.cell = max(panels[0].shape[1], int(longest) + 2)
        across = len(panels) * (self.cell + _GAP) - _GAP
        self.width = max(_LEAST_WIDTH, across + 2 * _MARGIN)

    def with_words(self, title: str, lines: Sequence[str], notes: Sequence[str]) -> Any:
        """The sheet."""
        from PIL import Image, ImageDraw

        inner = self.width - 2 * _MARGIN
        black, grey = self.ink(BLACK), self.ink(GREY)
        head = [(text, _TITLE, black) for text in wrapped(title, _TITLE, inner)]
        head += [
            (t, _TEXT, black) for line in lines for t in wrapped(line, _TEXT, inner)
        ]
        foot = [(t, _SMALL, grey) for t in wrapped("; ".join(notes), _SMALL, inner)]
        rows = legend_rows([layer.name for layer in self.layers], _TEXT, inner)
        below = _height(foot) + len(rows) * (_TEXT + _GAP)
        top = _MARGIN + _height(head)
        panel_height = self.panels[0].shape[0]
        bar_height = _SMALL + 10 if self.bar else 0
        bottom = top + panel_height + _SMALL + 6 + bar_height
        height = bottom + below + _MARGIN
        canvas = self.inks.empty(height, self.width)
        starts = self._starts()
        for x, panel in zip(starts, self.panels, strict=True):
            canvas[top : top + panel_height, x : x + panel.shape[1]] = panel
        image = Image.fromarray(canvas)
        draw = ImageDraw.Draw(image)
        _text_block(draw, _MARGIN, head)
        for x, caption in zip(starts, self.captions, strict=True):
            self._mark(draw, x, top)
            middle = x + self.panels[0].shape[1] // 2
            spot = (middle, top + panel_height + 3)
            draw.text(spot, caption, grey, font(_SMALL), anchor="ma")
        if self.bar:
            self._scale(draw, self.bar, starts[0], top + panel_height + _SMALL + 8)
        self._legend(draw, rows, bottom)
        _text_block(draw, height - _MARGIN - _height(foot), foot)
        return self.inks.finished(image)

    def _starts(self) -> list[int]:
        """Left edges of the slices, which stand in the middle."""
        own, n = self.panels[0].shape[1], len(self.panels)
        across = n * (self.cell + _GAP) - _GAP
        first = (self.width - across) // 2 + (self.cell - own) // 2
        return [first + k * (self.cell + _GAP) for k in range(n)]

    def _mark(self, draw: Any, x: int, y: int) -> None:
        """What lies at the edges of a slice."""
        height, width = self.panels[0].shape[:2]
        left, right, above, below = self.ends
        spots = [
            (left, (x + 3, y + height // 2), "lm"),
            (right, (x + width - 3, y + height // 2), "rm"),
            (above, (x + width // 2, y + 2), "ma"),
            (below, (x + width // 2, y + height - 2), "md"),
        ]
        for letter, spot, anchor in spots:
            black, white = self.ink(BLACK), self.ink(WHITE)
            options = {"anchor": anchor, "stroke_width": 2, "stroke_fill": black}
            draw.text(spot, letter, white, font(_TEXT), **options)

    def _scale(self, draw: Any, bar: "_Bar", x: int, y: int) -> None:
        """A bar below the first slice, and its length."""
        x += (self.panels[0].shape[1] - bar.n_pixels) // 2
        black = self.ink(BLACK)
        draw.line([(x, y), (x + bar.n_pixels - 1, y)], black, 2)
        middle = x + bar.n_pixels // 2
        draw.text((middle, y + 2), bar.words, black, font(_SMALL), anchor="ma")

    def _legend(self, draw: Any, rows: list[list[int]], y: int) -> None:
        for row in rows:
            x, y = _MARGIN, y + _GAP
            for k in row:
                layer = self.layers[k]
                self._sample(draw, layer, x, y + _TEXT // 2)
                spot = (x + 30, y - 2)
                draw.text(spot, layer.name, self.ink(BLACK), font(_TEXT))
                x += int(font(_TEXT).getlength(layer.name)) + ENTRY
            y += _TEXT

    def _sample(self, draw: Any, layer: Layer, x: int, y: int) -> None:
        """A piece of the line of a layer, on grey as its slices are."""
        draw.rectangle([(x, y - 4), (x + 24, y + 4)], self.ink(GREY))
        colours = (
            (layer.colour, layer.second, GREY) if layer.second else (layer.colour,)
        )
        for part in range(5):
            colour = colours[part % len(colours)]
            ends = [(x + 5 * part, y), (x + 5 * part + 4, y)]
            draw.line(ends, self.ink(colour), 2)


def _height(lines: Sequence[tuple[str, int, Any]]) -> int:
    return sum(size + 6 for _, size, _ in lines)


def _text_block(draw: Any, y: int, lines: Sequence[tuple[str, int, Any]]) -> None:
    for text, size, colour in lines:
        draw.text((_MARGIN, y), text, colour, font(size))
        y += size + 6
