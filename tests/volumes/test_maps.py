"""Stored values to probabilities and labels, checked once."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tests.nifti_files import save, with_scale

from coverax.volumes import (
    check_labels,
    parse_region,
    read_labels,
    read_probs,
    read_valid,
)


def one(path, **options):
    return read_probs(path, channels=[0], **options).probs[0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_scaled_integers_are_nibabels_values_rounded_once(tmp_path, dtype, order):
    top = min(np.iinfo(dtype).max, 60_000)
    stored = np.random.default_rng(0).integers(0, top, (7, 6, 5)).astype(dtype)
    stored.flat[:2] = 0, top
    path = save(tmp_path / "a.nii", stored, order="<")
    with_scale(path, 0.9 / top, 0.05)
    if order == ">":
        image = nib.load(path)
        header = image.header.as_byteswapped(">")
        header.set_slope_inter(np.float32(0.9 / top), np.float32(0.05))
        header["vox_offset"] = 352
        swapped = stored.astype(np.dtype(dtype).newbyteorder(">"))
        path = tmp_path / "big.nii"
        path.write_bytes(header.binaryblock + bytes(4) + swapped.tobytes(order="F"))
    theirs = np.asarray(nib.load(path).dataobj, np.float64).ravel(order="F")
    np.testing.assert_array_equal(one(path), theirs.astype(np.float32))
    assert one(path).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
@pytest.mark.parametrize("share", [1.0, 0.7, 1 / 3, -1.0])
def test_every_integer_without_an_intercept_is_rounded_once(tmp_path, dtype, share):
    top = np.iinfo(dtype).max
    stored = np.arange(top + 1).astype(dtype).reshape(16, 8, -1)
    if share < 0:  # only 0 and what is negative are probabilities then
        stored = -stored if np.dtype(dtype).kind == "i" else np.zeros_like(stored)
    path = with_scale(save(tmp_path / "a.nii", stored), share / top, 0.0)
    theirs = np.asarray(nib.load(path).dataobj, np.float64).ravel(order="F")
    expected = np.clip(theirs + 0.0, 0, 1).astype(np.float32)
    assert one(path).tobytes() == expected.tobytes()  # the sign of 0 is a bit, too


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_floats_are_rounded_once_to_float32(tmp_path, dtype, order):
    values = np.random.default_rng(0).random((4, 5, 6)).astype(dtype)
    path = save(tmp_path / "a.nii.gz", values, order=order)
    np.testing.assert_array_equal(one(path), values.astype("f4").ravel(order="F"))


def test_a_scaled_float_map_of_several_channels(tmp_path):
    stored = np.random.default_rng(1).random((4, 5, 6, 3)).astype(np.float32)
    path = with_scale(save(tmp_path / "a.nii", stored), 0.5, 0.25)
    got = read_probs(path, channels=[2, 0])
    expected = stored.astype(np.float64) * 0.5 + 0.25
    for row, channel in zip(got.probs, (2, 0), strict=True):
        np.testing.assert_array_equal(
            row, expected[..., channel].astype(np.float32).ravel(order="F")
        )
    assert got.file.storage == "float"


def test_storage_names_integer_steps(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), np.uint8))
    with_scale(path, 1 / 255, 0.0)
    assert read_probs(path, channels=[0]).file.storage == "uint8*0.00392156886+0"


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "1 voxels are NaN or infinite"),
        (np.inf, "NaN or infinite"),
        (-np.inf, "NaN or infinite"),
        (1.000001, r"must lie in \[0, 1\], got 0 to 1\.00000[01]"),
        (-1e-6, r"must lie in \[0, 1\]"),
        (255.0, r"must lie in \[0, 1\], got 0 to 255"),
        (1e300, "NaN or infinite|must lie in"),
        (-1e300, "NaN or infinite|must lie in"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_that_are_no_probabilities_are_refused(tmp_path, bad, message, dtype):
    if dtype == np.float32 and abs(bad) == 1e300:
        bad = np.sign(bad) * 1e30
    values = np.zeros((3, 3, 3), dtype)
    values[1, 1, 1] = bad
    path = save(tmp_path / "a.nii.gz", values)
    with pytest.raises(ValueError, match=message) as error:
        one(path)
    assert str(error.value).startswith(str(path))


def test_zero_one_and_minus_zero_are_legal(tmp_path):
    values = np.array([0.0, -0.0, 1.0], np.float32).reshape(3, 1, 1)
    assert one(save(tmp_path / "a.nii", values)).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("low", "high", "accepted"),
    [
        (-9e-4, 1.0, True),
        (0.0, 1.0009, True),
        (-0.0011, 1.0, False),
        (0, 1.0011, False),
    ],
)
def test_overshoot_is_accepted_on_request_recorded_and_never_clipped(
    tmp_path, low, high, accepted
):
    values = np.array([low, 0.5, high], np.float32).reshape(3, 1, 1)
    path = save(tmp_path / "a.nii", values)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]") as error:
        one(path)
    assert ("--allow-overshoot" in str(error.value)) is accepted
    if not accepted:
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            one(path, allow_overshoot=True)
        return
    got = read_probs(path, channels=[0], allow_overshoot=True)
    np.testing.assert_array_equal(got.probs[0], values.ravel())
    expected = max(-float(values[0, 0, 0]), float(values[2, 0, 0]) - 1)
    assert got.overshoot == pytest.approx(expected, rel=1e-12)


def test_one_logit_channel_is_a_sigmoid(tmp_path):
    logits = np.array([-200, -3, 0, 2.5, 200], np.float32).reshape(5, 1, 1)
    got = one(save(tmp_path / "a.nii", logits), logits=True)
    exact = 1 / (1 + np.exp(-logits.ravel().astype(np.float64)))
    np.testing.assert_allclose(got, exact, rtol=3e-7, atol=1e-38)
    assert got.min() >= 0
    assert got.max() <= 1


def test_several_logit_channels_are_a_softmax_over_all_of_them(tmp_path):
    logits = np.random.default_rng(0).normal(0, 30, (4, 3, 2, 3)).astype(np.float32)
    path = save(tmp_path / "a.nii.gz", logits)
    got = read_probs(path, channels=[2, 1], logits=True).probs
    wide = logits.astype(np.float64)
    exact = np.exp(wide - wide.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    for row, channel in zip(got, (2, 1), strict=True):
        np.testing.assert_allclose(
            row, exact[..., channel].ravel(order="F"), rtol=1e-5, atol=1e-30
        )


def test_probabilities_given_as_logits_are_noticed(tmp_path):
    path = save(tmp_path / "a.nii", np.linspace(0, 1, 8, dtype="f4").reshape(2, 2, 2))
    with pytest.raises(ValueError, match="look like probabilities"):
        one(path, logits=True)


def test_logits_out_of_range_of_a_channel_are_named(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2, 2, 2), -3, np.float32))
    with pytest.raises(ValueError, match=r"channel 2 asked for, the file has 2"):
        read_probs(path, channels=[2], logits=True)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_labels_are_whole_numbers_whatever_their_storage(tmp_path, dtype, order):
    stored = np.arange(24).reshape(2, 3, 4).astype(dtype)
    labels, file = read_labels(save(tmp_path / "a.nii.gz", stored, order=order))
    np.testing.assert_array_equal(labels, np.arange(24).reshape(2, 3, 4).ravel("F"))
    assert labels.dtype.kind in "iu"
    assert file.grid.shape == (2, 3, 4)


def test_scaled_labels_are_their_real_values(tmp_path):
    path = with_scale(save(tmp_path / "a.nii", np.eye(3, dtype=np.uint8)), 2.0, 1.0)
    labels, _ = read_labels(path)
    np.testing.assert_array_equal(labels, (np.eye(3) * 2 + 1).ravel(order="F"))


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf, 1e20, 2.0**31])
def test_labels_that_are_no_labels_are_refused(tmp_path, bad):
    stored = np.zeros((3, 3), np.float32)
    stored[1, 2] = bad
    path = save(tmp_path / "a.nii", stored)
    with pytest.raises(ValueError, match="whole numbers") as error:
        read_labels(path)
    assert str(path) in str(error.value)


def test_labels_of_several_channels_are_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.zeros((3, 3, 3, 2), np.uint8))
    with pytest.raises(ValueError, match="one label per voxel, got 2 channels"):
        read_labels(path)


@pytest.mark.parametrize(
    ("labels", "expected", "ignore", "found"),
    [
        ([0, 1], (1,), None, None),
        ([0, 0], (1,), None, None),
        ([0, 1, 2], (1,), None, "2"),
        ([0, 1, 255], (1,), None, "255"),
        ([0, 1, 255], (1,), 255, None),
        ([0, 1, -1], (1,), -1, None),
        ([0, 1, -1], (1,), None, "-1"),
        ([0, 2, 7, 9], None, None, None),
        ([0, 2, -3], None, None, "-3"),
        ([0, 2, -3], None, -3, None),
        ([0, 2, -3, -5], None, -3, "-5"),
        ([0, 2, -3, -5], None, -5, "-3"),
    ],
)
def test_labels_that_nobody_declared_are_named(
    tmp_path, labels, expected, ignore, found
):
    array = np.array(labels, np.int16)
    if found is None:
        check_labels(array, tmp_path, expected, ignore)
        return
    with pytest.raises(ValueError, match=f"{found}"):
        check_labels(array, tmp_path, expected, ignore)


def test_a_valid_mask_is_what_is_not_zero(tmp_path):
    stored = np.array([[0, 1], [7, 0]], np.uint8)
    valid, _ = read_valid(save(tmp_path / "a.nii", stored))
    assert valid.tolist() == [False, True, True, False]


def test_joined_channels_add_up_and_never_leave_the_unit_interval(tmp_path):
    rng = np.random.default_rng(0)
    softmax = rng.dirichlet([1, 1, 1], (4, 5, 6)).astype(np.float32)
    softmax[0, 0, 0] = (0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)))
    path = save(tmp_path / "p.nii.gz", softmax)
    read = read_probs(path, channels=(1, 2))
    joined = read.of(parse_region("any=1+2:1,2"))
    wanted = np.minimum(softmax[..., 1] + softmax[..., 2], 1).ravel(order="F")
    assert np.array_equal(joined, wanted)
    assert joined.max() == 1
    assert np.array_equal(read.of(parse_region("b=2:2")), read.probs[1])


def test_channels_that_do_not_exclude_each_other_are_not_joined(tmp_path):
    path = save(tmp_path / "p.nii.gz", np.full((3, 3, 3, 2), 0.6, np.float32))
    read = read_probs(path, channels=(0, 1))
    with pytest.raises(ValueError, match=r"p\.nii\.gz: .* sum to 1\.2"):
        read.of(parse_region("any=0+1:1"))


def test_a_label_between_declared_ones_is_refused():
    from coverax.volumes import check_labels

    path = Path("ref.nii.gz")
    check_labels(np.array([0, 3, 1]), path, (1, 3))
    check_labels(np.array([0, 2, 1]), path, (1, 3), ignore_label=2)
    for wrong in ([0, 1, 2, 3], [0, 4], [-1, 1], [2**31 - 1]):
        with pytest.raises(ValueError, match=r"ref.nii.gz: unexpected label"):
            check_labels(np.array(wrong), path, (1, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16])
@pytest.mark.parametrize("largest", [1, 2, 3, 7])
def test_labels_written_through_a_fitted_scale_are_labels(tmp_path, dtype, largest):
    """Float data under a header of integers: the header library fits the scale."""
    labels = np.arange(60).reshape(3, 4, 5) % (largest + 1)
    image = nib.Nifti1Image(labels.astype(float), np.eye(4))
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "a.nii.gz")
    assert read_labels(tmp_path / "a.nii.gz")[0].tolist() == labels.ravel("F").tolist()
    valid, _ = read_valid(tmp_path / "a.nii.gz")
    assert valid.tolist() == (labels != 0).ravel("F").tolist()


def test_labels_that_float_arithmetic_left_beside_a_whole_number_are_labels(tmp_path):
    stored = np.array([0, 0.99999994, 1.0000001, 2.9999998]).reshape(2, 2)
    path = save(tmp_path / "a.nii", stored)
    assert read_labels(path)[0].tolist() == [0, 1, 1, 3]


def test_the_digits_of_what_is_no_label_are_printed(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2), 1.00001))
    with pytest.raises(ValueError, match=r"got 1\.00001$"):
        read_labels(path)


def test_a_fractional_valid_mask_is_told_what_it_is(tmp_path):
    path = save(tmp_path / "a.nii", np.full((2, 2), 0.37))
    with pytest.raises(
        ValueError, match="a mask of voxels that count must be"
    ) as error:
        read_valid(path)
    assert "labels" not in str(error.value)


def test_a_softmax_in_steps_of_one_byte_is_joined(tmp_path):
    """Every class rounded to the nearest step: two of them may exceed 1 by one step."""
    softmax = np.zeros((2, 2, 2, 3))
    softmax[...] = (0.0, 0.5, 0.5)
    stored = np.ceil(softmax * 255).astype(np.uint8)  # 128 + 128 of 255
    path = with_scale(save(tmp_path / "p.nii", stored), 1 / 255, 0.0)
    joined = read_probs(path, channels=(1, 2)).of(parse_region("any=1+2:1,2"))
    assert joined.max() == 1
    stored[..., 2] = 140
    path = with_scale(save(tmp_path / "q.nii", stored), 1 / 255, 0.0)
    with pytest.raises(ValueError, match="only classes that exclude each other"):
        read_probs(path, channels=(1, 2)).of(parse_region("any=1+2:1,2"))


@pytest.mark.parametrize("value", [1 + 1e-7, -1e-9])
def test_what_storage_rounds_out_of_the_unit_interval_is_0_or_1(tmp_path, value):
    path = save(tmp_path / "p.nii", np.array([[0.5, value]]))
    read = read_probs(path, channels=[0])
    assert read.probs[0].tolist() == [0.5, round(value)]
    assert read.overshoot == 0


@pytest.mark.parametrize("void", [np.nan, np.inf, -np.inf, -1.0, 255.0])
@pytest.mark.parametrize("n_channels", [1, 3])
def test_voxels_that_do_not_count_need_no_number(tmp_path, void, n_channels):
    rng = np.random.default_rng(0)
    probs = rng.random((4, 5, 6, n_channels), np.float32) / n_channels
    counts = rng.random((4, 5, 6)) > 0.3
    clean = np.where(counts[..., None], probs, 0).astype(np.float32)
    path = save(tmp_path / "p.nii", np.where(counts[..., None], probs, void))
    flat = counts.ravel(order="F")
    channels = range(n_channels)
    read = read_probs(path, channels=channels, valid=flat)
    expected = clean.reshape(-1, n_channels, order="F").T
    np.testing.assert_array_equal(read.probs, expected)
    assert read.has_void
    assert not read_probs(
        save(tmp_path / "c.nii", clean), channels=channels, valid=flat
    ).has_void
    with pytest.raises(ValueError, match=r"p\.nii: "):
        read_probs(path, channels=channels)
    with pytest.raises(ValueError, match=r"p\.nii: "):
        read_probs(path, channels=channels, valid=np.ones_like(flat))


def test_any_label_is_a_region():
    region = parse_region("lesion=0+1:any")
    assert region.labels == ()
    assert parse_region(str(region)) == region


STEPS = ["int16*3.05e-05+0.5", "int16*3.04e-05+0.5", "int16*3.03e-05+0.5"]


def test_a_scale_per_file_is_one_storage():
    from coverax.volumes import common_storages

    assert common_storages(("float", *STEPS)) == ("float", "int16, a scale per file")
    assert common_storages(tuple(STEPS[:2] * 9)) == tuple(sorted(STEPS[:2]))
    once = common_storages(tuple(STEPS))
    assert common_storages((*once, STEPS[0])) == once


@pytest.mark.parametrize(
    ("dtype", "slope", "storages", "same"),
    [
        (np.int16, 2.9e-5, STEPS, True),
        (np.int16, 1 / 32767, STEPS, True),
        (np.int16, 1e-4, STEPS, False),  # no scale that was fitted to [0, 1]
        (np.uint16, 1e-5, STEPS, False),
        (np.int16, 2.9e-5, STEPS[:2], False),
        (np.uint8, 1 / 255, ["uint8*0.00392156886+0"], True),
        (np.uint8, 1 / 256, ["uint8*0.00392156886+0"], False),
    ],
)
def test_maps_are_of_the_kind_of_type_and_scale(tmp_path, dtype, slope, storages, same):
    path = save(tmp_path / "a.nii", np.zeros((2, 2, 2), dtype))
    file = read_probs(with_scale(path, slope, 0.0), channels=[0]).file
    assert file.is_stored_as(tuple(storages)) is same


@pytest.mark.parametrize("value", [1.0009, 1 + 1e-7])
def test_an_overshoot_where_voxels_count_is_no_void(tmp_path, value):
    probs = np.full((2, 3), 0.5)
    probs[0, 0] = value
    path = save(tmp_path / "p.nii", probs)
    flat = np.arange(6) < 4
    read = read_probs(path, channels=[0], valid=flat, allow_overshoot=True)
    assert not read.has_void
    assert (read.probs > 0).all()
    probs[0, 0] = np.nan
    path = save(tmp_path / "n.nii", probs)
    with pytest.raises(ValueError, match="NaN"):
        read_probs(path, channels=[0], valid=flat)


def test_logits_need_no_number_where_no_voxel_counts(tmp_path):
    logits = np.random.default_rng(0).normal(0, 3, (4, 5)).astype(np.float32)
    away = np.random.default_rng(1).random((4, 5)) < 0.3
    path = save(tmp_path / "p.nii", np.where(away, np.float32(np.nan), logits))
    flat = ~away.ravel(order="F")
    read = read_probs(path, channels=[0], logits=True, valid=flat)
    whole = read_probs(save(tmp_path / "q.nii", logits), channels=[0], logits=True)
    assert read.has_void
    np.testing.assert_array_equal(read.probs[0][flat], whole.probs[0][flat])
