"""Softmax files of nnU-Net: what its own code wrote, and small folders like it."""

import pickle
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.conftest import SHARED

from coverax.volumes import (
    find_results,
    match_folders,
    nifti_files,
    read_cohort,
    read_header,
    read_probs,
    read_voxels,
    write_results,
)
from coverax.volumes.nnunet_dataset import Dataset, find_dataset
from coverax.volumes.nnunet_segmentation import segment

WRITTEN = SHARED / "nnunet"
SOFTMAX = sorted(WRITTEN.rglob("*.npz"))


def volume(path):
    """`[class, x, y, z]` and the affine."""
    file, rows = read_voxels(path)
    return rows.reshape(-1, *file.grid.shape[::-1]).transpose(0, 3, 2, 1), file


@pytest.mark.skipif(not SOFTMAX, reason="files of nnU-Net are not beside the checkout")
@pytest.mark.parametrize("path", SOFTMAX, ids=lambda p: str(p.relative_to(WRITTEN)))
def test_what_nnunet_wrote_is_read_to_the_bit(path):
    root = next(p for p in path.parents if (p / "truth").is_dir())
    if root.name == "E_mha":
        pytest.importorskip("SimpleITK", exc_type=ImportError)
    values, file = volume(path)
    truth = np.load(root / "truth" / f"{path.stem}.npy")
    np.testing.assert_array_equal(values, np.moveaxis(truth, -1, 0))
    affine = np.load(root / "truth" / f"{path.stem}.affine.npy")
    np.testing.assert_allclose(file.grid.affine, affine, rtol=1e-6, atol=1e-6)


@pytest.mark.skipif(not SOFTMAX, reason="files of nnU-Net are not beside the checkout")
@pytest.mark.parametrize("path", SOFTMAX, ids=lambda p: str(p.relative_to(WRITTEN)))
def test_a_map_segments_as_nnunet_did(path):
    beside = path.with_suffix(".nii.gz")
    if not beside.is_file():
        pytest.skip("its segmentation is no NIfTI file")
    labels = segment(read_voxels(path)[1], find_dataset(path.parent))
    np.testing.assert_array_equal(labels, read_voxels(beside)[1][0])


@pytest.mark.skipif(not SOFTMAX, reason="files of nnU-Net are not beside the checkout")
@pytest.mark.parametrize(
    ("folder", "regions", "ignore"),
    [
        ("A", ["organ=1:1", "lesion=2:2"], None),
        ("C", ["whole=0:1,2,3", "core=1:1,3", "enhancing=2:3"], None),
        ("D", ["organ=1:1", "lesion=2:2"], 3),  # lesion stands first in the file
        ("F/fold_3/validation", ["organ=1:1", "lesion=2:2"], None),  # two levels up
    ],
)
def test_a_dataset_names_regions_by_channel(folder, regions, ignore):
    dataset = find_dataset(WRITTEN / folder)
    assert [str(region) for region in dataset.regions] == regions
    assert dataset.ignore_label == ignore


@pytest.mark.parametrize("numpy_1", [False, True])
@pytest.mark.parametrize("kind", ["sitk", "nibabel", "reorient"])
def test_geometry_comes_from_any_kind_of_properties(tmp_path, kind, numpy_1):
    probs = made.softmax(0, shape=(6, 6, 6))  # shapes agree whatever the order
    path = made.write_case(tmp_path, "c", probs, kind=kind, numpy_1=numpy_1)
    values, file = volume(path)
    np.testing.assert_array_equal(values, probs)
    # The segmentation is float32 in its header, properties are float64.
    np.testing.assert_allclose(file.grid.affine, made.OBLIQUE, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["sitk", "nibabel"])
def test_geometry_needs_no_segmentation(tmp_path, kind):
    path = made.write_case(tmp_path, "c", made.softmax(0), kind=kind)
    path.with_suffix(".nii.gz").unlink()
    values, file = volume(path)
    np.testing.assert_array_equal(values, made.softmax(0))
    np.testing.assert_allclose(file.grid.affine, made.OBLIQUE, atol=1e-12)


