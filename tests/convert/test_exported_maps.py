"""Exported maps hold what the reader gives, where the image lies."""

import json

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.conftest import SHARED
from tests.synthetic import write_cohort, write_nifti

import coverax as cx

WRITTEN = SHARED / "nnunet"


def export(folder, output, **options):
    return cx.convert.export_folder(cx.volumes.nifti_files(folder), output, **options)


def values_of(path):
    n_channels = cx.volumes.read_header(path).n_channels
    return cx.volumes.read_probs(path, channels=range(n_channels)).probs


@pytest.mark.parametrize("kind", ["sitk", "nibabel", "reorient"])
@pytest.mark.parametrize("per_class", [False, True])
def test_a_softmax_becomes_nifti_with_the_values_and_place_of_its_segmentation(
    tmp_path, kind, per_class
):
    made.write_dataset(tmp_path / "r")
    affine = made.OBLIQUE @ np.diag([1, -1, 1, 1])
    path = made.write_case(tmp_path / "r", "c", made.softmax(0), affine, kind=kind)
    result = export(tmp_path / "r", tmp_path / "out", per_class=per_class)
    names = ["background", "organ", "lesion"]
    beside = nib.load(path.with_suffix(".nii.gz"))
    files = [f"c_{n}.nii.gz" for n in names] if per_class else ["c.nii.gz"]
    assert result["n_files"] == len(files)
    images = [nib.load(tmp_path / "out" / name) for name in files]
    for image in images:
        assert image.get_data_dtype() == np.float32
        np.testing.assert_array_equal(image.affine, beside.affine)
        assert image.shape[:3] == beside.shape
    found = [np.asarray(image.dataobj) for image in images]
    volume = np.stack(found) if per_class else np.moveaxis(found[0], -1, 0)
    np.testing.assert_array_equal(volume, made.softmax(0))
    np.testing.assert_array_equal(
        np.stack([v.reshape(-1, order="F") for v in volume]), values_of(path)
    )
    assert {v.status for v in cx.verify.verify_files([tmp_path / "out"])} == {"whole"}


def test_an_exported_folder_is_scored_as_its_source(tmp_path):
    maps, labels = made.cohort(tmp_path)
    export(maps, tmp_path / "out")
    thresholds = []
    for folder in (maps, tmp_path / "out"):
        cohort = cx.volumes.match_folders(folder, labels)
        regions, _ = cx.volumes.cohort_labels(cohort, [])
        definition = cx.scores.ScoreDefinition(regions=regions)
        table = cx.scores.score_cohort(cohort, definition)
        found = cx.calibrate.calibrate_fnr(table, "0.3").thresholds
        thresholds.append([(t.region, t.value.hex()) for t in found])
    assert thresholds[0] == thresholds[1]


@pytest.mark.parametrize("folder", ["A", "B_reorient", "C", "D", "E_mha"])
def test_what_nnunet_wrote_lies_where_the_truth_does(folder, tmp_path):
    if not (WRITTEN / folder).is_dir():
        pytest.skip("the folders that nnU-Net wrote (../shared/nnunet) are not there")
    if folder == "E_mha":
        pytest.importorskip("SimpleITK", exc_type=ImportError)
    results = WRITTEN / folder
    export(results, tmp_path / "out")
    for path in sorted(results.glob("*.npz")):
        image = nib.load(tmp_path / "out" / f"{path.stem}.nii.gz")
        truth = np.load(results / "truth" / f"{path.stem}.npy")
        affine = np.load(results / "truth" / f"{path.stem}.affine.npy")
        np.testing.assert_array_equal(np.asarray(image.dataobj), truth)
        np.testing.assert_allclose(image.affine, affine, rtol=1e-6, atol=1e-5)


def test_sigmoids_of_regions_are_named_by_their_regions(tmp_path):
    made.write_dataset(tmp_path / "r", made.REGIONS, [2, 1, 3])
    zeros = np.zeros(made.SHAPE, np.uint8)
    made.write_case(tmp_path / "r", "c", made.sigmoids(0), segmentation=zeros)
    export(tmp_path / "r", tmp_path / "out", per_class=True)
    found = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
    assert found == ["c_core.nii.gz", "c_enhancing.nii.gz", "c_whole.nii.gz"]


def test_maps_without_names_are_numbered_and_those_without_classes_are_one(tmp_path):
    rng = np.random.default_rng(0)
    write_nifti(tmp_path / "in/a.nii.gz", rng.random((4, 5, 3, 2), np.float32))
    write_nifti(tmp_path / "in/b.nii.gz", rng.random((4, 5, 3)).astype(np.float64))
    write_nifti(tmp_path / "in/c.nii", rng.random((4, 5)).astype(np.float32))
    export(tmp_path / "in", tmp_path / "out", per_class=True)
    found = sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz"))
    assert found == ["a_class0.nii.gz", "a_class1.nii.gz", "b.nii.gz", "c.nii.gz"]
    for name in ("b.nii.gz", "c.nii"):
        source = values_of(tmp_path / "in" / name)
        np.testing.assert_array_equal(
            values_of(tmp_path / "out" / f"{name[0]}.nii.gz"), source
        )
    assert nib.load(tmp_path / "out/c.nii.gz").shape == (4, 5)
    record = json.loads((tmp_path / "out/exported.json").read_text())
    assert record["channels"] == {"a": ["class0", "class1"], "b": [], "c": []}


def test_two_files_of_one_name_are_refused_before_any_work(tmp_path):
    rng = np.random.default_rng(0)
    write_nifti(tmp_path / "in/a.nii.gz", rng.random((4, 5, 3, 2), np.float32))
    write_nifti(tmp_path / "in/a_class1.nii.gz", rng.random((4, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"would both write a_class1\.nii\.gz"):
        export(tmp_path / "in", tmp_path / "out", per_class=True)
    assert not (tmp_path / "out").exists()


def test_a_damaged_map_is_one_line_and_the_others_wait(tmp_path, capsys):
    from coverax.cli.app import run

    maps, _ = write_cohort(tmp_path / "in", 3, (4, 5, 3), 9)
    (maps / "case_001.nii.gz").write_bytes(b"\x1f\x8bnothing")
    out = tmp_path / "out"
    assert run(["export", str(maps), "-o", str(out), "--per-class"]) == 1
    errors = [x for x in capsys.readouterr().err.splitlines() if "error: case" in x]
    assert len(errors) == 1
    assert "case_001" in errors[0]
    assert not out.exists()
    args = ["export", str(maps), "-o", str(out), "--per-class", "--resume"]
    assert run([*args, "--allow-missing"]) == 0
    assert {p.name for p in out.glob("*.nii.gz")} == {
        "case_000.nii.gz",
        "case_002.nii.gz",
    }
