"""Plots for notebooks draw on axes that they are given, and return them."""

import numpy as np
import pytest
from tests.sets_cohort import blobs

import coverax as cx

PROBS, LABELS = blobs(12, 0)


@pytest.fixture
def axes():
    """Axes of a figure that no window knows."""
    from matplotlib.figure import Figure

    return Figure().subplots()


def reliability(**options):
    return cx.reliability.reliability_of_arrays(PROBS, LABELS, n_draws=0, **options)


def two_regions():
    both = np.stack([PROBS, 1 - PROBS], -1)
    return cx.reliability.reliability_of_arrays(
        both, np.where(LABELS, 1, 2), regions=["a=0:1", "b=1:2"], n_draws=0
    )


@pytest.mark.parametrize("plot", ["plot_reliability", "plot_dataset_histogram"])
def test_a_region_is_drawn_on_the_axes_given(plot, axes):
    draw = getattr(cx.report, plot)
    assert draw(reliability(region="lesion"), ax=axes) is axes
    assert "lesion" in axes.get_title()
    assert axes.get_xlabel() == "predicted probability"
    assert axes.lines
    with pytest.raises(ValueError, match="name one region of a, b, got None"):
        draw(two_regions())
    with pytest.raises(ValueError, match="got c"):
        draw(two_regions(), "c")


def test_the_diagram_shows_the_frequencies_of_the_bins(axes):
    found = reliability(n_bins=10)
    cx.report.plot_reliability(found, ax=axes)
    bins = cx.reliability.pooled(found.regions[0].statistics)
    _, mean_y = cx.reliability.bin_means(bins)
    heights = [bar.get_height() for bar in axes.patches]
    np.testing.assert_array_equal(heights, mean_y[0])


def test_a_slice_has_the_contours_of_both_sets(axes):
    label_map = LABELS[0].astype(np.uint8) + (PROBS[0] > 0.3)
    drawn = cx.report.plot_slice(PROBS[0], label_map, spacing_mm=(1, 2, 3), ax=axes)
    assert drawn is axes
    assert len(axes.collections) == 2
    shape = PROBS[0].shape
    assert axes.get_xlim() == (0, shape[0])
    assert axes.get_ylim() == (0, 2 * shape[1])
    cx.report.plot_slice(PROBS[0, :, :, 0], LABELS[0, :, :, 0], ax=axes)
    with pytest.raises(ValueError, match=r"mask has shape .*, wanted .* that of image"):
        cx.report.plot_slice(PROBS[0], LABELS[0, 0])
    with pytest.raises(ValueError, match="z must be of 0 to 7, got 8"):
        cx.report.plot_slice(PROBS[0], LABELS[0], z=8)


def test_without_axes_a_plot_makes_its_own():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    axes = cx.report.plot_slice(PROBS[0], LABELS[0])
    assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(axes.figure)