@pytest.mark.parametrize("content", [None, np.zeros(3, np.float32)])
def test_a_segmentation_stands_in_for_properties(tmp_path, content):
    """Merged predictions had none, or the probabilities in their place."""
    path = made.write_case(tmp_path, "c", made.softmax(0))
    path.with_suffix(".pkl").unlink()
    if content is not None:
        made.write_pickle(path.with_suffix(".pkl"), content)
    values, file = volume(path)
    np.testing.assert_array_equal(values, made.softmax(0))
    np.testing.assert_allclose(file.grid.affine, made.OBLIQUE, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_float_type_is_read_as_it_is(tmp_path, dtype, save):
    probs = made.softmax(1).astype(dtype)
    path = made.write_case(tmp_path, "c", probs, save=save)
    np.testing.assert_array_equal(volume(path)[0], probs)
    chosen = read_voxels(path, channels=[2, 0])[1]
    np.testing.assert_array_equal(chosen, read_voxels(path)[1][[2, 0]])


def test_the_header_of_an_array_is_matched_and_never_evaluated(tmp_path, monkeypatch):
    """The parser of Python fails now and then where several threads are in it."""
    path = made.write_case(tmp_path, "c", made.softmax(1))

    def refuse(*_args):
        raise AssertionError("evaluated")

    monkeypatch.setattr("ast.literal_eval", refuse)
    np.testing.assert_array_equal(volume(path)[0], made.softmax(1))


def test_the_crop_of_version_1_is_undone(tmp_path):
    probs = made.softmax(2, shape=(3, 4, 2))  # lies at x 2:5, y 1:5, z 3:5
    whole = np.zeros((3, *made.SHAPE), np.float16)
    whole[0] = 1
    whole[:, 2:5, 1:5, 3:5] = probs
    np.savez_compressed(
        tmp_path / "c.npz", softmax=probs.astype(np.float16).transpose(0, 3, 2, 1)
    )
    stuff = made.sitk_stuff(made.OBLIQUE)
    made.write_pickle(
        tmp_path / "c.pkl",
        {f"itk_{name}": value for name, value in stuff.items()}
        | {
            "crop_bbox": [[3, 5], [1, 5], [2, 5]],
            "original_size_of_raw_data": np.array(made.SHAPE[::-1]),
        },
    )
    values, file = volume(tmp_path / "c.npz")
    np.testing.assert_array_equal(values, whole)
    np.testing.assert_allclose(file.grid.affine, made.OBLIQUE, atol=1e-12)


def test_regions_paint_in_the_order_of_their_classes():
    rows = np.array([[0.6, 0.6, 0.5, 0.9], [0.2, 0.7, 0.9, 0.6], [0.0, 0.1, 0.9, 0.51]])
    dataset = Dataset(Path("dataset.json"), (), True, 3, class_order=(2, 1, 3))
    assert segment(rows, dataset).tolist() == [2, 1, 3, 3]


def test_a_region_without_a_voxel_is_no_error(tmp_path):
    made.write_dataset(tmp_path, made.REGIONS, [2, 1, 3])
    nothing = np.zeros((3, *made.SHAPE), np.float32)
    path = made.write_case(
        tmp_path, "c", nothing, segmentation=np.zeros(made.SHAPE, np.uint8)
    )
    assert not volume(path)[0].any()


# What must be refused, and how: one line that names the file.


def test_a_pickle_is_never_run(tmp_path):
    class Call:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    path = made.write_case(tmp_path, "c", made.softmax(0))
    path.with_suffix(".pkl").write_bytes(pickle.dumps({"spacing": Call()}))
    with pytest.raises(ValueError, match=r"c\.pkl: the pickle names _?io\.open"):
        read_header(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("numpy", "load"), ("builtins", "eval")]
)
def test_a_name_in_a_pickle_is_refused_by_name(tmp_path, module, name):
    path = made.write_case(tmp_path, "c", made.softmax(0))
    path.with_suffix(".pkl").write_bytes(f"c{module}\n{name}\n.".encode())
    with pytest.raises(ValueError, match=rf"c\.pkl: the pickle names {module}\.{name}"):
        read_header(path)


def objects(path):
    np.savez(path, probabilities=np.array([{}, {}], object))


def bomb(path):
    """A member that would inflate to a terabyte, as its directory says."""
    header = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.float32))
    header["shape"] = (2, 1 << 10, 1 << 14, 1 << 13)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("probabilities.npy", "w") as member:
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(1 << 16))
        archive.infolist()[0].file_size = 1 << 40


