"""Units told by the names of cases, through the commands that take folders."""

import json

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES
from tests.synthetic import write_nifti

import coverax as cx


@pytest.fixture
def sessions(files):
    """Twelve sessions of six subjects, named as BIDS does."""
    for i in range(N_CASES):
        name = f"sub-{i // 2:02d}_ses-{i % 2}.nii.gz"
        files.map(i).rename(files.probs / name)
        files.label(i).rename(files.labels / name)
    return files


def units(table):
    return sorted(set(cx.scores.read_table(table).column("unit")))


def test_sessions_count_as_their_subject_and_patterns_say_otherwise(sessions, cli):
    table, out = sessions.root / "s.parquet", sessions.root / "c.json"
    done = cli("score", *sessions.options, "-o", table)
    assert done.code == 0
    assert done.err.count("12 case ids are names of BIDS, as sub-00_ses-0") == 1
    assert units(table) == [f"sub-{i:02d}" for i in range(6)]
    refused = cli("calibrate", table, "--alpha", "0.2", "-o", out)
    assert (refused.code, len(refused.errors)) == (1, 1)
    assert "6 units own 12 cases" in refused.errors[0]
    for pattern, wanted in ((r"ses-\d", ["ses-0", "ses-1"]), ("sub-0([01])", None)):
        done = cli("score", *sessions.options, "--unit-pattern", pattern, "-o", table)
        assert done.code == (0 if wanted else 1)
        assert "names of BIDS" not in done.err
        if wanted:
            assert units(table) == wanted
        else:
            assert "finds no unit in case sub-02_ses-0, " in done.errors[0]
    assert cli("score", *sessions.options, "--unit-pattern", "(", "-o", table).code == 2


def test_monitor_compares_one_scan_of_each_unit(sessions, cli):
    table, out = sessions.root / "s.parquet", sessions.root / "c.json"
    assert cli("score", *sessions.options, "-o", table).code == 0
    args = ("--alpha", "0.2", "--per-unit", "one", "-o", out)
    assert cli("calibrate", table, *args).code == 0
    done = cli("monitor", out, *sessions.options[:2], "--json")
    assert done.code == 0
    assert "one map of each unit is compared: 6 of 12" in done.err
    assert done.json["n_new"] == 6
    every = cli("monitor", out, *sessions.options[:2], "--unit-pattern", ".+", "--json")
    assert every.json["n_new"] == 12


def test_a_temperature_knows_the_units_of_its_fit_by_names(sessions, cli):
    """A further session of a subject of the fit is noticed without a file of units."""
    fit = sessions.root / "t.json"
    assert cli("temperature", "fit", *sessions.options, "-o", fit).code == 0
    assert json.loads(fit.read_text())["units"] == [f"sub-{i:02d}" for i in range(6)]
    new = sessions.root / "new"
    new.mkdir()
    probs = np.asarray(nib.load(sessions.probs / "sub-00_ses-0.nii.gz").dataobj)
    for name in ("sub-00_ses-7", "sub-99_ses-0"):  # a copy would be known by itself
        write_nifti(new / f"{name}.nii.gz", probs[::-1])
    command = ("temperature", "apply", fit, "--probs", new, "-o", sessions.root / "out")
    done = cli(*command, "--json")
    assert done.code == 0
    assert done.json["fitted_on"] == ["sub-00_ses-7"]


def test_one_map_under_two_names_is_refused_by_every_command(files, calibrated, cli):
    (files.probs / "again.nii.gz").symlink_to(files.map(0))
    (files.labels / "again.nii.gz").write_bytes(files.label(0).read_bytes())
    out = files.root / "out"
    for command in (
        ("score", *files.options, "-o", out),
        ("evaluate", calibrated, *files.options, "-o", out),
        ("reliability", *files.options, "-o", out),
        ("temperature", "fit", *files.options, "-o", out),
        ("monitor", calibrated, *files.options[:2]),
    ):
        done = cli(*command)
        assert (done.code, len(done.errors)) == (1, 1), command
        assert "case again, case_00 are one file" in done.errors[0]
    assert not out.exists()
