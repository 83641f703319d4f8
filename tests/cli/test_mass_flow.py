"""Masks by a share of the mass of each map, through the command line."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES

from coverax.calibrate import read_calibration
from coverax.predict import apply
from coverax.scores import read_table, score_arrays


@pytest.fixture
def by_mass(cli, files, engine):
    path = files.root / "mass.parquet"
    args = ("--score", "mass", "--tolerance", "0.2", "--engine", engine)
    assert cli("score", *files.options, *args, "-o", path).code == 0
    return path


def volumes(folder):
    paths = sorted(folder.glob("*.nii.gz"))
    return [np.asarray(nib.load(path).dataobj) for path in paths]


def test_files_and_arrays_give_the_same_masks_and_scores(by_mass, cli, files, engine):
    path, masks, out = (files.root / n for n in ("c.json", "masks", "evaluated"))
    args = ("--score", "mass", "--alpha", "0.2")
    told = cli("calibrate", by_mass, *args, "-o", path)
    assert told.code == 0
    assert "of the mass of each map" in told.out
    assert cli("predict", path, "--probs", files.probs, "-o", masks).code == 0
    judged = cli("evaluate", path, *files.options, "--engine", engine, "-o", out)
    assert judged.code == 0
    assert "by mass" in judged.out
    assert cli("validate", by_mass, "--score", "mass", "--alpha", "0.2").code == 0
    assert cli("verify", by_mass, path, masks, out).code == 0

    probs = [p.astype(np.float32) for p in volumes(files.probs)]
    labels = volumes(files.labels)
    table = score_arrays(probs, labels, 0.2, mass=True, engine="host")
    name = "mass_score@0.2"
    np.testing.assert_array_equal(read_table(by_mass).column(name), table.column(name))
    calibration = read_calibration(path)
    share = calibration.thresholds[0].value
    with (out / "cases.csv").open(newline="") as file:
        cases = list(csv.DictReader(file))
    cuts = set()
    for i, (case, row) in enumerate(zip(apply(calibration, probs), cases, strict=True)):
        entry = json.loads((masks / f"case_{i:02d}.json").read_text())["masks"][0]
        assert entry["mass_threshold"]["value"] == share
        cuts.add(entry["probability_threshold"]["value"])
        mask = np.asarray(nib.load(masks / entry["mask"]).dataobj)
        np.testing.assert_array_equal(mask, case.mask)
        assert float(row["score"]) == table.column(name)[i]
        assert row["calibrated_complies"] == str(float(row["score"]) <= share)
    assert len(cuts) == len(cases) == N_CASES


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("calibrate", "--score", "mass"), "no mass scores; score again"),
        (("validate", "--score", "mass"), "no mass scores; score again"),
        (("calibrate", "--score", "mass", "--method", "crc"), "does not go with"),
    ],
)
def test_a_mix_is_refused_in_one_line(args, words, scored, cli, files):
    command, *options = args
    out = files.root / "out"
    found = cli(command, scored, *options, "--alpha", "0.3", "-o", out)
    assert found.code != 0
    assert words in found.err
    assert not out.exists()
