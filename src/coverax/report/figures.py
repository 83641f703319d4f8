"""Figures: slices with the contours of inner and outer sets."""

from typing import Any

import numpy as np

from coverax.report.raster import window_of
from coverax.report.sheet import slices_of

# Blue and orange are told apart by every reader.
INNER_COLOUR, OUTER_COLOUR = "#ff9f1c", "#2ec4ff"


def check_figures() -> None:
    """Refuse before any work what could not be drawn.

    Raises:
        ValueError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise ValueError(
            "figures need matplotlib: pip install 'coverax[report]'"
        ) from None


def plot_sets(
    image: np.ndarray, labels: np.ndarray, spacing_mm: tuple[float, ...], title: str
) -> list[Any]:
    """A row of slices along the third axis, with the contours of both sets.

    Args:
        image: What to draw on, `[x, y, z]`.
        labels: 0 outside the outer set, 2 in the inner one, 1 between.
        spacing_mm: Edge lengths of a voxel.
        title: Above the row.

    Returns:
        The matplotlib axes, one a slice.

    Raises:
        ValueError: matplotlib is not installed.
    """
    check_figures()
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    slices = slices_of(np.asarray((labels > 0).any(axis=(0, 1))))
    figure = Figure(figsize=(2.6 * len(slices), 3.1), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(slices)))
    for panel, z in zip(panels, slices, strict=True):
        draw_slice(panel, image, labels, spacing_mm, z)
    figure.legend(
        handles=[
            Line2D([], [], color=INNER_COLOUR, label="inner set: surely lesion"),
            Line2D(
                [], [], color=OUTER_COLOUR, label="outside the outer set: surely not"
            ),
        ],
        loc="outside lower center",
        ncols=2,
        fontsize=8,
        frameon=False,
    )
    figure.suptitle(title, fontsize=9)
    return list(panels)


def draw_slice(
    panel: Any,
    image: np.ndarray,
    labels: np.ndarray,
    spacing_mm: tuple[float, ...],
    z: int,
) -> None:
    """One slice along the third axis, with the contours of both sets."""
    low, high = window_of(image)
    extent = (0, image.shape[0] * spacing_mm[0], 0, image.shape[1] * spacing_mm[1])
    panel.imshow(
        image[:, :, z].T,
        cmap="gray",
        vmin=low,
        vmax=high if high > low else low + 1,
        origin="lower",
        extent=extent,
    )
    for label, colour in ((1, OUTER_COLOUR), (2, INNER_COLOUR)):
        inside = np.pad((labels[:, :, z] >= label).T.astype(float), 1)
        if inside.any():
            x = (np.arange(-1, labels.shape[0] + 1) + 0.5) * spacing_mm[0]
            y = (np.arange(-1, labels.shape[1] + 1) + 0.5) * spacing_mm[1]
            panel.contour(x, y, inside, [0.5], colors=colour, linewidths=1.6)
    panel.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
    panel.set_xlabel(f"z = {z}", fontsize=8)


def middle_slice(labels: np.ndarray) -> int:
    """The middle one of the slices along the third axis that a mask touches."""
    held = np.flatnonzero((labels > 0).any(axis=(0, 1)))
    return int(held[held.size // 2]) if held.size else labels.shape[2] // 2
