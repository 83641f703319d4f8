"""`--region NAME=CHANNEL:any`: numbered lesions are what their mask is, everywhere."""

import json

import numpy as np
import pytest
from tests.synthetic import write_nifti

import coverax as cx

SHAPE, N = (8, 9, 7), 12
ANY, ONE = ("--region", "lesion=0:any"), ("--region", "lesion=0:1")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Maps, masks of lesions, and the same lesions numbered from 1 on."""
    root, rng = tmp_path_factory.mktemp("any"), np.random.default_rng(5)
    for i in range(N):
        probs = rng.random(SHAPE, np.float32)
        mask = probs + rng.normal(0, 0.2, SHAPE) > 0.8
        numbers = (mask * rng.integers(1, 6, SHAPE)).astype(np.uint8)
        write_nifti(root / f"maps/c{i}.nii.gz", probs)
        write_nifti(root / f"masks/c{i}.nii.gz", mask)
        write_nifti(root / f"numbered/c{i}.nii.gz", numbers)
    return root


def flow(cli, cohort, root, labels, region):
    """What every command that reads references says of a folder of them."""
    pair = ("--probs", cohort / "maps", "--labels", cohort / labels)
    root.mkdir()
    for command in (
        ("score", *pair, *region, "--engine", "host", "-o", root / "s"),
        ("calibrate", root / "s", "--alpha", "0.3", "-o", root / "c"),
        ("evaluate", root / "c", *pair, "--engine", "host", "-o", root / "e"),
        (
            "reliability",
            *pair,
            *region,
            "--draws",
            "0",
            "--no-figures",
            "-o",
            root / "r",
        ),
        ("temperature", "fit", *pair, *region, "-o", root / "t"),
    ):
        done = cli(*command)
        assert done.code == 0, done.err
    rows = (root / "e/cases.csv").read_text(), (root / "r/cases.csv").read_text()
    fits = json.loads((root / "t").read_text())["fits"]
    thresholds = json.loads((root / "c").read_text())["thresholds"]
    return rows, fits, thresholds


def test_numbered_references_are_their_masks_in_every_command(cohort, cli, tmp_path):
    found = flow(cli, cohort, tmp_path / "any", "numbered", ANY)
    assert found == flow(cli, cohort, tmp_path / "one", "masks", ONE)
    tables = ("--against", tmp_path / "any/s", "--draws", "9", "--no-figures")
    done = cli("reliability", tmp_path / "one/s", *tables, "-o", tmp_path / "r")
    assert "their regions differ: lesion:1 and lesion:any" in done.errors[0]


def test_arrays_take_any_label_too(cohort):
    rng = np.random.default_rng(0)
    probs = rng.random((4, *SHAPE), np.float32)
    numbers = (probs > 0.7) * rng.integers(1, 6, probs.shape)
    one, other = (
        cx.scores.score_arrays(probs, labels, 0.1, regions=[f"lesion=0:{spec}"])
        for labels, spec in ((numbers, "any"), ((numbers > 0).astype(int), "1"))
    )
    assert one.rows_digest == other.rows_digest
