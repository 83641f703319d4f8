"""Volumes in mL through the command line: the list, the sidecars and the evaluation."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import N_CASES
from tests.oracles import clinic as oracle

import coverax as cx


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def volumes(scored, files, cli):
    path = files.root / "volumes.json"
    args = ("--method", "volume", "--alpha", "0.2")
    assert cli("calibrate", scored, *args, "-o", path).code == 0
    return path


def test_the_list_holds_what_sidecars_and_evaluation_say(volumes, files, cli, engine):
    masks, out = files.root / "masks", files.root / "evaluated"
    assert cli("predict", volumes, "--probs", files.probs, "-o", masks).code == 0
    args = (*files.options, "--engine", engine, "-o", out)
    assert cli("evaluate", volumes, *args).code == 0
    listed, judged = rows_of(masks / "volumes.csv"), rows_of(out / "cases.csv")
    threshold = cx.calibrate.read_calibration(volumes).thresholds[0].value
    assert len(listed) == len(judged) == N_CASES
    for row, case in zip(listed, judged, strict=True):
        assert list(row) == ["case_id", "region", "volume_ml", "low_ml", "high_ml"]
        assert {k: row[k] for k in row} == {k: case[k] for k in row}
        probs = nib.load(files.probs / f"{row['case_id']}.nii.gz")
        labels = nib.load(files.labels / f"{row['case_id']}.nii.gz").get_fdata()
        voxel_ml = abs(np.linalg.det(probs.affine[:3, :3])) / 1000
        score = oracle.volume_score(
            probs.get_fdata(), labels, "cut=0.5", "mass", None, voxel_ml
        )
        assert float(case["score"]) == pytest.approx(score, rel=1e-5)
        assert float(case["true_ml"]) == pytest.approx((labels > 0).sum() * voxel_ml)
        assert (case["covered"] == "True") == (float(case["score"]) <= threshold)
        low, high = float(row["low_ml"]), float(row["high_ml"])
        inside = low <= float(case["true_ml"]) <= high
        assert inside == (case["covered"] == "True")
        sidecar = json.loads((masks / f"{row['case_id']}.json").read_text())
        entry = sidecar["masks"][0]
        assert [entry[k] for k in ("volume_ml", "low_ml", "high_ml")] == [
            float(row[k]) for k in ("volume_ml", "low_ml", "high_ml")
        ]
        mask = np.asarray(nib.load(masks / entry["mask"]).dataobj)
        assert np.array_equal(mask == 1, probs.get_fdata().astype(np.float32) >= 0.5)
    summary = json.loads((out / "evaluation.json").read_text())
    found = summary["results"][0]["interval"]
    assert found["n_covered"] == sum(case["covered"] == "True" for case in judged)
    verdicts = cx.verify.verify_files([masks, out, volumes])
    assert {v.status for v in verdicts} == {"whole"}


def test_groups_have_intervals_of_their_own(files, cli):
    cohort = files.root / "cohort.csv"
    lines = ["case_id,probs,labels,unit,group"]
    for i in range(N_CASES):
        name = files.map(i).name
        lines.append(f"c{i},probs/{name},labels/{name},u{i},{'AB'[i % 2]}")
    cohort.write_text("\n".join(lines) + "\n")
    table, path = files.root / "s.parquet", files.root / "c.json"
    assert cli("score", "--cohort", cohort, "-o", table).code == 0
    args = ("--method", "volume", "--alpha", "0.2", "--group-by", "group")
    assert cli("calibrate", table, *args, "-o", path).code == 0
    out = files.root / "evaluated"
    assert cli("evaluate", path, "--cohort", cohort, "-o", out).code == 0
    summary = json.loads((out / "evaluation.json").read_text())
    assert [r["group"] for r in summary["results"]] == ["A", "B"]
    assert all(r["interval"]["n_covered"] == 6 for r in summary["results"])


def test_open_intervals_are_written_as_such(scored, files, cli):
    path, masks = files.root / "c.json", files.root / "masks"
    args = ("--method", "volume", "--alpha", "0.2", "--one-sided", "at-least")
    assert cli("calibrate", scored, *args, "-o", path).code == 0
    assert cli("predict", path, "--probs", files.probs, "-o", masks).code == 0
    assert {row["high_ml"] for row in rows_of(masks / "volumes.csv")} == {""}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--alpha", "0.01"), "TOO_FEW_CASES"),
        (("--alpha", "0.2", "--estimate", "cut=0.3"), "0.2998046875"),
        (("--alpha", "0.2", "--tolerance", "0.1"), "does not go with --method volume"),
        (("--alpha", "0.2", "--folds"), "does not go with --method volume"),
        (("--alpha", "0.2", "--weights", "weight"), "does not go with --method volume"),
    ],
)
def test_what_cannot_be_done_is_one_line(scored, files, cli, args, words):
    end = cli("calibrate", scored, "--method", "volume", *args, "-o", files.root / "c")
    assert end.code in (1, 2)
    assert words in end.err
    assert not (files.root / "c").exists()


def test_a_map_without_a_size_of_voxels_is_named(volumes, files, cli):
    image = nib.load(files.map(3))
    probs = image.get_fdata().astype(np.float32)
    bare = nib.Nifti1Image(probs, None)
    bare.header["pixdim"][1:4] = 0
    bare.header["sform_code"] = bare.header["qform_code"] = 0
    nib.save(bare, files.map(3))
    end = cli("predict", volumes, "--probs", files.probs, "-o", files.root / "m")
    assert end.code == 1
    assert end.errors[1:] == [f"error: 1 of {N_CASES} cases failed"]
    assert "case_03" in end.errors[0]
    assert "pixdim is 0" in end.errors[0]
