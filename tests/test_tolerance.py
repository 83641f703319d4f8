"""What storage rounds is read as what it stands for, and nothing more."""

import numpy as np
import pytest

from coverax.tolerance import nearest_labels, range_slack, sum_slack

FLOAT32 = np.float32(2.0**-24)


def fitted(values, dtype):
    """Integers with the float32 scale that spans the values, as writers fit it."""
    info = np.iinfo(dtype)
    low, high = float(values.min()), float(values.max())
    slope = np.float32((high - low) / (int(info.max) - int(info.min)))
    intercept = np.float32(low - int(info.min) * float(slope))
    stored = np.rint((values - float(intercept)) / float(slope))
    return np.clip(stored, info.min, info.max), float(slope), float(intercept)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
@pytest.mark.parametrize("largest", range(1, 32))
def test_labels_under_a_fitted_scale_are_read_as_they_were(dtype, largest):
    labels = np.arange(largest + 1, dtype=np.float64)
    stored, slope, intercept = fitted(labels, dtype)
    whole, bad = nearest_labels(stored * slope + intercept, slope, intercept)
    assert not bad.any()
    assert np.array_equal(whole, labels)


@pytest.mark.parametrize("step", [1 / 255, 0.02, 0.4, 0.7, 0.0])
def test_no_other_stored_number_is_taken_for_a_label(step):
    values = np.arange(1, 3 / (step or 0.1)) * (step or 0.1)
    whole, bad = nearest_labels(values, step)
    off = np.abs(values - whole)
    assert bad[off > (step or 2.0**-20) / 2].all()
    assert bad.any()


@pytest.mark.parametrize("bad", [0.9999, 1.0001, 0.37, np.nan, np.inf])
def test_a_float_that_is_no_whole_number_is_no_label(bad):
    with np.errstate(invalid="ignore"):
        assert nearest_labels(np.array([bad]))[1].all()


@pytest.mark.parametrize("value", [1 + 6e-8, 1 - 6e-8, 3 - 2.4e-7, 7 + 4.8e-7])
def test_a_float32_neighbour_of_a_whole_number_is_that_number(value):
    whole, bad = nearest_labels(np.array([value]))
    assert not bad.any()
    assert whole[0] == round(value)


@pytest.mark.parametrize("levels", [100, 255, 10_000, 65_535])
@pytest.mark.parametrize("n", [2, 3, 5, 14])
def test_a_softmax_in_steps_is_within_the_slack_of_its_sum(levels, n):
    softmax = np.random.default_rng(n).dirichlet(np.ones(n), 5000)
    for quantise, side in ((np.rint, "both"), (np.floor, "below")):
        stored = (quantise(softmax * levels) / levels).astype(np.float32)
        totals = stored.sum(axis=1)
        below, above = sum_slack(n, 1 / levels)
        assert totals.max() <= 1 + above
        assert totals.min() >= 1 - below
        if side == "below":
            assert totals.max() <= 1 + n * float(FLOAT32)


@pytest.mark.parametrize("bits", [8, 11, 24])
def test_a_softmax_in_a_half_type_is_within_the_slack_of_a_float(bits):
    """bfloat16 has 8 bits, float16 11, float32 24; rounding is to the nearest."""
    softmax = np.random.default_rng(0).dirichlet(np.ones(6), 5000)
    fraction, exponent = np.frexp(softmax)
    rounded = np.ldexp(np.rint(fraction * 2**bits) / 2**bits, exponent)
    below, above = sum_slack(6)
    assert (1 - below <= rounded.sum(1)).all()
    assert (rounded.sum(1) <= 1 + above).all()


def test_what_is_no_softmax_is_outside_the_slack():
    assert max(sum_slack(3)) < 0.01
    assert max(sum_slack(2, 1 / 255)) < 0.2


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_a_map_under_a_fitted_scale_leaves_the_unit_interval_by_less(dtype):
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = np.concatenate(([0, 1], rng.random(50)))
        stored, slope, intercept = fitted(values, dtype)
        read = stored * slope + intercept
        assert max(-read.min(), read.max() - 1) <= range_slack(intercept)
