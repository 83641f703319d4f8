"""The temperature solver against a dense grid, and what scaling must not change."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax


def draw(seed, n=4000, classes=3, sharpness=2.0):
    """Logits that are `sharpness` times too large for their own labels."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (n, classes))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    y = (rng.random((n, 1)) > p.cumsum(1)).sum(1)
    return sharpness * z, np.minimum(y, classes - 1)


def mean_nll(z, y, temperature):
    """The log loss by its definition."""
    s = z / temperature
    return (logsumexp(s, axis=1) - s[np.arange(len(y)), y]).mean()


def derivatives(z, y, temperature):
    """Derivatives of the log loss by log T, by their definition."""
    gap = (z - z[np.arange(len(y)), y][:, None]) / temperature
    p = softmax(z / temperature, axis=1)
    mean = (p * gap).sum(1)
    return -mean.mean(), ((p * gap**2).sum(1) - mean**2).mean()


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize(("seed", "sharpness"), [(0, 2.0), (1, 0.5), (2, 5.0)])
def test_solver_equals_a_dense_grid(seed, sharpness, classes):
    from coverax.reliability import fit_temperature

    z, y = draw(seed, classes=classes, sharpness=sharpness)
    fit = fit_temperature([z[:1000], z[1000:]], [y[:1000], y[1000:]])
    grid = fit.temperature * np.exp(np.linspace(-0.5, 0.5, 401))
    losses = [mean_nll(z, y, t) for t in grid]
    assert fit.status == "OK"
    assert abs(np.log(grid[np.argmin(losses)] / fit.temperature)) <= 0.5 / 200
    assert fit.nll_after <= min(losses) + 1e-12
    assert fit.nll_before == pytest.approx(mean_nll(z, y, 1), rel=1e-12)
    assert fit.nll_after == pytest.approx(mean_nll(z, y, fit.temperature), rel=1e-12)
    slope, curvature = derivatives(z, y, fit.temperature)
    assert abs(slope) <= 1e-8 * curvature + 1e-13  # the solver's last step; rounding
    assert fit.temperature == pytest.approx(sharpness, rel=0.15)


@pytest.mark.parametrize("share_wrong", [1e-4, 1e-3, 0.1, 0.3])
def test_solver_reaches_roots_far_from_one(share_wrong):
    # All gaps are 40: T solves sigmoid(-40 / T) = share_wrong.
    from coverax.reliability import fit_temperature

    wrong = np.arange(10_000) < 10_000 * share_wrong
    z = np.stack([np.zeros(wrong.size), np.full(wrong.size, 40.0)], axis=1)
    fit = fit_temperature([z], [np.where(wrong, 0, 1)])
    expected = 40 / np.log(1 / share_wrong - 1)
    assert fit.status == "OK"
    assert fit.temperature == pytest.approx(expected, rel=1e-7)


def test_the_fit_is_the_same_to_the_bit_on_any_number_of_threads():
    from coverax.reliability.temperature import fit_samples, sample_of

    cases = [draw(seed, 40_000 + seed) for seed in range(5)]
    samples = [sample_of(z.T, y, 1.0 + i) for i, (z, y) in enumerate(cases)]
    assert fit_samples(samples, threads=1) == fit_samples(samples, threads=4)


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
    assert "still falls" in fit.sentence
    # So far apart that the loss and its slope vanish.
    far = fit_temperature([1000 * z], [np.array([1, 0])])
    assert (far.status, far.temperature) == ("AT_BOUND", fit.temperature)
    with pytest.raises(ValueError, match="no voxel"):
        fit_temperature([], [])


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_equal_probabilities_have_no_temperature_and_say_so(classes):
    from coverax.reliability import fit_temperature

    z = np.log(np.full((50, classes), 1 / classes))
    fit = fit_temperature([z], [np.arange(50) % classes])
    assert (fit.status, fit.temperature) == ("UNDETERMINED", 1)
    assert fit.nll_after == fit.nll_before == pytest.approx(np.log(classes))
    assert "same at every temperature" in fit.sentence
    # Rounding of float32 tells nothing either.
    p = np.float32(1 / classes) * (1 + np.float32(2**-23) * (np.arange(50) % 3 - 1))
    noisy = np.log(np.tile(p[:, None], classes)[np.arange(50)])
    noisy[:, 0] = np.log(1 / classes)
    assert fit_temperature([noisy], [np.arange(50) % classes]).status == fit.status


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z, y: (np.where(z > 0, np.nan, z), y), "case 1: logits must be finite"),
        (lambda z, y: (np.where(z > 0, np.inf, z), y), "case 1: logits must be finite"),
        (lambda z, y: (z, y + 1), "case 1: label 2 of 2 classes"),
        (lambda z, y: (z, y - 1), "none of them negative, got -1"),
        (lambda z, y: (z, y + 0.5), "labels must hold whole numbers"),
        (lambda z, y: (z[None], y), "case 1: logits have shape"),
        (lambda z, y: (z, y[:-1]), "case 1: logits have shape"),
    ],
)
def test_logits_and_labels_that_cannot_be_fitted_are_refused(change, message):
    from coverax.reliability import fit_temperature

    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(40, 2)), np.arange(40) % 2
    bad_z, bad_y = change(z, y)
    with pytest.raises(ValueError, match=message):
        fit_temperature([z, bad_z], [y, bad_y])
    for weights in ([1.0, float("nan")], [1.0, -1.0], [1.0]):
        with pytest.raises(ValueError, match="weights"):
            fit_temperature([z, z], [y, y], weights)
