"""Figures on demand: which appear, from what, and the same bytes again."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("markupsafe")


def figures_of(folder):
    return {p.name: p.read_bytes() for p in sorted((folder / "figures").iterdir())}


def names_of(found):
    return {name.rsplit(".", 1)[0] for name in found}


@pytest.fixture
def sets_table(files, cli):
    asked = ("--transform", "inner=surface", "--transform", "outer=surface", "--curves")
    path = files.root / "sets.parquet"
    assert cli("score", *files.options, *asked, "-o", path).code == 0
    return path


def test_a_cut_and_its_sets_are_drawn(files, sets_table, cli):
    expected = {
        ("--method", "fnr"): {"fnr_foreground"},
        ("--method", "sets", "--joint", "max"): {"fcr_foreground", "sizes_foreground"},
    }
    for k, (method, names) in enumerate(expected.items()):
        c = files.root / f"c{k}.json"
        args = ("calibrate", sets_table, *method, "--alpha", "0.4", "-o", c)
        assert cli(*args).code == 0
        found = []
        for run in "ab":
            out = files.root / f"{run}{k}"
            args = ("evaluate", c, *files.options, "--engine", "host", "-o", out)
            assert cli(*args, "--figures").code == 0
            found.append(figures_of(out))
        assert found[0] == found[1]
        assert names_of(found[0]) == names
        plain = files.root / f"plain{k}"
        assert cli(*args[:-1], plain).code == 0
        assert not (plain / "figures").exists()
        texts = [
            (folder / "evaluation.json").read_text()
            for folder in (plain, files.root / f"a{k}")
        ]
        assert texts[0] == texts[1]


def test_all_splits_are_drawn_against_alpha(files, sets_table, cli):
    out = files.root / "v"
    args = ("validate", sets_table, "--alpha", "0.4")
    shown = (*args, "--method", "fnr", "--splits", "20", "--figures")
    assert cli(*shown, "-o", out).code == 0
    assert names_of(figures_of(out)) == {
        "alpha_foreground_0.1",
        "cut_foreground",
        "splits_foreground_0.1_0.4_0.5",
    }
    refused = cli(*shown)
    assert refused.code == 2
    assert "--figures goes with -o" in " ".join(refused.err.replace("│", " ").split())
    sides = files.root / "vs"
    assert cli(*args, "--method", "sets", "--figures", "-o", sides).code == 0
    assert names_of(figures_of(sides)) == {
        f"alpha_foreground_{side}" for side in ("inner", "outer", "joint")
    }
    content = json.loads((sides / "validation.json").read_text())
    assert len(content["results"]) == 3


def test_the_missed_share_that_is_drawn_is_that_of_the_table(files, sets_table):
    """Lines and bars hold the numbers of the maps themselves."""
    import coverax as cx
    from coverax.report.result_figures import validation_figures

    table = cx.scores.read_table(sets_table)
    plan = cx.validate.Plan(("0.4",), method="fnr")
    result = cx.validate.validate_table(table, plan)
    top, bottom = validation_figures(table, plan, result)["cut_foreground"].axes
    cohort = cx.volumes.match_folders(files.root / "probs", files.root / "labels")
    fnr, voxels = [], []
    for case in cohort.cases:
        probs = cx.volumes.read_probs(case.probs, channels=[0]).probs[0]
        labels = cx.volumes.read_labels(case.labels)[0] > 0
        fnr.append(1 - (probs[labels] >= np.float32(0.5)).mean())
        voxels.append(probs[labels])
    (mean,) = (line for line in top.lines if line.get_label() == "mean")
    cuts, values = (np.asarray(data) for data in mean.get_data())
    # Shares of whole numbers, rounded once each.
    assert values[cuts == 0.5] == pytest.approx(np.mean(fnr), rel=1e-12)
    heights = [bar.get_height() for bar in bottom.patches]
    expected, _ = np.histogram(np.concatenate(voxels), np.arange(41) / 40)
    # A voxel may stand one cut of 1024 lower than it is.
    near = np.count_nonzero(
        abs(np.concatenate(voxels) * 40 - np.rint(np.concatenate(voxels) * 40)) < 0.04
    )
    off = abs(np.array(heights) * sum(map(len, voxels)) - expected)
    assert sum(heights) == pytest.approx(1)
    assert off.sum() <= 2 * near + 1e-6
