"""Windows against loops over voxels."""

from typing import get_args

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from tests.oracles import losses as oracle

from coverax.kernels import Operation, morphology, window_mean

SHAPES = [(7,), (5, 4), (4, 1, 3)]


def random_mask(shape, seed=0):
    return np.random.default_rng(seed).random((2, *shape)) < 0.6


@pytest.mark.parametrize("operation", get_args(Operation))
def test_operations_follow_their_definitions(operation):
    for shape in SHAPES:
        mask = random_mask(shape)
        ours = morphology(jnp.asarray(mask), operation)
        expected = [oracle.morphology(m, operation) for m in mask]
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    ("border", "mode"),
    [("replicate", "edge"), ("mirror", "reflect"), ("zeros", "constant")],
)
def test_means_extend_the_border(border, mode):
    for shape in SHAPES:
        values = np.random.default_rng(1).random((2, *shape)).astype(np.float32)
        ours = window_mean(jnp.asarray(values), (0.25, 0.5, 0.25), border=border)
        flat = np.array([0.25, 0.5, 0.25])
        weights = flat
        for _ in shape[1:]:
            weights = np.multiply.outer(weights, flat)
        expected = [
            oracle.windowed(v, lambda b, w=weights: (w.ravel() * b).sum(), mode)
            for v in values
        ]
        np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("border", "mode"),
    [("replicate", "nearest"), ("mirror", "mirror"), ("zeros", "constant")],
)
def test_longer_windows_and_the_box_of_valid_voxels(border, mode):
    """Five and nine weights, a box that is smaller than the volume, against SciPy."""
    values = np.random.default_rng(2).random((2, 6, 7)).astype(np.float32)
    wide = [(0, 0), (2, 1), (0, 3)]
    valid = jnp.pad(jnp.ones((2, 6, 7), bool), wide)
    padded = jnp.pad(jnp.asarray(values), wide, constant_values=9)
    for weights in [(0.1, 0.2, 0.3, 0.25, 0.15), (*[0.1] * 8, 0.2)]:
        expected = values
        for axis in (1, 2):
            expected = ndimage.correlate1d(expected, weights, axis=axis, mode=mode)
        if border != "mirror" or len(weights) == 5:
            ours = window_mean(jnp.asarray(values), weights, border=border)
            np.testing.assert_allclose(ours, expected, rtol=1e-5)
            ours = window_mean(padded, weights, border=border, valid=valid)
            np.testing.assert_allclose(ours[:, 2:8, :7], expected, rtol=1e-5)


def test_a_slice_axis_is_not_crossed():
    mask = jnp.asarray(random_mask((4, 5, 3)))
    whole = morphology(mask, "gradient", slice_axis=2)
    for k in range(3):
        np.testing.assert_array_equal(
            whole[..., k], morphology(mask[..., k], "gradient")
        )
    assert not np.array_equal(whole, morphology(mask, "gradient"))


def test_valid_voxels_end_the_image():
    mask = jnp.asarray(random_mask((4, 5)))
    valid = jnp.pad(jnp.ones((2, 4, 5), bool), ((0, 0), (1, 2), (0, 3)))
    wide = jnp.pad(mask, ((0, 0), (1, 2), (0, 3)), constant_values=True)
    for operation in ("erosion", "closing", "gradient"):
        ours = morphology(wide, operation, valid=valid)
        np.testing.assert_array_equal(ours[:, 1:5, :5], morphology(mask, operation))
        assert not np.any(ours & ~valid)


def test_static_misuse_is_named():
    mask = jnp.ones((1, 3, 3), bool)
    with pytest.raises((ValueError, TypeError), match="operation"):
        morphology(mask, "thinning")
    with pytest.raises(ValueError, match="slice_axis 2 of 2"):
        morphology(mask, "erosion", slice_axis=2)
