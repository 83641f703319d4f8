"""Names as long as a file system allows."""

import shutil

import nibabel as nib
import numpy as np
import pytest


@pytest.mark.parametrize("name", ["x" * 200, "ü" * 124], ids=["200", "255-bytes"])
def test_a_case_of_a_long_name_goes_through_score_predict_and_verify(
    template, tmp_path, cli, name
):
    for part in ("probs", "labels"):
        shutil.copytree(template / part, tmp_path / part)
        old = tmp_path / part / "case_00.nii.gz"
        old.rename(old.with_name(f"{name}.nii.gz"))
    cases = ("--probs", tmp_path / "probs", "--labels", tmp_path / "labels")
    table, calibration = tmp_path / "s.parquet", tmp_path / "c.json"
    assert cli("score", *cases, "--engine", "host", "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", ".3", "-o", calibration).code == 0
    probs = ("--probs", tmp_path / "probs")
    assert cli("predict", calibration, *probs, "-o", tmp_path / "m").code == 0
    mask = np.asarray(nib.load(tmp_path / "m" / f"{name}.nii.gz").dataobj)
    assert mask.any()
    assert cli("verify", tmp_path / "m").code == 0


def test_outputs_may_have_long_names(template, tmp_path, cli):
    cases = ("--probs", template / "probs", "--labels", template / "labels")
    table = tmp_path / ("s" * 255)
    assert cli("score", *cases, "--engine", "host", "-o", table).code == 0
    calibration = tmp_path / ("c" * 255)
    assert cli("calibrate", table, "--alpha", ".3", "-o", calibration).code == 0
    masks = ("--probs", template / "probs", "-o", tmp_path / ("m" * 255))
    assert cli("predict", calibration, *masks).code == 0
    assert sorted(len(p.name) for p in tmp_path.iterdir()) == [255] * 3


@pytest.mark.parametrize("error", [MemoryError, RecursionError])
def test_what_the_machine_cannot_hold_is_one_line(monkeypatch, tmp_path, cli, error):
    def fail(_path):
        raise error

    monkeypatch.setattr("coverax.scores.read_table", fail)
    found = cli("calibrate", tmp_path / "x", "--alpha", ".3", "-o", tmp_path / "c")
    assert found.code == 1
    assert len(found.errors) == 1


def test_a_name_of_a_mask_that_no_file_system_takes_is_refused_at_once(
    template, tmp_path, cli
):
    for part in ("probs", "labels"):
        shutil.copytree(template / part, tmp_path / part)
    cases = ("--probs", tmp_path / "probs", "--labels", tmp_path / "labels")
    table, calibration = tmp_path / "s.parquet", tmp_path / "c.json"
    regions = [f"{letter * 150}=0:1" for letter in "ab"]
    specs = [word for spec in regions for word in ("--region", spec)]
    assert cli("score", *cases, *specs, "--engine", "host", "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", ".3", "-o", calibration).code == 0
    old = tmp_path / "probs" / "case_00.nii.gz"
    old.rename(old.with_name(f"{'x' * 120}.nii.gz"))
    before = sorted(tmp_path.iterdir())
    found = cli("predict", calibration, *cases[:2], "-o", tmp_path / "m")
    assert found.code == 1
    assert "would have a name of 278 bytes" in found.errors[0]
    assert sorted(tmp_path.iterdir()) == before