def other_key(path):
    np.savez(path, logits=np.zeros((2, 3, 3, 3), np.float32))


def cut(path):
    path.write_bytes(path.read_bytes()[:-30])


def flipped_bit(path):
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.write_bytes(b"no archive"), "not a sound .npz archive"),
        (other_key, "holds no array probabilities or softmax, but logits"),
        (objects, "holds object; float16, float32 or float64"),
        (bomb, "would inflate to .* not believed"),
        (cut, "not a sound .npz archive"),
        (flipped_bit, "damaged|not a sound|is no array|longer"),
        (lambda p: np.savez(p, probabilities=np.zeros((2, 3))), "expected axes class"),
        (
            lambda p: np.savez(p, probabilities=np.ones((2, 3, 3, 3), np.int16)),
            "holds int16",
        ),
    ],
)
def test_an_archive_that_is_no_map_is_refused(tmp_path, spoil, words):
    path = made.write_case(tmp_path, "c", made.softmax(0), save=np.savez)
    spoil(path)
    with pytest.raises(ValueError, match=rf"c\.npz: .*({words})"):
        read_voxels(path)


def test_a_shape_that_fits_no_order_of_the_axes_is_refused(tmp_path):
    path = made.write_case(tmp_path, "c", made.softmax(0))
    other = np.moveaxis(made.softmax(0, shape=(9, 6, 5)), (1, 3), (3, 1))
    np.savez(path, probabilities=other)
    with pytest.raises(ValueError, match=r"c\.npz has \(9, 6, 5\)"):
        read_header(path)
    path.with_suffix(".pkl").unlink()
    with pytest.raises(ValueError, match="no order of the axes makes them fit"):
        read_header(path)


def test_properties_of_a_fourth_kind_are_refused(tmp_path):
    path = made.write_case(tmp_path, "c", made.softmax(0))
    made.write_pickle(path.with_suffix(".pkl"), {"itk_image": {"origin": 1}})
    with pytest.raises(
        ValueError, match=r"c\.pkl: geometry not understood .*sitk_stuff"
    ):
        read_header(path)


def test_a_map_without_a_place_is_refused(tmp_path):
    path = made.write_case(tmp_path, "c", made.softmax(0))
    path.with_suffix(".pkl").unlink()
    path.with_suffix(".nii.gz").unlink()
    with pytest.raises(ValueError, match="nothing says where its voxels lie"):
        read_header(path)


def test_a_region_model_needs_the_order_of_its_classes(tmp_path):
    made.write_dataset(tmp_path, made.REGIONS)
    path = made.write_case(tmp_path, "c", made.sigmoids(0))
    with pytest.raises(
        ValueError, match=r"dataset\.json: .* needs regions_class_order"
    ):
        read_voxels(path)


def test_a_map_of_another_model_is_refused(tmp_path):
    made.write_dataset(tmp_path)
    path = made.write_case(tmp_path, "c", made.softmax(0, n_classes=4))
    with pytest.raises(ValueError, match=r"c\.npz: has 4 channels, .* speaks of 3"):
        read_voxels(path)


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (0, 3, 1, 2)])
def test_axes_that_fit_the_segmentation_otherwise_are_refused(tmp_path, axes):
    """An array written x, y, z, or by turns: shapes agree, places do not."""
    probs = made.softmax(3, shape=(6, 6, 6))
    path = made.write_case(tmp_path, "c", probs)
    np.savez(path, probabilities=probs.transpose(axes))
    with pytest.raises(ValueError, match=r"c\.npz: its argmax fits c\.nii\.gz with"):
        read_voxels(path)


def test_voxels_that_postprocessing_took_are_said_once(tmp_path, caplog):
    for case_id in ("a", "b"):
        probs = made.softmax(4)
        labels = probs.argmax(0).astype(np.uint8)
        labels[:2] = 0
        path = made.write_case(tmp_path, case_id, probs, segmentation=labels)
        np.testing.assert_array_equal(volume(path)[0], probs)
    assert len(caplog.messages) == 1
    assert "postprocessing" in caplog.messages[0]


# Folders.


