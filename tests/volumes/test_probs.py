"""Writing a softmax: the grid of the image in every kind of header, values as stored."""

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import save

from coverax.volumes import Region, probs_file, read_header, read_probs, write_probs

SHAPE = (5, 4, 3)
PROBS = np.random.default_rng(0).dirichlet((1, 1, 1), SHAPE).astype(np.float32)


@pytest.mark.parametrize("name", ["map.nii", "map.nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("image", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("storage", ["float32", "uint16"])
def test_a_map_comes_back_in_every_kind_of_header(
    tmp_path, name, order, image, storage
):
    scan = np.zeros(SHAPE, np.int16)
    like = read_header(save(tmp_path / "scan.nii", scan, order=order, image=image))
    path = tmp_path / name
    write_probs(path, PROBS, like, storage)
    got = read_probs(path, channels=(0, 1, 2))
    wanted = np.moveaxis(PROBS, -1, 0).reshape(3, -1, order="F")
    error = 2.0**-15 if storage == "uint16" else 0
    assert np.abs(got.probs - wanted).max() <= error
    np.testing.assert_array_equal(got.file.grid.affine, like.grid.affine)
    # Another reader sees the same, and the header said so before.
    loaded = nib.load(path)
    assert isinstance(loaded, image)
    np.testing.assert_allclose(loaded.get_fdata(), PROBS, atol=error)
    promised = probs_file(path, like, 3, storage)
    assert promised.header.binaryblock == got.file.header.binaryblock
    assert promised.storage == got.file.storage
    assert (promised.n_channels, promised.has_channel_axis) == (3, True)


def test_0_and_1_are_exact_in_steps(tmp_path):
    sure = np.zeros((*SHAPE, 2), np.float32)
    sure[..., 1] = 1
    like = read_header(save(tmp_path / "scan.nii", np.zeros(SHAPE, np.uint8)))
    write_probs(tmp_path / "map.nii", sure, like, "uint16")
    got = read_probs(tmp_path / "map.nii", channels=(0, 1)).probs
    assert (got[0] == 0).all()
    assert (got[1] == 1).all()


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_steps_sum_to_exactly_1_so_that_classes_can_be_joined(tmp_path, n_classes):
    rng = np.random.default_rng(n_classes)
    probs = rng.dirichlet([0.3] * n_classes, (20, 20, 5)).astype(np.float32)
    # Two classes that both lie half a step up, and no background to make room.
    probs[0, 0, 0] = 0
    probs[0, 0, 0, -2:] = 0.5 - 2.0**-16, 0.5 + 2.0**-16
    like = read_header(save(tmp_path / "scan.nii", np.zeros((20, 20, 5), np.uint8)))
    write_probs(tmp_path / "map.nii", probs, like, "uint16")
    got = read_probs(tmp_path / "map.nii", channels=range(n_classes))
    np.testing.assert_array_equal(got.probs.sum(axis=0, dtype=np.float64), 1)
    wanted = np.moveaxis(probs, -1, 0).reshape(n_classes, -1, order="F")
    assert np.abs(got.probs - wanted).max() < 2.0**-15
    joined = Region("joined", tuple(range(1, n_classes)), (1,))
    assert got.of(joined).max() <= 1


def test_time_and_scale_of_the_image_do_not_leak_into_the_map(tmp_path):
    scan = save(tmp_path / "scan.nii", np.zeros(SHAPE, np.int16), cal_max=900)
    image = nib.load(scan)
    image.header["pixdim"][4] = 2.5
    image.header["scl_slope"], image.header["scl_inter"] = 3, -1024
    nib.save(image, scan)
    header = probs_file(tmp_path / "map.nii", read_header(scan), 3).header
    assert header["pixdim"][4] == 1
    assert header["cal_max"] == 1
    assert header.get_slope_inter() in ((None, None), (1.0, 0.0))
