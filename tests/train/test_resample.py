"""Resampling: against a loop, and what must stay true of a softmax."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles.resample import linear

from coverax.train.resample import (
    resample_image,
    resample_labels,
    resample_probs,
    resampled_shape,
)

SHAPES = [((7, 5, 3), (4, 9, 12)), ((4, 6, 1), (8, 3, 1)), ((3, 3, 5), (3, 3, 11))]


def softmax(shape, n_classes, seed):
    logits = np.random.default_rng(seed).normal(0, 9, (*shape, n_classes))
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_probabilities_are_interpolated_linearly(old, new):
    probs = softmax(old, 3, 1)
    got = resample_probs(probs, new)
    for index in range(3):
        wanted = linear(probs[..., index].astype(np.float64), new)
        np.testing.assert_allclose(got[..., index], wanted, atol=1e-7)


@given(seed=st.integers(0, 99), pair=st.sampled_from(SHAPES))
def test_a_resampled_softmax_is_a_softmax(seed, pair):
    old, new = pair
    probs = resample_probs(softmax(old, 3, seed), new)
    assert probs.dtype == np.float32
    assert probs.min() >= 0
    assert probs.max() <= 1
    # Three roundings to float32 and as many of the values they came from.
    np.testing.assert_allclose(probs.sum(-1), 1, atol=6 * np.finfo(np.float32).eps)


def test_exact_ones_stay_ones_and_never_exceed_them():
    probs = np.stack([np.ones((5, 6, 7)), np.zeros((5, 6, 7))], -1).astype(np.float32)
    got = resample_probs(probs, (11, 13, 17))
    assert (got[..., 0] == 1).all()
    assert (got[..., 1] == 0).all()


@pytest.mark.parametrize(("old", "new"), SHAPES)
def test_labels_are_the_largest_interpolated_class(old, new):
    labels = np.random.default_rng(0).integers(0, 3, old).astype(np.uint8)
    got = resample_labels(labels, new, 3)
    shares = np.stack([linear((labels == k).astype(float), new) for k in range(3)], -1)
    ordered = np.sort(shares, -1)
    clear = ordered[..., -1] - ordered[..., -2] > 1e-5
    assert clear.any()
    np.testing.assert_array_equal(got[clear], shares.argmax(-1)[clear])


def test_a_grid_that_does_not_change_changes_nothing():
    probs = softmax((4, 5, 6), 2, 0)
    assert resample_probs(probs, (4, 5, 6)) is probs
    assert resample_image(probs, (4, 5, 6)) is probs
    labels = probs.argmax(-1)
    assert resample_labels(labels, (4, 5, 6), 2) is labels


def test_a_ramp_keeps_its_place_there_and_back():
    # World position of every voxel centre, in units of the box: a test of the
    # half-voxel convention. Corner centres on corner centres would move the ends by
    # (1/20 - 1/31) / 2 = 0.009; the bend of the spline at the border is below 0.001.
    ramp = ((np.arange(20) + 0.5) / 20)[:, None, None, None] * np.ones((1, 4, 5, 1))
    there = resample_image(ramp.astype(np.float32), (31, 4, 5))
    inner = slice(4, -4)
    wanted = ((np.arange(31) + 0.5) / 31)[inner]
    np.testing.assert_allclose(there[inner, 1, 2, 0], wanted, atol=1e-3)
    back = resample_probs(there, (20, 4, 5))
    np.testing.assert_allclose(back[inner, 1, 2, 0], ramp[inner, 1, 2, 0], atol=1e-3)


def test_coarse_grids_do_not_alias():
    # A chessboard of voxels has no mean but 1/2 on a grid of a third.
    board = (np.indices((30, 30, 30)).sum(0) % 2).astype(np.float32)[..., None]
    coarse = resample_image(board, (10, 10, 10))
    assert np.abs(coarse[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.1


def test_the_shape_fills_the_same_box():
    assert resampled_shape((35, 51, 10), (1.0, 1.0, 5.0), (1.0, 1.0, 1.0)) == (
        35,
        51,
        50,
    )
    assert resampled_shape((1, 512, 512), (3.0, 0.7, 0.7), (10.0, 1.4, 1.4)) == (
        1,
        256,
        256,
    )
