"""Files as other tools write them, through the whole command line."""

import json
import struct

import nibabel as nib
import numpy as np
import pytest
from tests.cli.conftest import SHAPE
from tests.synthetic import case, write_nifti


def fitted(path, dtype):
    """The same values through the scale that the header library fits to a file."""
    image = nib.load(path)
    values = np.asarray(image.dataobj, np.float64)
    out = nib.Nifti1Image(values, image.affine)
    out.set_data_dtype(dtype)
    nib.save(out, path)


def patched(path, start, new):
    data = bytearray(nib.load(path).to_bytes())
    data[start : start + len(new)] = new
    plain = path.with_suffix("")  # CASE.nii.gz -> CASE.nii
    plain.write_bytes(bytes(data))
    path.unlink()


@pytest.fixture
def new_maps(tmp_path):
    rng = np.random.default_rng(7)
    for i in range(5):
        write_nifti(tmp_path / "new" / f"new_{i}.nii.gz", case(SHAPE, 40, rng)[0])
    return tmp_path / "new"


@pytest.mark.parametrize("dtype", [np.int16, np.uint8])
def test_maps_and_labels_with_a_scale_each_go_all_the_way(
    files, new_maps, cli, dtype, engine
):
    for path in (*files.probs.iterdir(), *new_maps.iterdir()):
        fitted(path, dtype)
    for path in files.labels.iterdir():
        fitted(path, np.uint8)
    table, out = files.root / "s.parquet", files.root / "c.json"
    at = ("--engine", engine)
    assert cli("score", *files.options, *at, "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", "0.1", "-o", out).code == 0
    masks = files.root / "masks"
    result = cli("predict", out, "--probs", new_maps, "-o", masks)
    assert (result.code, result.errors) == (0, [])
    assert len(list(masks.glob("*.nii.gz"))) == 5
    assert cli("evaluate", out, *files.options, *at, "-o", files.root / "e").code == 0
    assert cli("monitor", out, "--probs", new_maps).code == 0
    kind = json.loads(out.read_text())["score_definition"]["map_kind"]
    assert kind["storages"] == [f"{np.dtype(dtype).name}, a scale per file"]
    # One fixed step, coarser than any fitted one, is another rounding.
    values = np.zeros(SHAPE, dtype)
    image = nib.Nifti1Image(values, np.eye(4))
    image.header.set_slope_inter(1.5 / np.iinfo(dtype).max, 0)
    nib.save(image, new_maps / "new_0.nii.gz")
    result = cli("predict", out, "--probs", new_maps, "-o", files.root / "again")
    assert result.code == 1
    assert "a scale per file; other rounding" in result.errors[0]


def test_what_a_header_does_not_tell_is_null_and_never_1_mm(files, cli):
    for path in (*files.probs.iterdir(), *files.labels.iterdir()):
        image = nib.load(path)
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
        nib.save(image, path)
        patched(path, 80, struct.pack("<fff", 0, 0, 0))
    table, out = files.root / "s.parquet", files.root / "c.json"
    assert cli("score", *files.options, "-o", table).code == 0
    assert cli("calibrate", table, "--alpha", "0.1", "-o", out).code == 0
    result = cli("predict", out, "--probs", files.probs, "-o", files.root / "masks")
    assert (result.code, result.errors) == (0, [])
    sidecar = json.loads((files.root / "masks/case_00.json").read_text())
    assert sidecar["masks"][0]["volume_ml"] is None
    assert sidecar["masks"][0]["n_predicted"] > 0
    for asks in (("--transform", "outer=smooth:fwhm=2"), ("--band-edges=-1,0,1",)):
        result = cli("score", *files.options, *asks, "-o", files.root / "mm.parquet")
        assert result.code == 1
        listed = (files.root / "mm.parquet.errors.txt").read_text().splitlines()
        assert len(listed) == 13  # each case, and their number
        assert all("pixdim is 0 along x, y, z" in line for line in listed[:-1])


def test_temperatures_write_no_voxel_size_that_nobody_knows(files, cli, new_maps):
    fit = files.root / "t.json"
    assert cli("temperature", "fit", *files.options, "-o", fit).code == 0
    path = new_maps / "new_0.nii.gz"
    image = nib.load(path)
    image.set_qform(image.affine, 1)
    image.set_sform(None, 0)
    nib.save(image, path)
    patched(path, 80, struct.pack("<fff", 0, 0, 0))
    args = (fit, "--probs", new_maps, "-o", files.root / "scaled")
    result = cli("temperature", "apply", *args)
    assert result.code == 1
    assert "new_0.nii: pixdim is 0" in result.errors[0]


def test_labels_of_no_region_are_said_by_score(files, cli):
    for path in files.labels.iterdir():
        labels = np.asanyarray(nib.load(path).dataobj).copy()
        labels[np.nonzero(labels)[0][0]] *= 3
        write_nifti(path, labels)
    table = files.root / "s.parquet"
    result = cli("score", *files.options, "--region", "lesion=0:1", "-o", table)
    assert result.code == 0
    assert "label 3 belongs to no region: background in 12 references" in " ".join(
        result.err.split()
    )
    result = cli("score", *files.options, "--region", "lesion=0:any", "-o", table)
    assert result.code == 0
    assert "belongs to no region" not in result.err
