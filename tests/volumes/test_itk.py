"""MetaImage and NRRD: the same numbers at the same places as their NIfTI twins."""

import warnings

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made

from coverax.volumes import itk as itk_reader
from coverax.volumes import (
    nifti_files,
    nifti_name,
    read_header,
    read_labels,
    read_voxels,
)

SUFFIXES = [".mha", ".mhd", ".nrrd"]


@pytest.fixture
def sitk():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own bindings
        return pytest.importorskip("SimpleITK", exc_type=ImportError)


def write(sitk, path, array, affine=made.OBLIQUE, **vector):
    """`[x, y, z]` or `[x, y, z, class]` in RAS, as ITK stores it."""
    axes = (2, 1, 0, 3)[: array.ndim]
    image = sitk.GetImageFromArray(array.transpose(axes), **vector)
    stuff = made.sitk_stuff(affine)
    image.SetSpacing(stuff["spacing"])
    image.SetOrigin(stuff["origin"])
    image.SetDirection(stuff["direction"])
    sitk.WriteImage(image, str(path), useCompression=path.suffix != ".mhd")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_voxels_lie_where_their_nifti_twin_has_them(sitk, tmp_path, suffix, dtype):
    array = (200 * np.random.default_rng(0).random(made.SHAPE)).astype(dtype)
    write(sitk, tmp_path / f"c{suffix}", array)
    nib.save(nib.Nifti1Image(array, made.OBLIQUE), tmp_path / "c.nii.gz")
    file, rows = read_voxels(tmp_path / f"c{suffix}")
    twin, expected = read_voxels(tmp_path / "c.nii.gz")
    np.testing.assert_array_equal(rows, expected)
    assert file.storage == twin.storage
    assert file.grid.shape == twin.grid.shape
    np.testing.assert_allclose(file.grid.affine, twin.grid.affine, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_values_of_a_voxel_are_its_classes(sitk, tmp_path, suffix):
    probs = np.moveaxis(made.softmax(0), 0, -1)
    write(sitk, tmp_path / f"c{suffix}", probs, isVector=True)
    file, rows = read_voxels(tmp_path / f"c{suffix}", channels=[2, 0])
    assert file.n_channels == 3
    volume = rows.reshape(2, *made.SHAPE[::-1]).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(volume, made.softmax(0)[[2, 0]])


def test_a_reference_of_several_labels_a_voxel_is_refused(sitk, tmp_path):
    """Layers of segments that overlap, as 3D Slicer writes them."""
    layers = np.zeros((*made.SHAPE, 2), np.uint8)
    write(sitk, tmp_path / "c.seg.nrrd", layers, isVector=True)
    with pytest.raises(ValueError, match="one label per voxel, got 2 channels"):
        read_labels(tmp_path / "c.seg.nrrd")


def test_a_segmentation_of_itk_is_met_by_its_softmax(sitk, tmp_path):
    made.write_dataset(tmp_path)
    probs = made.softmax(0, shape=(6, 6, 6))
    path = made.write_case(tmp_path, "c", probs)
    labels = np.asarray(nib.load(path.with_suffix(".nii.gz")).dataobj)
    path.with_suffix(".nii.gz").unlink()
    write(sitk, path.with_suffix(".mha"), labels)
    _, rows = read_voxels(path)
    np.testing.assert_array_equal(rows[1], probs[1].reshape(-1, order="F"))
    np.savez(path, probabilities=probs)
    with pytest.raises(ValueError, match=r"its argmax fits c\.mha"):
        read_voxels(path)
    assert nifti_files(tmp_path) == {"c": path}


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_damaged_file_is_one_line(sitk, tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    write(sitk, path, np.zeros(made.SHAPE, np.float32))
    whole = path.read_bytes()
    path.write_bytes(b"no image")
    with pytest.raises(ValueError, match=rf"c\{suffix}: not read by SimpleITK"):
        read_header(path)
    path.write_bytes(
        whole.replace(b" 7 6 5", b" 70000 60000 50000").replace(
            b"= 7 6 5", b"= 70000 60000 50000"
        )
    )
    with pytest.raises(ValueError, match="it promises 840000000000000 bytes"):
        read_header(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_missing_extra_is_one_line(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    path = tmp_path / f"c{suffix}"
    path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=rf"c\{suffix}: .*pip install 'coverax\[itk\]'"
    ):
        read_header(path)


def test_without_the_extra_properties_are_enough(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(itk_reader, "is_there", lambda: False)
    path = made.write_case(tmp_path, "c", made.softmax(0))
    path.with_suffix(".nii.gz").rename(tmp_path / "c.mha")
    file, rows = read_voxels(path)
    np.testing.assert_allclose(file.grid.affine, made.OBLIQUE, atol=1e-12)
    np.testing.assert_array_equal(rows[1], made.softmax(0)[1].reshape(-1, order="F"))
    assert ["c.mha is not compared" in line for line in caplog.messages] == [True]


def test_what_is_made_of_any_volume_is_named_as_nifti():
    names = ["c.nii", "c.nii.gz", "c.npz", "c.mha", "c.1.nrrd"]
    made_of = [nifti_name(name) for name in names]
    assert made_of == ["c.nii", "c.nii.gz", "c.nii.gz", "c.nii.gz", "c.1.nii.gz"]
