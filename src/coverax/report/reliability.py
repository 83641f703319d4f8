"""Figures of calibration: reliability diagrams and dataset reliability histograms.

Colours: one sequential map that stays ordered in grey and for colour-blind readers, and
shape (diagonal dashed, mean as a line with dots) where two things meet.
"""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, NullFormatter

from coverax.files import PathLike
from coverax.reliability import (
    DatasetHistogram,
    RegionBins,
    bin_means,
    calibration_errors,
    dataset_histogram,
    mean_of_known,
    pooled,
)
from coverax.report.saved import save_figures

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#7f7f7f"
_MAP = "Blues"
_PANEL_INCHES = 3.0
# Panels of a row; more wrap into rows that are as even as they can be.
_MOST_IN_A_ROW = 4
# Letters of a title that fit above a panel, and in all: three lines at most.
_LINE_LETTERS, _MOST_LETTERS = 30, 59


def draw_figures(regions: Sequence[RegionBins], folder: PathLike) -> list[Path]:
    """Draw both figures of a cohort as PNG and SVG, the same bytes again; the files."""
    figures = {
        "reliability_diagram": reliability_figure(regions),
        "dataset_histogram": histogram_figure(regions),
    }
    return save_figures(figures, folder)


def reliability_figure(regions: Sequence[RegionBins]) -> Figure:
    """Pooled reliability diagram of each region, with the voxels of each bin below."""
    figure, panels = _panels(len(regions), colour_bar=False)
    for region, (top, bottom) in zip(regions, panels, strict=True):
        draw_diagram(top, region)
        count = np.asarray(pooled(region.statistics).count)[0]
        _count_bars(bottom, count, "voxels")
    _label_rows(panels, "observed frequency")
    _add_legend(figure, panels[0][0])
    return figure


def draw_diagram(axes: Axes, region: RegionBins) -> None:
    """Pooled reliability diagram of one region."""
    whole = pooled(region.statistics)
    mean_p, mean_y = (x[0] for x in bin_means(whole))
    errors = calibration_errors(whole)
    n_bins = mean_p.size
    axes.bar(
        np.arange(n_bins) / n_bins,
        mean_y,
        1 / n_bins,
        align="edge",
        color=_BLUE,
        alpha=0.35,
        lw=0.5,
        edgecolor="white",
    )
    axes.vlines(mean_p, mean_p, mean_y, color=_ORANGE, lw=2, label="gap")
    axes.plot(mean_p, mean_y, "o", color=_BLUE, ms=4, label="observed")
    shown = (f"{name.upper()} {e[0]:.4f}" for name, e in errors._asdict().items())
    _unit_square(axes, f"{_title(region.name)}\n{'  '.join(shown)}")


def histogram_figure(regions: Sequence[RegionBins]) -> Figure:
    """Dataset reliability histogram of each region, and their average if several."""
    histograms = [(r.name, dataset_histogram(r.statistics)) for r in regions]
    classes = [h for name, h in histograms if name != "top label"]
    panels = [(name, h.share, h.mean_y, h.n_cases) for name, h in histograms]
    if len(classes) > 1:
        panels.append(("average of the classes", *_average(classes)))
    figure, axes = _panels(len(panels), colour_bar=True)
    image = None
    for (name, share, mean_y, n_cases), (top, bottom) in zip(panels, axes, strict=True):
        image = draw_histogram(top, name, share, mean_y)
        _count_bars(bottom, n_cases, "cases", log=False)
    _label_rows(axes, "observed frequency of a case")
    _add_legend(figure, axes[0][0])
    if image is not None:
        figure.colorbar(
            image,
            ax=[top for top, _ in axes],
            label="share of the cases in a column",
            pad=0.01,
            aspect=20 * _n_rows(len(panels)),
        )
    return figure


