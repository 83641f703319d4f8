"""Plots for notebooks: each draws on axes that it is given, or makes its own."""

from typing import Any

import numpy as np

from coverax.checks import as_array, as_labels, check_shape
from coverax.reliability import RegionBins, Reliability, dataset_histogram
from coverax.report.figures import check_figures, draw_slice, middle_slice


def axes_of(ax: Any) -> Any:
    """The axes given, or new ones of a figure that a notebook shows.

    Raises:
        ValueError: matplotlib is not installed.
    """
    check_figures()
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def plot_reliability(
    result: Reliability, region: str | None = None, *, ax: Any = None
) -> Any:
    """Pooled reliability diagram of one region: observed frequency by probability.

    Args:
        result: Of `reliability.summarise` or `reliability_of_arrays`.
        region: Which one, or `top label`; the only one by default.
        ax: Axes to draw on; new ones by default.

    Returns:
        The matplotlib axes.

    Raises:
        ValueError: There is no such region, or matplotlib is not installed.
    """
    bins, axes = _bins_of(result, region), axes_of(ax)
    from coverax.report.reliability import draw_diagram

    draw_diagram(axes, bins)
    axes.set(xlabel="predicted probability", ylabel="observed frequency")
    axes.legend(fontsize="small", frameon=False)
    return axes


def plot_dataset_histogram(
    result: Reliability, region: str | None = None, *, ax: Any = None
) -> Any:
    """Dataset reliability histogram of one region: cases by their observed frequency.

    Args:
        result: Of `reliability.summarise` or `reliability_of_arrays`.
        region: Which one, or `top label`; the only one by default.
        ax: Axes to draw on; new ones by default.

    Returns:
        The matplotlib axes.

    Raises:
        ValueError: There is no such region, or matplotlib is not installed.
    """
    bins, axes = _bins_of(result, region), axes_of(ax)
    from coverax.report.reliability import draw_histogram

    found = dataset_histogram(bins.statistics)
    image = draw_histogram(axes, bins.name, found.share, found.mean_y)
    axes.figure.colorbar(image, ax=axes, label="share of the cases in a column")
    axes.set(xlabel="predicted probability", ylabel="observed frequency of a case")
    axes.legend(fontsize="small", frameon=False)
    return axes


def plot_slice(
    image: Any,
    mask: Any,
    *,
    z: int | None = None,
    spacing_mm: Any = (1.0, 1.0, 1.0),
    ax: Any = None,
) -> Any:
    """One slice of a case with the contours of its mask, or of its inner and outer set.

    Args:
        image: What to draw on, `[x, y, z]` or `[x, y]`: a scan or a map.
        mask: Of the same shape: booleans, or the label map of sets, 0 outside the outer
            set and 2 in the inner one.
        z: Which slice; by default the middle one of those that the mask touches.
        spacing_mm: Edge lengths of a voxel.
        ax: Axes to draw on; new ones by default.

    Returns:
        The matplotlib axes.

    Raises:
        TypeError: An array holds text or objects.
        ValueError: The shapes differ, or matplotlib is not installed.
    """
    picture, labels = as_array(image, "image"), as_labels(mask, "mask")
    if picture.ndim not in (2, 3):
        raise ValueError(f"image has shape {picture.shape}, wanted 2 or 3 axes")
    check_shape(labels, "mask", picture.shape, "image")
    shape = (*picture.shape, 1)[:3]
    picture, labels = picture.reshape(shape), labels.reshape(shape)
    place = middle_slice(labels) if z is None else z
    if not 0 <= place < shape[2]:
        raise ValueError(f"z must be of 0 to {shape[2] - 1}, got {place}")
    axes = axes_of(ax)
    edges = tuple(np.asarray(spacing_mm, float).tolist())
    draw_slice(axes, picture, labels, edges, place)
    return axes


def _bins_of(result: Reliability, region: str | None) -> RegionBins:
    """The bins of a region.

    Raises:
        ValueError: There is no such region, or there are several and none is named.
    """
    found = [bins for bins in result.regions if region in (None, bins.name)]
    if len(found) != 1:
        known = ", ".join(bins.name for bins in result.regions)
        raise ValueError(f"name one region of {known}, got {region}")
    return found[0]
