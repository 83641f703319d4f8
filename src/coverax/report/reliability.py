"""Figures of calibration: reliability diagrams and dataset reliability histograms.

Colours: one sequential map that stays ordered in grey and for colour-blind readers, and
shape (diagonal dashed, mean as a line with dots) where two things meet.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from coverax.reliability import (
    DatasetHistogram,
    RegionBins,
    bin_means,
    calibration_errors,
    dataset_histogram,
    pooled,
)

_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#7f7f7f"
_MAP = "Blues"
_PANEL_INCHES = 3.0


def draw_figures(regions: Sequence[RegionBins], folder: Path) -> list[Path]:
    """Draw both figures of a cohort as PNG and SVG; returns the files."""
    figures = {
        "reliability_diagram": reliability_figure(regions),
        "dataset_histogram": histogram_figure(regions),
    }
    files = []
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        for kind in ("png", "svg"):
            path = folder / f"{name}.{kind}"
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(path, dpi=150, metadata=metadata)
            files.append(path)
    return files


def reliability_figure(regions: Sequence[RegionBins]) -> Figure:
    """Pooled reliability diagram of each region, with the voxels of each bin below."""
    figure, panels = _panels(len(regions), colour_bar=False)
    for region, (top, bottom) in zip(regions, panels, strict=True):
        whole = pooled(region.statistics)
        mean_p, mean_y = (x[0] for x in bin_means(whole))
        errors = calibration_errors(whole)
        n_bins = mean_p.size
        left = np.arange(n_bins) / n_bins
        top.bar(
            left,
            mean_y,
            1 / n_bins,
            align="edge",
            color=_BLUE,
            alpha=0.35,
            lw=0.5,
            edgecolor="white",
        )
        top.vlines(mean_p, mean_p, mean_y, color=_ORANGE, lw=2, label="gap")
        top.plot(mean_p, mean_y, "o", color=_BLUE, ms=4, label="observed")
        _unit_square(top, region.name)
        top.text(
            0.04,
            0.96,
            f"ECE {errors.ece[0]:.4f}\nACE {errors.ace[0]:.4f}\nMCE {errors.mce[0]:.4f}",
            transform=top.transAxes,
            va="top",
            fontsize=8,
        )
        _count_bars(bottom, np.asarray(whole.count)[0], "voxels")
    panels[0][0].set_ylabel("observed frequency")
    panels[0][0].legend(loc="lower right", fontsize=7, frameon=False)
    return figure


def histogram_figure(regions: Sequence[RegionBins]) -> Figure:
    """Dataset reliability histogram of each region, and their average if several."""
    histograms = [(r.name, dataset_histogram(r.statistics)) for r in regions]
    classes = [h for name, h in histograms if name != "top label"]
    panels = [(name, h.share, h.mean_y, h) for name, h in histograms]
    if len(classes) > 1:
        panels.append(("average of the classes", *_average(classes)))
    figure, axes = _panels(len(panels), colour_bar=True)
    image = None
    for (name, share, mean_y, histogram), (top, bottom) in zip(
        panels, axes, strict=True
    ):
        shown = np.ma.masked_invalid(np.where(share > 0, share, np.nan))
        image = top.imshow(
            shown,
            origin="lower",
            extent=(0, 1, 0, 1),
            cmap=colormaps[_MAP],
            norm=PowerNorm(0.5, 0, 1),  # one case of hundreds stays visible
            aspect="auto",
            interpolation="nearest",
        )
        centres = (np.arange(mean_y.size) + 0.5) / mean_y.size
        top.plot(
            centres, mean_y, "o-", color=_ORANGE, ms=3, lw=1.2, label="mean of cases"
        )
        _unit_square(top, name)
        _count_bars(bottom, histogram.n_cases, "cases", log=False)
    axes[0][0].set_ylabel("observed frequency of a case")
    axes[0][0].legend(loc="upper left", fontsize=7, frameon=False)
    if image is not None:
        figure.colorbar(
            image,
            ax=[top for top, _ in axes],
            label="share of the cases in a column",
            pad=0.01,
        )
    return figure


def _average(
    histograms: Sequence[DatasetHistogram],
) -> tuple[np.ndarray, np.ndarray, DatasetHistogram]:
    """Mean of the classes' columns, each class with the bin weighing the same."""
    shares = np.stack([h.share for h in histograms])
    known = ~np.isnan(shares)
    n = known.sum(0)
    share = np.where(
        n > 0, np.where(known, shares, 0).sum(0) / np.maximum(n, 1), np.nan
    )
    means = np.stack([h.mean_y for h in histograms])
    there = ~np.isnan(means)
    mean_y = np.divide(
        np.where(there, means, 0).sum(0),
        there.sum(0),
        out=np.full(means.shape[1], np.nan),
        where=there.any(0),
    )
    total = DatasetHistogram(
        np.sum([h.count for h in histograms], axis=0),
        mean_y,
        np.sum([h.n_cases for h in histograms], axis=0),
        np.sum([h.n_voxels for h in histograms], axis=0),
    )
    return share, mean_y, total


def _panels(n: int, *, colour_bar: bool) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    width = _PANEL_INCHES * n + (0.9 if colour_bar else 0.3)
    figure = Figure(figsize=(width, _PANEL_INCHES * 1.35), layout="constrained")
    grid = figure.subplots(
        2, n, squeeze=False, sharex=True, gridspec_kw={"height_ratios": [4, 1]}
    )
    for column in range(1, n):
        grid[0, column].sharey(grid[0, 0])
        grid[0, column].tick_params(labelleft=False)
        grid[1, column].sharey(grid[1, 0])
        grid[1, column].tick_params(labelleft=False)
    return figure, [(grid[0, k], grid[1, k]) for k in range(n)]


def _unit_square(axes: Axes, title: str) -> None:
    axes.plot([0, 1], [0, 1], "--", color=_GREY, lw=1)
    axes.set(xlim=(0, 1), ylim=(0, 1), title=title)


def _count_bars(axes: Axes, count: np.ndarray, unit: str, *, log: bool = True) -> None:
    n_bins = count.size
    left = np.arange(n_bins) / n_bins
    axes.bar(
        left, count, 1 / n_bins, align="edge", color=_GREY, lw=0.5, edgecolor="white"
    )
    if log and (count > 0).any():
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("predicted probability")
    axes.set_ylabel(unit if axes.yaxis.get_tick_params().get("labelleft", True) else "")