def draw_histogram(
    axes: Axes, name: str, share: np.ndarray, mean_y: np.ndarray
) -> AxesImage:
    """Dataset reliability histogram of one region, and what a colour bar is of.

    Args:
        axes: Where to.
        name: Above it.
        share: Of the cases of a column, by row, as `DatasetHistogram` has it.
        mean_y: Mean over cases of each column.
    """
    image = axes.imshow(
        np.ma.masked_invalid(np.where(share > 0, share, np.nan)),
        origin="lower",
        extent=(0, 1, 0, 1),
        cmap=colormaps[_MAP],
        norm=PowerNorm(0.5, 0, 1),  # one case of hundreds stays visible
        aspect="auto",
        interpolation="nearest",
    )
    centres = (np.arange(mean_y.size) + 0.5) / mean_y.size
    axes.plot(centres, mean_y, "o-", color=_ORANGE, ms=3, lw=1.2, label="mean of cases")
    _unit_square(axes, _title(name))
    return image


def _average(
    histograms: Sequence[DatasetHistogram],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the classes' columns, frequencies and cases, each class weighing the same.

    Columns and frequencies are means over the classes that have the bin.
    """
    share = mean_of_known(np.stack([h.share for h in histograms]))
    mean_y = mean_of_known(np.stack([h.mean_y for h in histograms]))
    return share, mean_y, np.mean([h.n_cases for h in histograms], axis=0)


def _n_rows(n: int) -> int:
    return math.ceil(n / _MOST_IN_A_ROW)


def _panels(n: int, *, colour_bar: bool) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """A figure of n panels in rows, each panel a square with its counts below."""
    n_rows = _n_rows(n)
    n_columns = math.ceil(n / n_rows)
    width = _PANEL_INCHES * n_columns + (0.9 if colour_bar else 0.3)
    height = _PANEL_INCHES * 1.4 * n_rows + 0.3
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(
        2 * n_rows,
        n_columns,
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": [4, 1] * n_rows},
    )
    panels = []
    for k in range(n_rows * n_columns):
        row, column = divmod(k, n_columns)
        top, bottom = grid[2 * row, column], grid[2 * row + 1, column]
        if k >= n:
            top.remove()
            bottom.remove()
            continue
        bottom.tick_params(labelbottom=True)
        if k:
            top.sharey(grid[0, 0])
            bottom.sharey(grid[1, 0])
        if column:
            top.tick_params(labelleft=False)
            bottom.tick_params(labelleft=False)
        panels.append((top, bottom))
    return figure, panels


def _title(name: str) -> str:
    """A name in lines that fit above a panel; a long one loses its middle.

    Names of parts of one structure differ at their ends.
    """
    if len(name) > _MOST_LETTERS:
        half = (_MOST_LETTERS - 1) // 2
        name = f"{name[:half]}…{name[-half:]}"
    return "\n".join(textwrap.wrap(name, _LINE_LETTERS))


def _label_rows(panels: Sequence[tuple[Axes, Axes]], text: str) -> None:
    """Name the vertical axis of the first panel of each row."""
    for top, _ in panels:
        if top.yaxis.get_tick_params().get("labelleft", True):
            top.set_ylabel(text)


def _add_legend(figure: Figure, panel: Axes) -> None:
    """One legend for all panels, below them, where no data can be."""
    figure.legend(
        *panel.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        fontsize=8,
        frameon=False,
    )


def _unit_square(axes: Axes, title: str) -> None:
    axes.plot([0, 1], [0, 1], "--", color=_GREY, lw=1, label="calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.set_title(title, fontsize=9)


def _count_bars(axes: Axes, count: np.ndarray, unit: str, *, log: bool = True) -> None:
    n_bins = count.size
    left = np.arange(n_bins) / n_bins
    axes.bar(
        left, count, 1 / n_bins, align="edge", color=_GREY, lw=0.5, edgecolor="white"
    )
    if log and (count > 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10], integer=True))
    axes.set_xlabel("predicted probability")
    axes.set_ylabel(unit if axes.yaxis.get_tick_params().get("labelleft", True) else "")
