"""`summary.json` of `evaluate`, walked as the scripts of nnU-Net walk it."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.synthetic import case, write_nifti

METRICS = {"Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref"}


def key_to_labels(key):
    """As nnU-Net reads a key: a label, or the labels of a region."""
    try:
        return int(key)
    except ValueError:
        split = key.replace("(", "").replace(")", "").split(",")
        return tuple(int(i) for i in split if len(i) > 0)


def load_summary(path):
    """As nnU-Net loads a summary: Python's `json`, keys turned into labels."""
    summary = json.loads(path.read_text(encoding="utf-8"))
    summary["mean"] = {key_to_labels(k): v for k, v in summary["mean"].items()}
    for entry in summary["metric_per_case"]:
        entry["metrics"] = {key_to_labels(k): v for k, v in entry["metrics"].items()}
    return summary


def metrics_of(mask, reference):
    """What nnU-Net computes of two masks."""
    tp, fp = (reference & mask).sum(), (~reference & mask).sum()
    fn, tn = (reference & ~mask).sum(), (~reference & ~mask).sum()
    union = tp + fp + fn
    return {
        "Dice": 2 * tp / (2 * tp + fp + fn) if union else np.nan,
        "IoU": tp / union if union else np.nan,
        **{"FP": fp, "TP": tp, "FN": fn, "TN": tn},
        **{"n_pred": fp + tp, "n_ref": fn + tp},
    }


def flow(cli, root, maps, labels, *options):
    """Score, calibrate, predict and evaluate one folder; returns its evaluation."""
    pair = ("--probs", maps, "--labels", labels)
    for args in (
        ("score", *pair, "--engine", "host", *options, "-o", root / "s"),
        ("calibrate", root / "s", "--alpha", "0.2", "-o", root / "c"),
        ("predict", root / "c", "--probs", maps, "-o", root / "masks"),
        ("evaluate", root / "c", *pair, "--engine", "host", "-o", root / "e"),
    ):
        assert cli(*args).code == 0
    return root / "e"


def test_scripts_of_nnunet_find_their_numbers_of_labels(tmp_path, cli):
    maps, labels = made.cohort(tmp_path, 8)
    summary = load_summary(flow(cli, tmp_path, maps, labels) / "summary.json")
    assert summary["mean"].keys() == {1, 2}
    assert len(summary["metric_per_case"]) == 8
    for entry in summary["metric_per_case"]:
        name = entry["reference_file"].rsplit("/", 1)[1]
        assert entry["prediction_file"] == str(maps / name.replace(".nii.gz", ".npz"))
        reference = np.asarray(nib.load(labels / name).dataobj)
        for label, region in ((1, "organ"), (2, "lesion")):
            mask = tmp_path / "masks" / name.replace(".nii.gz", f"_{region}.nii.gz")
            mask = np.asarray(nib.load(mask).dataobj) > 0
            assert entry["metrics"][label] == metrics_of(mask, reference == label)
    for name in METRICS:
        per_label = [
            np.mean([e["metrics"][k][name] for e in summary["metric_per_case"]])
            for k in (1, 2)
        ]
        assert [summary["mean"][k][name] for k in (1, 2)] == per_label
        assert summary["foreground_mean"][name] == np.mean(per_label)


def test_regions_are_keys_of_several_labels_and_any_label_is_none(tmp_path, cli):
    maps, labels = made.cohort(tmp_path, 8)
    specs = ("--region", "both=1+2:1,2", "--region", "all=1+2:any")
    folder = flow(cli, tmp_path, maps, labels, *specs)
    summary = load_summary(folder / "summary.json")
    assert summary["mean"].keys() == {(1, 2), ()}
    assert summary["mean"][1, 2] == summary["mean"][()]


def test_dice_is_nan_where_both_are_empty_and_counts_in_no_mean(tmp_path, cli):
    rng = np.random.default_rng(0)
    for i in range(8):
        probs, mask = case((6, 7, 5), 20, rng)
        empty = i == 0
        write_nifti(tmp_path / f"p/c{i}.nii.gz", probs * (0 if empty else 1))
        write_nifti(tmp_path / f"l/c{i}.nii.gz", mask & (not empty))
    folder = flow(cli, tmp_path, tmp_path / "p", tmp_path / "l")
    assert "NaN" in (folder / "summary.json").read_text()
    summary = load_summary(folder / "summary.json")
    first, *others = (entry["metrics"][1] for entry in summary["metric_per_case"])
    assert np.isnan([first["Dice"], first["IoU"]]).all()
    assert (first["n_pred"], first["n_ref"], first["TN"]) == (0, 0, 210)
    assert summary["mean"][1]["Dice"] == np.mean([own["Dice"] for own in others])
    assert summary["mean"][1]["n_ref"] == np.mean([own["n_ref"] for own in others]) * (
        7 / 8
    )


def test_sets_have_a_summary_a_side_and_the_file_is_known(tmp_path, cli):
    rng = np.random.default_rng(1)
    for i in range(12):
        probs, mask = case((6, 7, 5), 20, rng)
        write_nifti(tmp_path / f"p/c{i}.nii.gz", probs)
        write_nifti(tmp_path / f"l/c{i}.nii.gz", mask)
    pair = ("--probs", tmp_path / "p", "--labels", tmp_path / "l")
    sides = ("--transform", "inner=identity", "--transform", "outer=identity")
    asked = ("--method", "sets", "--alpha", "0.5", "--inner", "identity")
    for args in (
        ("score", *pair, *sides, "-o", tmp_path / "s"),
        (
            "calibrate",
            tmp_path / "s",
            *asked,
            "--outer",
            "identity",
            "-o",
            tmp_path / "c",
        ),
        ("evaluate", tmp_path / "c", *pair, "-o", tmp_path / "e"),
    ):
        assert cli(*args).code == 0
    with (tmp_path / "e" / "cases.csv").open() as stream:
        rows = {row["case_id"]: row for row in csv.DictReader(stream)}
    for side in ("inner", "outer"):
        path = tmp_path / "e" / f"summary_{side}.json"
        for entry in load_summary(path)["metric_per_case"]:
            name = entry["reference_file"].rsplit("/", 1)[1].removesuffix(".nii.gz")
            assert entry["metrics"][1]["n_pred"] == int(rows[name][f"n_{side}"])
    assert not (tmp_path / "e" / "summary.json").exists()
    assert cli("verify", tmp_path / "e").code == 0
    path.write_text(path.read_text().replace("TP", "PT", 1))
    assert "summary_outer.json" in cli("verify", tmp_path / "e").out


def test_nnunet_itself_loads_it(tmp_path, cli):
    evaluation = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")
    maps, labels = made.cohort(tmp_path, 8)
    path = flow(cli, tmp_path, maps, labels) / "summary.json"
    assert evaluation.load_summary_json(str(path)) == load_summary(path)
