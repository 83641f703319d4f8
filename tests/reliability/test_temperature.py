"""The temperature solver against a dense grid, and what scaling must not change."""

import numpy as np
import pytest


def draw(seed, n=4000, classes=3, sharpness=2.0):
    """Logits that are `sharpness` times too large for their own labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, classes))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    y = (rng.random((n, 1)) > p.cumsum(1)).sum(1)
    return sharpness * z, np.minimum(y, classes - 1)


@pytest.mark.parametrize(("seed", "sharpness"), [(0, 2.0), (1, 0.5), (2, 5.0)])
def test_solver_equals_a_dense_grid(seed, sharpness):
    from coverax.reliability import fit_temperature
    from coverax.reliability.temperature import mean_nll

    z, y = draw(seed, sharpness=sharpness)
    halves = ([z[:1000], z[1000:]], [y[:1000], y[1000:]])
    fit = fit_temperature(*halves)
    grid = fit.temperature * np.exp(np.linspace(-0.5, 0.5, 2001))
    losses = [mean_nll(*halves, [1.0, 1.0], t) for t in grid]
    assert fit.status == "OK"
    assert abs(np.log(grid[np.argmin(losses)] / fit.temperature)) <= 0.5 / 1000
    assert fit.nll_after <= min(losses) + 1e-12
    assert fit.nll_before >= fit.nll_after
    assert fit.temperature == pytest.approx(sharpness, rel=0.15)


def test_weights_count_like_repeats():
    from coverax.reliability import fit_temperature

    a, b = draw(3, 500), draw(4, 500, sharpness=4.0)
    weighted = fit_temperature([a[0], b[0]], [a[1], b[1]], [1.0, 3.0])
    repeated = fit_temperature([a[0], b[0], b[0], b[0]], [a[1], b[1], b[1], b[1]])
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-6)


def test_separated_classes_have_no_best_temperature_and_say_so():
    from coverax.reliability import fit_temperature

    z = np.array([[0.0, 3.0], [3.0, 0.0]])
    fit = fit_temperature([z], [np.array([1, 0])])
    assert fit.status == "AT_BOUND"
    inverted = fit_temperature([z], [np.array([0, 1])])
    assert inverted.status == "AT_BOUND"
    assert inverted.temperature > 1 > fit.temperature
    with pytest.raises(ValueError, match="no voxel"):
        fit_temperature([], [])


def test_temperature_keeps_the_order_of_classes_and_temperature_one_the_map():
    from coverax.reliability import apply_binary_temperature, apply_temperature

    rng = np.random.default_rng(5)
    p = rng.dirichlet([0.3, 0.3, 0.3], 500).astype(np.float32)
    p[0] = [0, 1, 0]
    np.testing.assert_allclose(apply_temperature(p, 1.0), p, rtol=2e-6, atol=1e-7)
    hot = apply_temperature(p, 3.0)
    np.testing.assert_array_equal(hot.argmax(1), p.argmax(1))
    np.testing.assert_allclose(hot.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(hot[0], [0, 1, 0])
    q = np.float32([0, 0.2, 0.5, 0.9, 1])
    got = apply_binary_temperature(q, 2.0)
    assert got[0] == 0
    assert got[-1] == 1
    assert got[2] == pytest.approx(0.5)
    assert got[3] == pytest.approx(3 / (3 + 1), rel=1e-6)  # sqrt of odds of 9


def test_platt_undoes_a_known_distortion():
    from coverax.reliability import fit_platt

    rng = np.random.default_rng(6)
    true = rng.normal(0, 1.5, 40_000)
    y = rng.random(true.size) < 1 / (1 + np.exp(-true))
    shown = 1 / (1 + np.exp(-(2 * true + 1)))  # slope 1/2, offset -1/2 undo this
    fit = fit_platt(shown, y)
    # standard errors at this size are below 0.02
    assert fit.slope == pytest.approx(0.5, abs=0.08)
    assert fit.offset == pytest.approx(-0.5, abs=0.08)


def test_isotonic_is_monotone_and_keeps_the_mean():
    from coverax.reliability import fit_isotonic

    rng = np.random.default_rng(7)
    p = rng.choice(np.linspace(0.02, 0.98, 25), 4000)
    y = rng.random(p.size) < p**2
    fitted = fit_isotonic(p, y)(p)
    order = np.argsort(p, kind="stable")
    assert (np.diff(fitted[order]) >= 0).all()
    assert fitted.mean() == pytest.approx(y.mean(), abs=1e-6)
