"""FROC in a report: of tables and of folders, each curve once, and never without lesions."""

import numpy as np
import pytest
from tests.report.test_page import Page

import coverax as cx
from coverax.calibrate import Froc, FrocCurve, FrocPoint, froc_at, froc_of_table
from coverax.calibrate.froc import LOWEST_CUT
from coverax.report import write_report
from coverax.report.froc import draw_froc

pytest.importorskip("jinja2")


def scans(n, lesions=True):
    """Maps of small bright places; every second one is a lesion."""
    rng = np.random.default_rng(3)
    probs = np.zeros((n, 12, 12, 12), np.float32)
    labels = np.zeros(probs.shape, np.uint8)
    for i in range(n):
        for k, place in enumerate(rng.permutation(27)[:6]):
            x, y, z = 4 * np.array([place // 9, place // 3 % 3, place % 3])
            part = (i, slice(x, x + 2), slice(y, y + 2), slice(z, z + 2))
            probs[part] = rng.uniform(0.1, 0.9)
            labels[part] = lesions and k % 2 == 0
    return probs, labels


def scored(folder, n=8, lesions=True):
    """A table that keeps the events."""
    probs, labels = scans(n, lesions)
    table = cx.scores.score_arrays(
        probs,
        labels,
        ["0.1"],
        spacing_mm=[(1, 1, 1)] * n,
        lesions="corner",
        mask_lesions=True,
        region="lesion",
        engine="host",
    )
    folder.mkdir()
    table.write(folder / "events.parquet")
    return table


def test_a_table_with_events_has_its_curve_and_its_table_in_the_page(tmp_path):
    table = scored(tmp_path / "events")
    found = froc_at("lesion", froc_of_table(table)[0]["lesion"])
    assert 0 < found.mean_sensitivity < 1
    write_report([tmp_path / "events"], tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "How many lesions are found, and how many false ones?" in page.text
    labels = [attrs.get("aria-label") for tag, attrs in page.elements if tag == "svg"]
    assert "FROC of lesion" in labels
    for point, rate in zip(found.at, ("1/8", "1/4", "1/2"), strict=False):
        assert f"{rate} {point.sensitivity:.1%}" in page.text
    assert f"24 lesions in 8 scans; {found.mean_sensitivity:.1%} found" in page.text


def test_the_same_scans_have_one_curve(tmp_path, cli):
    scored(tmp_path / "events")
    table = tmp_path / "events" / "events.parquet"
    done = cli("validate", table, "--alpha", "0.4", "-o", tmp_path / "validated")
    assert done.code == 0, done.err
    for folders, titles in (
        (["validated"], ["validation.json"]),
        (["events"], ["events.parquet"]),
        (["validated", "events"], ["validated/validation.json"]),
    ):
        write_report([tmp_path / f for f in folders], tmp_path / "r.html")
        page = Page(tmp_path / "r.html")
        drawn = [a for tag, a in page.elements if tag == "svg" and "FROC" in str(a)]
        assert len(drawn) == 1
        section = page.text[page.text.rindex("How many lesions") :]
        assert titles[0] in section


def test_scans_without_lesions_have_a_table_and_no_curve(tmp_path):
    scored(tmp_path / "events", n=3, lesions=False)
    write_report([tmp_path / "events"], tmp_path / "report.html")
    page = Page(tmp_path / "report.html")
    assert "0 lesions in 3 scans" in page.text
    assert "FROC of lesion" not in page.source


def test_tables_without_events_have_no_section(results, tmp_path):
    write_report([results / "cut"], tmp_path / "report.html")
    assert "how many false ones" not in Page(tmp_path / "report.html").text


def test_the_curve_is_drawn_through_every_cut_and_thinned_only_where_none_is_seen():
    from matplotlib.figure import Figure

    cuts = np.linspace(0.1, 0.9, 5, dtype=np.float32)
    curve = FrocCurve(cuts, np.array([9, 7, 5, 3, 0]), np.array([8, 4, 6, 2, 2]), 10, 4)
    found = froc_at("a", curve)
    axes = Figure().subplots()
    draw_froc(axes, curve, found)
    line, points = axes.lines
    np.testing.assert_allclose(line.get_xdata()[1:], [0.5, 0.5, 1.5, 1, 2])
    np.testing.assert_allclose(line.get_ydata(), [0, 0, 0.3, 0.5, 0.7, 0.9])
    marks = [(p.false_per_scan, p.sensitivity) for p in found.at if p.cut is not None]
    assert list(zip(points.get_xdata(), points.get_ydata(), strict=True)) == marks
    n = 40_000
    many = FrocCurve(
        np.linspace(LOWEST_CUT, 1, n, dtype=np.float32),
        np.arange(n)[::-1],
        np.arange(n)[::-1] // 10,
        n,
        500,
    )
    point = FrocPoint(1.0, 0.5, 0.5, 0.5)
    axes = Figure().subplots()
    draw_froc(axes, many, Froc("a", 500, n, LOWEST_CUT, [point], 0.5))
    assert axes.lines[0].get_xdata().size < 1500
