"""Hospitals that cannot pool, on the command line: the same as the functions."""

import json

import numpy as np
import pytest
from tests import synthetic

import coverax as cx


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("sites"), np.random.default_rng(0)
    cases = [
        synthetic.case((6, 7, 5), int(rng.integers(5, 60)), rng) for _ in range(36)
    ]
    probs, labels = map(np.stack, zip(*cases, strict=True))
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    for k, name in enumerate("ABC"):
        table.select(np.arange(36) % 3 == k).write(root / f"{name}.parquet")
    return root


@pytest.fixture
def summaries(tables, tmp_path, cli):
    paths = []
    for name in "ABC":
        path = tmp_path / f"{name}.json"
        more = ("--loss", "fnr", "--loss", "dice")
        ended = cli("summarise", tables / f"{name}.parquet", "-o", path, *more)
        assert ended.code == 0
        assert "no case, unit or file name, no size, no date" in ended.err
        paths.append(path)
    return paths


def test_sites_calibrate_validate_and_verify(summaries, tmp_path, cli):
    asked = ("--method", "ltt", "--alpha", "0.4", "--delta", "0.2")
    output = tmp_path / "c.json"
    ended = cli(
        *("calibrate", "--sites", *summaries, *asked, "--also", "dice=0.7"),
        *("-o", output, "--json"),
    )
    assert ended.code == 0
    sites = [cx.calibrate.read_summary(path) for path in summaries]
    own = cx.calibrate.calibrate_sites(
        sites, "0.4", "0.2", method="ltt", also={"dice": "0.7"}
    )
    assert ended.json == own.to_json() == json.loads(output.read_text())
    ended = cli(
        "validate", "--sites", *summaries, *asked, "-o", tmp_path / "v", "--json"
    )
    found = cx.validate.leave_site_out(sites, ["0.4"], "0.2", method="ltt")
    assert ended.json == found.to_json()
    shown = cli("validate", *summaries, "--sites", *asked)
    assert shown.code == 0
    assert "left out B.json (12 units)" in shown.err
    ended = cli("verify", tmp_path)
    assert ended.code == 0
    assert ended.err.count("whole: ") == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("calibrate", "--sites", "--method", "fnr"), "--sites needs --method crc"),
        (("calibrate", "--sites", "--method", "rcps"), "needs --delta"),
        (
            ("calibrate", "--sites", "--method", "crc", "--empty", "include"),
            "summarise",
        ),
        (("calibrate", "--sites", "--method", "crc", "--unit", "x"), "summarise"),
        (("calibrate", "--sites", "--method", "crc", "--group-by", "x"), "do not hold"),
        (
            (
                *[
                    "calibrate",
                    "--sites",
                    "--method",
                    "rcps",
                    "--delta",
                    "0.1",
                    "--bound",
                    "wsr",
                ],
            ),
            "sums are enough for hoeffding_bentkus",
        ),
        (("calibrate", "--method", "crc"), "one score table, got 3 files"),
        (("validate", "--method", "crc"), "one score table, got 3 files"),
        (("validate", "--method", "crc", "--loss", "fnr"), "go with --sites"),
        (("validate", "--sites", "--method", "crc", "--splits", "9"), "settled by"),
    ],
)
def test_options_that_do_not_go_with_sites_are_usage_errors(
    summaries, tmp_path, cli, words, said
):
    command, *options = words
    output = ("-o", tmp_path / "out")
    ended = cli(command, *summaries, *options, "--alpha", "0.2", *output)
    assert ended.code == 2
    assert said in " ".join(ended.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_summary_does_not_replace_its_table(tables, cli):
    table = tables / "A.parquet"
    assert cli("summarise", table, "-o", table).code == 2
    assert cli("summarise", table, "-o", "x.json", "--loss", "loss").code == 2


def test_a_calibration_is_no_summary(summaries, tmp_path, cli):
    cal = tmp_path / "c.json"
    asked = ("--method", "crc", "--alpha", "0.4")
    assert cli("calibrate", "--sites", *summaries, *asked, "-o", cal).code == 0
    ended = cli("calibrate", "--sites", cal, *asked, "-o", tmp_path / "d.json")
    assert ended.code == 1
    assert len(ended.errors) == 1
    assert "c.json: no summary of a site" in ended.errors[0]


def test_what_sums_do_not_know_is_said(summaries, tmp_path, cli):
    cal = tmp_path / "c.json"
    asked = ("--method", "crc", "--alpha", "0.4")
    assert cli("calibrate", "--sites", *summaries, *asked, "-o", cal).code == 0
    probs, labels = synthetic.write_cohort(tmp_path, 4, (6, 7, 5), 30)
    maps = ("--probs", probs, "--labels", labels)
    # The tables are of arrays, which have no kind of map to compare.
    ended = cli("evaluate", cal, *maps, "--engine", "host", "-o", tmp_path / "e")
    assert ended.code == 0
    assert "that none of these cases calibrated is taken for granted" in ended.err
    ended = cli("monitor", cal, "--probs", probs)
    assert ended.code == 1
    assert "of sums of sites carries nothing to compare with" in ended.errors[0]
