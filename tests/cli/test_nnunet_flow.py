"""From a folder of nnU-Net to certified masks, as a user goes."""

import json

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.conftest import SHARED

import coverax as cx

WRITTEN = SHARED / "nnunet"
N_CASES = 8


@pytest.fixture
def results(tmp_path):
    return made.cohort(tmp_path, N_CASES)


def as_nifti(results, folder):
    """The same maps as 4-D NIfTI, written by nibabel."""
    folder.mkdir()
    for i in range(N_CASES):
        image = nib.Nifti1Image(np.moveaxis(made.softmax(i), 0, -1), made.OBLIQUE)
        nib.save(image, folder / f"c{i}.nii.gz")
    return folder


def test_three_commands_lead_to_masks(results, tmp_path, cli):
    maps, labels = results
    assert (
        cli("score", "--probs", maps, "--labels", labels, "-o", tmp_path / "s").code
        == 0
    )
    args = ("--alpha", "0.2", "-o", tmp_path / "c.json")
    assert cli("calibrate", tmp_path / "s", *args).code == 0
    done = cli(
        "predict", tmp_path / "c.json", "--probs", maps, "-o", tmp_path / "masks"
    )
    assert done.code == 0
    found = cx.calibrate.read_calibration(tmp_path / "c.json").thresholds
    cuts = {t.region: t.probability for t in found}
    for name, channel in (("organ", 1), ("lesion", 2)):
        mask = nib.load(tmp_path / f"masks/c3_{name}.nii.gz")
        beside = nib.load(maps / "c3.nii.gz")
        np.testing.assert_array_equal(mask.affine, beside.affine)
        expected = made.softmax(3)[channel] >= np.float32(cuts[name])
        np.testing.assert_array_equal(np.asarray(mask.dataobj) != 0, expected)


def test_thresholds_are_those_of_the_same_maps_as_nifti(results, tmp_path, cli):
    maps, labels = results
    twins = as_nifti(maps, tmp_path / "nifti")
    regions = ("--region", "organ=1:1", "--region", "lesion=2:2")
    cli("score", "--probs", maps, "--labels", labels, "-o", tmp_path / "npz")
    cli("score", "--probs", twins, "--labels", labels, *regions, "-o", tmp_path / "nii")
    mine, twin = (cx.scores.read_table(tmp_path / name) for name in ("npz", "nii"))
    assert mine.rows_digest == twin.rows_digest
    assert mine.definition == twin.definition
    thresholds = []
    for name in ("npz", "nii"):
        args = ("--alpha", "0.2", "-o", tmp_path / f"{name}.json")
        assert cli("calibrate", tmp_path / name, *args).code == 0
        thresholds.append(
            json.loads((tmp_path / f"{name}.json").read_text())["thresholds"]
        )
    assert thresholds[0] == thresholds[1]
    # A calibration of one form goes with maps of the other.
    args = (tmp_path / "npz.json", "--probs", twins, "-o", tmp_path / "masks")
    assert cli("predict", *args).code == 0


@pytest.mark.parametrize("command", ["score", "reliability", "temperature"])
def test_regions_come_from_the_model_and_are_said_once(results, tmp_path, cli, command):
    maps, labels = results
    name = ("temperature", "fit") if command == "temperature" else (command,)
    pair = ("--probs", maps, "--labels", labels)
    done = cli(*name, *pair, "-o", tmp_path / "out")
    assert done.code == 0
    assert done.err.count("regions organ=1:1, lesion=2:2 taken from it") == 1
    region = (
        ("--region", "mine=1+2:1,2")
        if command != "temperature"
        else ("--region", "m=1:1")
    )
    done = cli(*name, *pair, *region, "-o", tmp_path / "other")
    assert (done.code, "taken from it" in done.err) == (0, False)


def test_a_model_of_regions_needs_no_softmax(tmp_path, cli):
    results, labels = made.cohort(tmp_path, 4)
    made.write_dataset(results, made.REGIONS, [1, 2, 3])
    for i in range(4):
        probs = made.sigmoids(i)
        painted = np.zeros(made.SHAPE, np.uint8)
        for p, label in zip(probs, (1, 2, 3), strict=True):
            painted[p > 0.5] = label
        made.write_case(results, f"c{i}", probs, segmentation=painted)
    pair = ("--probs", results, "--labels", labels)
    done = cli("score", *pair, "-o", tmp_path / "s")
    assert done.code == 0
    table = cx.scores.read_table(tmp_path / "s")
    assert sorted(set(table.column("region"))) == ["core", "enhancing", "whole"]
    assert cli("score", *pair, "--softmax", "-o", tmp_path / "s2").code == 2


def test_the_ignore_label_of_the_model_is_masked_out(tmp_path, cli):
    results, labels = made.cohort(tmp_path, 3, labels=made.LABELS | {"ignore": 3})
    for i in range(3):
        truth = np.asarray(nib.load(labels / f"c{i}.nii.gz").dataobj).copy()
        truth[:3] = 3
        made.write_reference(labels, f"c{i}", truth)
    done = cli("score", "--probs", results, "--labels", labels, "-o", tmp_path / "s")
    assert "label 3 to ignore taken from it" in done.err
    table = cx.scores.read_table(tmp_path / "s")
    assert table.definition.ignore_label == 3
    left = np.prod(made.SHAPE) * 4 // 7
    assert set(table.column("n_voxels").tolist()) == {left}


