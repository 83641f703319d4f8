"""Packed maps: scored to the bit as their rounded values, and a kind of their own."""

import json

import nibabel as nib
import numpy as np
import pytest
from tests import nnunet_files as made
from tests.synthetic import assert_same_columns, write_cohort, write_nifti

import coverax as cx

SHAPE = (6, 7, 5)


@pytest.fixture
def folders(tmp_path):
    return write_cohort(tmp_path / "in", 12, SHAPE, 30)


def pack(folder, output, **options):
    return cx.convert.pack_folder(cx.volumes.nifti_files(folder), output, **options)


def scored(maps, labels, **options):
    cohort = cx.volumes.match_folders(maps, labels)
    return cx.scores.score_cohort(cohort, cx.scores.ScoreDefinition(**options))


def maps_of(folder):
    found = cx.volumes.nifti_files(folder)
    return {i: np.asarray(nib.load(p).dataobj, np.float32) for i, p in found.items()}


@pytest.mark.parametrize("bits", [16, 8])
def test_a_packed_folder_is_scored_as_the_rounded_values_to_the_bit(
    folders, tmp_path, bits, engine
):
    maps, labels = folders
    pack(maps, tmp_path / "packed", bits=bits)
    own = maps_of(maps)
    for case_id, values in own.items():
        rounded = cx.convert.rounded(values, bits)
        write_nifti(tmp_path / "rounded" / f"{case_id}.nii.gz", rounded)
    definition = cx.scores.ScoreDefinition(tolerances=(0.0, 0.1))
    tables = [
        cx.scores.score_cohort(
            cx.volumes.match_folders(folder, labels), definition, engine=engine
        )
        for folder in (tmp_path / "packed", tmp_path / "rounded")
    ]
    assert_same_columns(*tables)


@pytest.mark.parametrize("bits", [16, 8])
def test_values_are_the_nearest_steps_and_the_ends_stay(bits):
    most = 2**bits - 1
    values = np.random.default_rng(0).random(5000, dtype=np.float32)
    values = np.concatenate([values, np.float32([0, 1, 0.4 / most, 1 - 0.4 / most])])
    found = cx.convert.rounded(values, bits)
    steps = found.astype(np.float64) * most
    # Slope and value are float32: two roundings of values up to `most`.
    np.testing.assert_allclose(steps, np.rint(steps), atol=most * 2.0**-23)
    assert np.abs(found.astype(float) - values).max() <= 0.5 / most + 2.0**-23
    np.testing.assert_array_equal(found[-4:], np.float32([0, 1, 0, 1]))
    np.testing.assert_array_equal(cx.convert.rounded(found, bits), found)


def test_a_softmax_keeps_its_classes_and_their_names(tmp_path):
    maps, labels = made.cohort(tmp_path)
    pack(maps, tmp_path / "packed")
    for i in range(8):
        image = nib.load(tmp_path / f"packed/c{i}.nii.gz")
        assert image.shape == (*made.SHAPE, 3)
        assert image.get_data_dtype() == np.uint16
        assert image.dataobj.slope == np.float32(1 / 65535)
        beside = nib.load(maps / f"c{i}.nii.gz")
        np.testing.assert_array_equal(image.affine, beside.affine)
        expected = cx.convert.rounded(np.moveaxis(made.softmax(i), 0, -1))
        np.testing.assert_array_equal(np.asarray(image.dataobj, np.float32), expected)
    cohort = cx.volumes.match_folders(tmp_path / "packed", labels)
    regions, _ = cx.volumes.cohort_labels(cohort, [])
    assert [str(r) for r in regions] == ["organ=1:1", "lesion=2:2"]


def test_packed_and_unpacked_maps_are_not_mixed(folders, tmp_path):
    maps, labels = folders
    pack(maps, tmp_path / "packed")
    calibrations = {
        folder: cx.calibrate.calibrate_fnr(scored(folder, labels), "0.3")
        for folder in (maps, tmp_path / "packed")
    }
    kind = calibrations[tmp_path / "packed"].definition.map_kind
    assert kind.storages == ("uint16*1.52590219e-05+0",)
    assert kind.mark.startswith("pack:")
    for own, calibration in calibrations.items():
        for other in calibrations:
            found = cx.volumes.nifti_files(other)
            if own == other:
                cx.predict.predict_folder(calibration, found, tmp_path / own.name / "m")
                continue
            with pytest.raises(ValueError, match="scaled or rounded otherwise"):
                cx.predict.predict_folder(calibration, found, tmp_path / "not")
    (maps / "case_000.nii.gz").write_bytes(
        (tmp_path / "packed/case_000.nii.gz").read_bytes()
    )
    with pytest.raises(ValueError, match="packed and unpacked ones"):
        scored(maps, labels)


