"""Masks lie in the container of their map, at its place, and later steps read them."""

import gzip
import json
import warnings

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.synthetic import case, write_nifti

import coverax as cx
from coverax.volumes import itk as itk_reader

N_CASES = 6
SHAPE = (6, 7, 5)
AFFINES = {
    "oblique": made.OBLIQUE,
    "flipped": np.diag([-1.0, 0.7, -2.5, 1.0]),
    "sheared": made.OBLIQUE + 0.2 * np.eye(4, k=1) * (np.arange(4) < 3),
}


@pytest.fixture
def sitk():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own bindings
        return pytest.importorskip("SimpleITK", exc_type=ImportError)


@pytest.fixture
def nifti(tmp_path):
    """A folder of NIfTI maps, and their calibration."""
    rng = np.random.default_rng(0)
    probs, masks = zip(*(case(SHAPE, 30, rng) for _ in range(N_CASES)), strict=True)
    for i, own in enumerate(probs):
        write_nifti(tmp_path / "maps" / f"c{i}.nii.gz", own, (0.7, 0.9, 2.5))
    table = cx.scores.score_arrays(list(probs), list(masks), 0.1)
    return tmp_path / "maps", cx.calibrate.calibrate_fnr(table, "0.4")


def as_itk(sitk, maps, folder, suffix, affine):
    """The same voxels in a container of ITK, elsewhere in space."""
    folder.mkdir()
    stuff = made.sitk_stuff(affine)
    for case_id, path in cx.volumes.nifti_files(maps).items():
        file, rows = cx.volumes.read_voxels(path)
        image = sitk.GetImageFromArray(rows[0].reshape(file.grid.shape[::-1]))
        image.SetSpacing(stuff["spacing"])
        image.SetOrigin(stuff["origin"])
        image.SetDirection(stuff["direction"])
        sitk.WriteImage(image, str(folder / f"{case_id}{suffix}"))
    return folder


def predicted(calibration, folder, output, **options):
    maps = cx.volumes.nifti_files(folder)
    cx.predict.predict_folder(calibration, maps, output, **options)
    return output


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(
    ("suffix", "written"), [(".mha", ".mha"), (".nrrd", ".nrrd"), (".mhd", ".mha")]
)
def test_masks_of_itk_lie_where_their_maps_do(
    sitk, nifti, tmp_path, suffix, written, affine
):
    maps, calibration = nifti
    own = as_itk(sitk, maps, tmp_path / "own", suffix, AFFINES[affine])
    out = predicted(calibration, own, tmp_path / "masks")
    expected = predicted(calibration, maps, tmp_path / "expected")
    names = sorted(p.name for p in out.iterdir())
    every = [f"c{i}{end}" for i in range(N_CASES) for end in (".json", written)]
    assert names == sorted(every)
    for i in range(N_CASES):
        mask, file = cx.volumes.read_labels(out / f"c{i}{written}")
        twin, _ = cx.volumes.read_labels(expected / f"c{i}.nii.gz")
        np.testing.assert_array_equal(mask, twin)
        assert file.dtype == np.uint8
        source = cx.volumes.read_header(own / f"c{i}{suffix}")
        # NRRD keeps edges times directions: one rounding of float64.
        rounding = 4 * np.finfo(np.float64).eps
        np.testing.assert_allclose(
            file.grid.affine, source.grid.affine, rtol=rounding, atol=rounding
        )
        sidecar = json.loads((out / f"c{i}.json").read_text())
        assert sidecar["masks"][0]["mask"] == f"c{i}{written}"
    assert {v.status for v in cx.verify.verify_files([out])} == {"whole"}


@pytest.mark.parametrize("container", ["nii.gz", "mha", "nrrd"])
def test_another_container_holds_the_same_mask_at_the_same_place(
    sitk, nifti, tmp_path, container
):
    maps, calibration = nifti
    own = as_itk(sitk, maps, tmp_path / "own", ".mha", made.OBLIQUE)
    for folder in (maps, own):
        out = predicted(
            calibration, folder, tmp_path / f"{folder.name}-m", container=container
        )
        for case_id, path in cx.volumes.nifti_files(folder).items():
            mask, file = cx.volumes.read_labels(out / f"{case_id}.{container}")
            source = cx.volumes.read_header(path)
            cx.volumes.check_same_grid(source.grid, path, file.grid, out)
            probs = cx.volumes.read_probs(path, channels=[0]).probs[0]
            cut = calibration.thresholds[0].probability
            np.testing.assert_array_equal(mask != 0, probs >= np.float32(cut))


def test_slices_keep_their_two_axes(sitk, nifti, tmp_path):
    _, calibration = nifti
    (tmp_path / "flat").mkdir()
    image = sitk.GetImageFromArray(np.linspace(0, 1, 20, dtype=np.float32)[:, None])
    image.SetSpacing((0.5, 2.0))
    sitk.WriteImage(image, str(tmp_path / "flat/s.mha"))
    out = predicted(calibration, tmp_path / "flat", tmp_path / "masks")
    found = cx.volumes.read_header(out / "s.mha").grid
    assert found.shape == (1, 20)
    assert found.spacing_mm == (0.5, 2.0)


def test_an_interrupted_run_goes_on_in_any_container(sitk, nifti, tmp_path):
    maps, calibration = nifti
    own = as_itk(sitk, maps, tmp_path / "own", ".nrrd", made.OBLIQUE)
    spoilt = (own / "c5.nrrd").read_bytes()
    (own / "c5.nrrd").write_bytes(spoilt[:100])
    with pytest.raises(ExceptionGroup, match="1 of 6 cases failed"):
        predicted(calibration, own, tmp_path / "masks")
    assert cx.predict.count_finished(tmp_path / "masks") == N_CASES - 1
    (own / "c5.nrrd").write_bytes(spoilt)
    with pytest.raises(ValueError, match="another calibration"):
        predicted(calibration, own, tmp_path / "masks", resume=True, container="nii.gz")
    out = predicted(calibration, own, tmp_path / "masks", resume=True)
    whole = predicted(calibration, own, tmp_path / "again")
    for path in whole.iterdir():
        assert path.read_bytes() == (out / path.name).read_bytes()


def test_a_missing_extra_is_one_line_before_any_work(nifti, tmp_path, monkeypatch):
    maps, calibration = nifti
    monkeypatch.setattr(itk_reader, "is_there", lambda: False)
    with pytest.raises(
        ValueError, match=r"need SimpleITK: pip install 'coverax\[itk\]'"
    ):
        predicted(calibration, maps, tmp_path / "masks", container="mha")
    assert [p.name for p in tmp_path.iterdir()] == ["maps"]


def test_a_map_without_voxel_sizes_gets_no_made_up_ones(sitk, nifti, tmp_path):
    maps, calibration = nifti
    path = maps / "c0.nii.gz"
    _, rows = cx.volumes.read_voxels(path)
    image = nib.Nifti1Image(rows[0].reshape(SHAPE, order="F"), None)
    image.header["pixdim"][1:4] = 0
    path.write_bytes(gzip.compress(image.to_bytes()))
    with pytest.raises(ExceptionGroup) as error:
        predicted(calibration, maps, tmp_path / "masks", container="mha")
    assert "pixdim is 0" in str(error.value.exceptions[0])
    predicted(calibration, maps, tmp_path / "nifti")