def test_models_with_other_labels_are_no_cohort(tmp_path, cli):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = ["case_id,probs,labels"]
    for name, labels in (("a", made.LABELS), ("b", {"background": 0, "x": 1, "y": 2})):
        results, references = made.cohort(tmp_path / name, 1, labels=labels)
        (results / "c0.npz").rename(results / f"{name}.npz")
        (results / "c0.nii.gz").rename(results / f"{name}.nii.gz")
        rows.append(f"{name},{results}/{name}.npz,{references}/c0.nii.gz")
    (tmp_path / "cohort.csv").write_text("\n".join(rows))
    done = cli("score", "--cohort", tmp_path / "cohort.csv", "-o", tmp_path / "s")
    assert done.code == 1
    assert "are of models with other labels" in done.errors[0]


def test_what_is_found_is_shown_and_a_dry_run_writes_nothing(results, tmp_path, cli):
    maps, labels = results
    before = sorted(tmp_path.rglob("*"))
    done = cli("import", "nnunet", maps, "--labels", labels, "--dry-run")
    assert done.code == 0
    assert f"found {N_CASES} cases" in done.err
    assert "a model of labels: organ=1:1, lesion=2:2" in done.err
    assert "SimpleITKIO" in done.err
    assert sorted(tmp_path.rglob("*")) == before
    done = cli("import", "nnunet", maps, "--labels", labels, "--dry-run", "--json")
    assert done.json["n_cases"] == N_CASES
    assert cli("import", "nnunet", maps, "--labels", labels).code == 2


def test_the_fold_of_a_case_travels_to_the_table(tmp_path, cli):
    root, labels = made.folds(tmp_path)
    cohort = tmp_path / "cohort.csv"
    args = ("--labels", labels, "--folds", "-o", cohort)
    assert cli("import", "nnunet", root, *args).code == 0
    done = cli("score", "--cohort", cohort, "-o", tmp_path / "s")
    assert done.code == 0
    assert "further columns" not in done.err
    table = cx.scores.read_table(tmp_path / "s")
    assert table.folds == ("0", "1", "2")
    folds = dict(zip(table.column("case_id"), table.column("fold"), strict=True))
    assert folds == {f"c{i}": str(i % 3) for i in range(6)}


def test_a_case_is_read_again_where_its_geometry_is_replaced(results, tmp_path, cli):
    """What a softmax lies beside is a part of it, for a run that goes on, too."""
    maps, labels = results
    spoilt = labels / "c7.nii.gz"
    sound = spoilt.read_bytes()
    spoilt.write_bytes(b"")
    args = ("score", "--probs", maps, "--labels", labels, "-o", tmp_path / "s")
    assert cli(*args).code == 1
    spoilt.write_bytes(sound)
    made.write_case(maps, "c0", made.softmax(0), made.OBLIQUE @ np.diag([1, 1, 2.0, 1]))
    done = cli(*args, "--resume")
    assert done.code == 1
    assert "c0.npz" in done.errors[0]


def test_temperatures_are_written_as_nifti(results, tmp_path, cli):
    maps, labels = results
    pair = ("--probs", maps, "--labels", labels, "--softmax")
    assert cli("temperature", "fit", *pair, "-o", tmp_path / "t.json").code == 0
    args = (tmp_path / "t.json", "--probs", maps, "-o", tmp_path / "scaled")
    assert cli("temperature", "apply", *args).code == 0
    names = sorted(path.name for path in (tmp_path / "scaled").glob("*.nii*"))
    assert names == [f"c{i}.nii.gz" for i in range(N_CASES)]


@pytest.mark.skipif(not WRITTEN.is_dir(), reason="files of nnU-Net are not beside")
@pytest.mark.parametrize("folder", ["A", "B_reorient", "C", "D", "E_mha"])
def test_what_nnunet_wrote_is_scored_and_predicted_in_place(folder, tmp_path, cli):
    if folder == "E_mha":
        pytest.importorskip("SimpleITK", exc_type=ImportError)
    results, labels = WRITTEN / folder, WRITTEN / folder / "labels"
    cohort, table = tmp_path / "cohort.csv", tmp_path / "s"
    assert cli("import", "nnunet", results, "--labels", labels, "-o", cohort).code == 0
    assert cli("score", "--cohort", cohort, "-o", table).code == 0
    args = ("--alpha", "0.9", "-o", tmp_path / "c.json")
    assert cli("calibrate", table, *args).code == 0
    masks = tmp_path / "masks"
    done = cli("predict", tmp_path / "c.json", "--probs", results, "-o", masks)
    assert done.code == 0
    done = cli(
        "evaluate", tmp_path / "c.json", "--cohort", cohort, "-o", tmp_path / "e"
    )
    assert done.code == 0
    found = cx.calibrate.read_calibration(tmp_path / "c.json").thresholds
    cuts = {t.region: t.probability for t in found}
    regions = cx.scores.read_table(table).definition.regions
    for path in sorted(results.glob("*.npz")):
        truth = np.load(results / "truth" / f"{path.stem}.npy")
        affine = np.load(results / "truth" / f"{path.stem}.affine.npy")
        for region in regions:
            (written,) = masks.glob(f"{path.stem}_{region.name}.*")
            ending = json.loads((results / "dataset.json").read_text())["file_ending"]
            assert written.name.endswith(ending)
            mask, file = cx.volumes.read_labels(written)
            expected = truth[..., region.channels[0]] >= np.float32(cuts[region.name])
            flat = expected.reshape(-1, order="F")
            np.testing.assert_array_equal(mask != 0, flat)
            np.testing.assert_allclose(file.grid.affine, affine, rtol=1e-6, atol=1e-5)
