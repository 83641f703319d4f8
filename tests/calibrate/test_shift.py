"""Estimated likelihood ratios against a shift whose ratio is known."""

import numpy as np
import pytest

from coverax.calibrate import likelihood_ratios, weighted_threshold


def test_a_normal_shift_has_the_known_ratio():
    """N(1, 1) over N(0, 1) is exp(x - 1/2); 20,000 draws a side give it to 5 %."""
    rng = np.random.default_rng(0)
    old, new = rng.standard_normal((20_000, 1)), rng.standard_normal((20_000, 1)) + 1
    at = np.linspace(-1, 2, 7)[:, None]
    found = likelihood_ratios(old, new, at)
    np.testing.assert_allclose(found, np.exp(at[:, 0] - 0.5), rtol=0.08)


def test_equal_populations_weigh_about_one_and_units_do_not_matter():
    rng = np.random.default_rng(1)
    old, new = rng.random((500, 2)), rng.random((300, 2))
    found = likelihood_ratios(old, new, old)
    assert 0.9 < found.mean() < 1.1
    scaled = likelihood_ratios(old * [1, 1e6], new * [1, 1e6], old * [1, 1e6])
    np.testing.assert_allclose(found, scaled, rtol=1e-6)


def test_separable_populations_stay_finite():
    old, new = np.zeros((30, 1)), np.ones((30, 1))
    found = likelihood_ratios(old, new, np.array([[0.0], [1.0]]))
    assert 0 < found[0] < 1 < found[1] < np.inf


def test_weighting_restores_coverage_that_a_shift_takes():
    """Scores grow with the feature; unweighted coverage falls, weighted does not."""
    rng = np.random.default_rng(2)
    covered = {"weighted": [], "plain": []}
    for _ in range(60):
        x, x_new = rng.random(400), np.sqrt(rng.random(200))
        fit = likelihood_ratios(
            rng.random((400, 1)), np.sqrt(rng.random((400, 1))), x[:, None]
        )
        scores = x + 0.1 * rng.standard_normal(400)
        new = x_new + 0.1 * rng.standard_normal(200)
        for name, w in (("weighted", fit), ("plain", np.ones(400))):
            t = weighted_threshold(scores, w, float(w.max()), "0.2")
            covered[name].append((new <= t).mean())
    assert np.mean(covered["weighted"]) > 0.78
    assert np.mean(covered["plain"]) < 0.72


def test_bad_features_are_refused():
    good = np.zeros((3, 1))
    with pytest.raises(ValueError, match="both populations"):
        likelihood_ratios(good[:0], good, good)
    with pytest.raises(ValueError, match="finite"):
        likelihood_ratios(good, good * np.nan, good)
