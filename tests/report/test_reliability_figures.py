"""Figures: what they say is inside its place, whatever the number of panels."""

import numpy as np
import pytest

LONG = (
    "necrotic and non-enhancing tumour core of the left hemisphere, second reading",
    "peritumoral_oedema_of_the_left_hemisphere_on_t2_flair_images_second_reading",
)


def regions(n, n_cases=5):
    from coverax import host
    from coverax.reliability import RegionBins

    rng = np.random.default_rng(0)
    out = []
    for k in range(n):
        p = rng.random((n_cases, 400), dtype=np.float32)
        bins = host.bin_statistics(p, rng.random(p.shape) < p**2, 10)
        name = LONG[k] if k < len(LONG) else f"region {k}"
        out.append(RegionBins(name, bins, tuple(map(str, range(n_cases)))))
    return out


def boxes(figure):
    """Panels that are no colour bar, by rows: a figure that was laid out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()
    return [a for a in figure.axes if a.get_label() != "<colorbar>"]


@pytest.mark.parametrize("n", [1, 3, 6, 9])
@pytest.mark.parametrize("draw", ["reliability_figure", "histogram_figure"])
def test_panels_wrap_and_nothing_overlaps(n, draw):
    from coverax.report import reliability

    figure = getattr(reliability, draw)(regions(n))
    panels = boxes(figure)
    extra = draw == "histogram_figure" and n > 1  # the average of the classes
    assert len(panels) == 2 * (n + extra)
    rows = {round(a.get_position().y0, 3) for a in panels}
    lefts = {round(a.get_position().x0, 2) for a in panels}
    assert len(lefts) <= 4
    assert len(rows) == 2 * -(-(n + extra) // 4)
    titled = [a.title for a in panels if a.get_title()]
    assert len(titled) == n + extra
    texts = [title.get_window_extent() for title in titled]
    legend = figure.legends[0].get_window_extent()
    inner = [a.get_window_extent() for a in panels]
    for i, box in enumerate(texts):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert not any(box.overlaps(other) for other in texts[i + 1 :])
        assert not any(box.overlaps(other) for other in inner)
    assert not any(legend.overlaps(box) for box in [*inner, *texts])
    assert not any(a.get_legend() or a.texts for a in panels)


def test_long_names_keep_their_ends():
    from coverax.report.reliability import reliability_figure

    first, second, _ = [
        a for a in boxes(reliability_figure(regions(3))) if a.get_title()
    ]
    assert first.get_title().startswith("necrotic and")
    assert "reading\nECE 0." in first.get_title()
    assert "second_reading\nECE 0." in second.get_title()


def test_the_average_counts_cases_not_pairs_of_case_and_class():
    from coverax.report.reliability import histogram_figure

    bars = [
        [patch.get_height() for patch in a.patches]
        for a in boxes(histogram_figure(regions(3, n_cases=5)))
        if a.get_ylabel() == "cases" or not (a.get_title() or a.get_ylabel())
    ]
    assert len(bars) == 4
    assert max(map(max, bars)) == 5
    np.testing.assert_allclose(bars[3], np.mean(bars[:3], axis=0))


def test_figures_drawn_again_are_the_same_bytes(tmp_path):
    from coverax.report.reliability import draw_figures

    first, second = (draw_figures(regions(2), tmp_path / n) for n in ("a", "b"))
    assert len(first) == 4
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