def test_a_segmentation_beside_a_softmax_is_never_a_map(tmp_path):
    results, labels = made.cohort(tmp_path, n=2)
    assert {p.suffix for p in nifti_files(results).values()} == {".npz"}
    cohort = match_folders(results, labels)
    assert [case.probs.suffix for case in cohort.cases] == [".npz", ".npz"]
    assert [case.labels.name for case in cohort.cases] == ["c0.nii.gz", "c1.nii.gz"]


def test_a_segmentation_named_as_a_map_is_refused(tmp_path):
    path = made.write_case(tmp_path, "c", made.softmax(0))
    with pytest.raises(ValueError, match=r"c\.nii\.gz: is the segmentation of c\.npz"):
        read_probs(path.with_suffix(".nii.gz"), channels=[0])


def test_a_folder_that_mixes_forms_is_refused(tmp_path):
    results, _ = made.cohort(tmp_path, n=3)
    (results / "c1.npz").unlink()
    with pytest.raises(ValueError, match=r"mixes forms: 2 softmax .*c1\.nii\.gz"):
        nifti_files(results)


def test_results_become_a_cohort(tmp_path):
    results, labels = made.cohort(tmp_path, n=4)
    (results / "c1.npz").unlink()
    (labels / "c2.nii.gz").unlink()
    made.write_reference(labels, "other", np.zeros(made.SHAPE))
    found = find_results(results, labels)
    assert [case.case_id for case in found.cases] == ["c0", "c3"]
    assert found.reader == "SimpleITKIO"
    assert found.left_out == {
        "no reference": ["c2"],
        "a segmentation without its softmax": ["c1"],
        "no map": ["other"],
    }
    write_results(found, tmp_path / "cohort.csv")
    assert read_cohort(tmp_path / "cohort.csv").cases == found.cases


def test_each_case_of_the_folds_is_under_the_model_that_did_not_see_it(tmp_path):
    root, labels = made.folds(tmp_path)
    found = find_results(root, labels, folds=True)
    assert found.fold_sizes == {"0": 2, "1": 2, "2": 2}
    write_results(found, tmp_path / "cohort.csv")
    cases = read_cohort(tmp_path / "cohort.csv").cases
    assert {c.case_id: c.column("fold") for c in cases} == {
        f"c{i}": str(i % 3) for i in range(6)
    }
    assert all(c.probs.parent.parent.name == f"fold_{c.column('fold')}" for c in cases)


def test_units_are_written_where_names_tell_them(tmp_path):
    results, labels = made.cohort(tmp_path, n=3)
    found = find_results(results, labels, unit_pattern=r"c")
    write_results(found, tmp_path / "cohort.csv")
    units = {case.unit for case in read_cohort(tmp_path / "cohort.csv").cases}
    assert units == {"c"}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda r: (r / "fold_0/validation/c0.npz").rename(
                r / "fold_1/validation/c0.npz"
            ),
            "puts case c0 into fold 0, but its map lies in fold 1",
        ),
        (
            lambda r: made.write_case(r / "fold_1/validation", "c0", made.softmax(9)),
            "case c0 lies in two folds",
        ),
        (
            lambda r: [p.unlink() for p in (r / "fold_2/validation").glob("*.npz")],
            "no softmax of its validation",
        ),
        (
            lambda r: (r / "splits_final.json").write_text("[1]"),
            "not the splits of nnU-Net",
        ),
    ],
)
def test_folds_that_are_none_are_refused(tmp_path, spoil, words):
    root, labels = made.folds(tmp_path)
    spoil(root)
    with pytest.raises(ValueError, match=words):
        find_results(root, labels, folds=True)


def test_a_trained_model_taken_for_results_is_told_of_its_folds(tmp_path):
    root, labels = made.folds(tmp_path)
    with pytest.raises(ValueError, match="did you mean --folds"):
        find_results(root, labels)


def test_a_map_may_be_an_image_with_nothing_but_a_header(tmp_path):
    """Masks on the grid of a map keep the header of the segmentation."""
    path = made.write_case(tmp_path, "c", made.softmax(0))
    header = read_header(path).header
    mine = nib.load(path.with_suffix(".nii.gz")).header
    assert header["qform_code"] == mine["qform_code"]
    np.testing.assert_array_equal(header.get_sform(), mine.get_sform())
