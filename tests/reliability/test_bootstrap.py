"""Bootstrap over units: sums, order, exact identities on tiny cohorts."""

import numpy as np
import pytest


def cohort(seed, n_cases, shift=0.0):
    from coverax import host

    rng = np.random.default_rng(seed)
    p = rng.random((n_cases, 300), dtype=np.float32)
    y = rng.random(p.shape) < p
    moved = np.clip(p + np.float32(shift), 0, 1)
    return host.bin_statistics(moved, y, 10)


def test_a_draw_of_every_unit_once_is_the_pooled_cohort():
    from coverax.reliability import pooled, resampled

    statistics = cohort(0, 12)
    units = [f"u{i // 3}" for i in range(12)]
    got = resampled(statistics, units, np.ones((1, 4), int))
    for a, b in zip(got, pooled(statistics), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_sample_has_as_many_units_as_the_cohort():
    from coverax.reliability import unit_weights

    weights = unit_weights(7, 200, 0)
    assert weights.shape == (200, 7)
    assert (weights.sum(axis=1) == 7).all()


def test_units_are_drawn_whole():
    from coverax.reliability import pooled, resampled, select

    statistics = cohort(1, 6)
    units = ["a", "b", "a", "c", "c", "b"]
    got = resampled(statistics, units, np.array([[0, 3, 0]]))
    of_b = pooled(select(statistics, np.array([1, 5])))
    np.testing.assert_array_equal(got.count, 3 * of_b.count)


def test_the_same_model_differs_by_nothing_and_a_shifted_one_by_something():
    from coverax.reliability import calibration_errors, compare_models

    def ece(statistics):
        return calibration_errors(statistics).ece

    units = [f"u{i}" for i in range(40)]
    same = compare_models(cohort(2, 40), cohort(2, 40), units, ece, n_draws=200)
    assert (same.low, same.high) == (0.0, 0.0)
    worse = compare_models(cohort(2, 40), cohort(2, 40, 0.2), units, ece, n_draws=200)
    assert worse.low > 0.05


def test_one_unit_has_no_spread():
    from coverax.reliability import calibration_errors, compare_models

    found = compare_models(
        cohort(3, 2), cohort(3, 2, 0.1), ["u", "u"], lambda s: calibration_errors(s).ece
    )
    assert np.isnan(found).all()


def test_one_unit_or_no_draw_has_no_weights():
    from coverax.reliability.bootstrap import drawn_weights, intervals, unit_weights

    assert drawn_weights(["u", "u"], 10, 0) is None
    assert drawn_weights(["u", "v"], 0, 0) is None
    assert intervals(None, 0.95) is None
    draws = {"a": np.array([1.0, np.nan]), "b": np.array([np.nan, np.nan])}
    assert intervals(draws, 0.95) == {"a": [1.0, 1.0], "b": None}
    got = drawn_weights(["u", "v", "u"], 10, 3)
    np.testing.assert_array_equal(got, unit_weights(2, 10, 3))


def test_interval_ends_are_order_statistics():
    from coverax.reliability import interval

    draws = np.random.default_rng(0).permutation(np.arange(1.0, 1000.0))
    assert interval(draws, 0.95) == (25.0, 975.0)
    assert interval(np.array([4.0, np.nan]), 0.95) == (4.0, 4.0)
    assert np.isnan(interval(np.array([np.nan])).low)


def test_no_units_are_refused():
    from coverax.reliability import unit_weights

    with pytest.raises(ValueError, match="0 units"):
        unit_weights(0, 10, 0)
