"""Affine maps of logits: the least loss there is, and what they do to a map."""

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

import coverax as cx
from coverax.reliability import least
from coverax.reliability.affine import fit_affine
from coverax.reliability.least import Voxels

N, C = 20_000, 3
TRUE = np.array([[0.6, 0.2, 0.0, 0.5], [0.0, 0.9, -0.3, -0.4], [0.1, 0.0, 1.4, 0.2]])


def drawn(weights, seed=0):
    """Normalised logits, and classes drawn after an affine map of them."""
    rng = np.random.default_rng(seed)
    z = log_softmax(rng.normal(0, 2, (C, N)), axis=0)
    mapped = weights[:, :-1] @ z + weights[:, -1:]
    return z, (mapped + rng.gumbel(size=z.shape)).argmax(0)


def mean_nll(weights, z, y):
    mapped = weights[:, :-1] @ z + weights[:, -1:]
    return -log_softmax(mapped, axis=0)[y, np.arange(y.size)].mean()


@pytest.mark.parametrize("diagonal", [False, True], ids=["matrix", "vector"])
def test_the_fit_beats_the_truth_on_its_voxels_and_nothing_near_beats_it(diagonal):
    weights = np.hstack([np.diag(np.diag(TRUE)), TRUE[:, -1:]]) if diagonal else TRUE
    z, y = drawn(weights)
    halves = [
        Voxels(z[:, ::2], y[::2], 1.0),
        Voxels(z[:, 1::2], y[1::2], 1.0),
    ]
    fit = fit_affine(halves, diagonal=diagonal)
    found = np.array(fit.weights)
    assert fit.status == "OK"
    assert fit.nll_before == pytest.approx(mean_nll(np.eye(C, C + 1), z, y))
    assert fit.nll_after == pytest.approx(mean_nll(found, z, y))
    assert fit.nll_after <= mean_nll(weights, z, y)
    rng = np.random.default_rng(1)
    if diagonal:
        assert not found[:, :-1][~np.eye(C, dtype=bool)].any()
    for _ in range(20):
        step = rng.normal(0, 0.1, found.shape)
        if diagonal:
            step[:, :-1] *= np.eye(C)
        assert mean_nll(found + step, z, y) >= fit.nll_after - 1e-6
    mapped = found[:, :-1] @ z + found[:, -1:]
    assert fit.changed == np.mean(mapped.argmax(0) != z.argmax(0))
    assert fit.changed > 0


def test_a_weight_of_a_case_counts_its_voxels_so_often():
    z, y = drawn(TRUE)
    z, y = z[:, :3000], y[:3000]
    once = fit_affine(
        [
            Voxels(z[:, :1000], y[:1000], 3.0),
            Voxels(z[:, 1000:], y[1000:], 1.0),
        ],
        diagonal=True,
    )
    thrice = Voxels(np.tile(z[:, :1000], 3), np.tile(y[:1000], 3), 1.0)
    rest = Voxels(z[:, 1000:], y[1000:], 1.0)
    often = fit_affine([thrice, rest], diagonal=True)
    np.testing.assert_allclose(once.weights, often.weights, atol=1e-3)
    assert once.nll_after == pytest.approx(often.nll_after, abs=1e-7)


def test_classes_that_are_always_right_have_no_best_map():
    z = np.log(np.array([[0.6, 0.4], [0.4, 0.6]]))
    fit = fit_affine([Voxels(z, np.array([0, 1]), 1.0)], diagonal=False)
    assert fit.status == "AT_BOUND"


@pytest.mark.parametrize("part", [100, N])  # voxels that show the way; all of them
@pytest.mark.parametrize("diagonal", [True, False])
def test_a_class_of_no_voxel_has_no_best_offset(diagonal, part, monkeypatch):
    monkeypatch.setattr(least, "_PART", part)
    rng = np.random.default_rng(3)
    z = rng.normal(0, 2, (C, 2000))
    y = (z[:2] + rng.gumbel(size=(2, 2000))).argmax(axis=0)
    fit = fit_affine([Voxels(z, y, 1.0)], diagonal=diagonal)
    assert fit.status == "AT_BOUND"
    assert "a class is that of no voxel" in fit.sentence
    y[:20] = 2
    assert fit_affine([Voxels(z, y, 1.0)], diagonal=diagonal).status == "OK"


@pytest.mark.parametrize("axis", [0, -1])
def test_each_class_maps_the_voxels_that_it_wins(axis):
    rng = np.random.default_rng(2)
    each = rng.normal(0, 1, (C, C, C + 1))
    probs = softmax(rng.normal(0, 2, (50, C)), axis=1).astype(np.float32)
    given = np.ascontiguousarray(probs.T) if axis == 0 else probs
    found = cx.reliability.apply_affine(given, each, axis=axis)
    one = cx.reliability.apply_affine(given, each[0], axis=axis)
    for row, p in enumerate(probs):
        z = np.log(p.astype(float))
        for result, weights in ((found, each[p.argmax()]), (one, each[0])):
            want = softmax(weights[:, :-1] @ z + weights[:, -1])
            got = result[:, row] if axis == 0 else result[row]
            np.testing.assert_allclose(got, want, atol=1e-6)
    with pytest.raises(ValueError, match="the map 3 classes"):
        cx.reliability.apply_affine(given, np.eye(2, 3), axis=axis)
