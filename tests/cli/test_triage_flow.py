"""Masks that may go out, through the command line."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES
from tests.oracles import clinic as oracle


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_list_holds_what_evaluation_judges(scored, files, cli, engine):
    path, masks, out = (files.root / n for n in ("c.json", "masks", "evaluated"))
    args = ("--method", "triage", "--alpha", "0.4", "--bad-below", "0.6")
    assert cli("calibrate", scored, *args, "-o", path).code == 0
    assert cli("predict", path, "--probs", files.probs, "-o", masks).code == 0
    assert (
        cli("evaluate", path, *files.options, "--engine", engine, "-o", out).code == 0
    )
    listed, judged = rows_of(masks / "triage.csv"), rows_of(out / "cases.csv")
    limit = float(json.loads(path.read_text())["thresholds"][0]["value"] or np.inf)
    assert len(listed) == len(judged) == N_CASES
    realised = 0
    for row, case in zip(listed, judged, strict=True):
        assert list(row) == [
            "case_id",
            "region",
            "released",
            "uncertainty",
            "dice_floor",
        ]
        assert row == {name: case[name] for name in row}
        probs = nib.load(files.probs / f"{row['case_id']}.nii.gz").get_fdata()
        labels = nib.load(files.labels / f"{row['case_id']}.nii.gz").get_fdata() > 0
        dice = oracle.dice(probs.astype(np.float32) >= 0.5, labels)
        assert float(case["dice"]) == pytest.approx(float(dice))
        assert float(case["loss"]) == (dice < 0.6)
        assert float(row["uncertainty"]) == pytest.approx(
            1 - oracle.confidence(probs), abs=1e-6
        )
        assert (row["released"] == "True") == (float(row["uncertainty"]) < limit)
        realised += float(case["loss"]) * (row["released"] == "True")
    found = json.loads((out / "evaluation.json").read_text())["results"][0]
    assert found["release"]["realised"] == pytest.approx(realised / N_CASES)
    assert found["release"]["curve"][-1]["share"] == 1
    sidecar = json.loads((masks / "case_00.json").read_text())["masks"][0]
    assert str(sidecar["released"]) == listed[0]["released"]
    assert cli("verify", masks, out, path).code == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--alpha", "0.01"), "Nothing may be released"),
        (("--alpha", "0.2", "--loss", "fpr"), "takes --loss dice, missed or fnr"),
        (("--alpha", "0.2", "--confidence", "n_foreground"), "n_foreground"),
        (("--alpha", "0.2", "--cut", "0.3"), "nearest is"),
        (("--alpha", "0.2", "--bad-below", "2"), "(0, 1)"),
        (("--alpha", "0.2", "--loss", "fnr", "--bad-below", "0.8"), "loss dice"),
        (("--alpha", "0.2", "--delta", "0.1"), "does not go with --method triage"),
    ],
)
def test_what_cannot_be_done_is_one_line(scored, files, cli, args, words):
    end = cli("calibrate", scored, "--method", "triage", *args, "-o", files.root / "c")
    assert end.code in (1, 2)
    assert words in " ".join(end.err.replace("│", " ").split())


def test_a_loss_of_triage_is_of_no_other_method(scored, files, cli):
    args = ("--method", "crc", "--alpha", "0.2", "--loss", "missed")
    end = cli("calibrate", scored, *args, "-o", files.root / "c")
    assert end.code == 2
    assert "--method triage" in end.err