def test_what_is_packed_already_stays_as_it_is(folders, tmp_path):
    pack(folders[0], tmp_path / "once")
    result = pack(tmp_path / "once", tmp_path / "twice")
    assert result["median_distinct_before"] == result["median_distinct"]
    for path in cx.volumes.nifti_files(tmp_path / "once").values():
        assert path.read_bytes() == (tmp_path / "twice" / path.name).read_bytes()


def test_what_rounding_did_is_counted(tmp_path):
    values = np.zeros((10, 10, 10), np.float32)
    values[0] = 1e-6  # below half a step
    values[1] = 1 - 1e-6
    values[2] = 0.5
    values[3] = np.linspace(0.2, 0.20001, 100).reshape(10, 10)
    write_nifti(tmp_path / "in/c.nii.gz", values)
    result = pack(tmp_path / "in", tmp_path / "out")
    assert result["share_became_zero"] == 0.1
    assert result["share_became_one"] == 0.1
    record = json.loads((tmp_path / "out/packed.json").read_text())
    assert record["maps"]["c"]["n_became_zero"] == 100
    assert record["maps"]["c"]["n_distinct_before"] == np.unique(values).size
    found = np.asarray(nib.load(tmp_path / "out/c.nii.gz").dataobj)
    assert record["maps"]["c"]["n_distinct"] == np.unique(found).size
    assert {v.status for v in cx.verify.verify_files([tmp_path / "out"])} == {"whole"}


BAD = {
    "nan": (np.nan, "1 voxels are NaN or infinite"),
    "above": (1.0005, r"values leave \[0, 1\] by up to 0.0005"),
    "below": (-0.25, r"probabilities must lie in \[0, 1\]"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_probability_is_refused_by_name(folders, tmp_path, name):
    value, message = BAD[name]
    path = folders[0] / "case_003.nii.gz"
    values = np.asarray(nib.load(path).dataobj).copy()
    values[2, 2, 2] = value
    write_nifti(path, values)
    with pytest.raises(ExceptionGroup) as error:
        pack(folders[0], tmp_path / "out")
    (line,) = error.value.exceptions
    assert str(line).startswith(f"case case_003: {path}: ")
    assert line.__class__ is ValueError
    with pytest.raises(ValueError, match=message):
        raise line
    pack(folders[0], tmp_path / "left", allow_missing=True)
    assert (
        "case_003" in json.loads((tmp_path / "left/packed.json").read_text())["failed"]
    )


def test_hard_masks_are_refused_by_name(folders, tmp_path):
    labels = folders[1]
    with pytest.raises(ValueError, match=r"0 and 1 alone \(case case_000, .* 9 more\)"):
        pack(labels, tmp_path / "out")
    pack(labels, tmp_path / "allowed", allow_hard_masks=True)
    for values in maps_of(tmp_path / "allowed").values():
        assert set(np.unique(values)) == {0, 1}


def test_parts_and_marks_of_the_source_go_on(folders, tmp_path):
    maps, labels = folders
    record = {"parts": {"case_002": "train"}}
    (maps / "infer.json").write_text(json.dumps(record))
    pack(maps, tmp_path / "packed")
    parts = {
        c.case_id: c.part
        for c in cx.volumes.match_folders(tmp_path / "packed", labels).cases
    }
    assert parts["case_002"] == "train"
    assert set(parts.values()) == {"", "train"}


def test_an_interrupted_run_goes_on_to_the_same_folder(folders, tmp_path):
    maps, _ = folders
    whole = pack(maps, tmp_path / "whole")
    last = maps / "case_011.nii.gz"
    data = last.read_bytes()
    last.write_bytes(data[:50])
    with pytest.raises(ExceptionGroup):
        pack(maps, tmp_path / "out")
    last.write_bytes(data)
    with pytest.raises(ValueError, match="another packing"):
        pack(maps, tmp_path / "out", bits=8, resume=True)
    assert pack(maps, tmp_path / "out", resume=True) == whole
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_other_numbers_of_bits_are_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="16 or 8 bits, not 12"):
        pack(folders[0], tmp_path / "out", bits=12)


def test_the_command_says_what_rounding_does(folders, tmp_path, capsys):
    from coverax.cli.app import run

    assert run(["pack", str(folders[0]), "-o", str(tmp_path / "o"), "--bits", "8"]) == 0
    said = capsys.readouterr().err
    assert "multiples of 1/255: off by 0.002 at most, and so is a threshold" in said
    assert "distinct values of a map (median): 210 -> " in said
    assert "became 0: where more of a structure than its tolerance" in said
