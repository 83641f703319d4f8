"""Convolution and its transpose against their definitions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train.nets.conv import Upconv, convolve, spread
from coverax.train.nets.kit import Kit


def drawn(spatial, size, n_in=2, n_out=3):
    keys = jax.random.split(jax.random.key(3))
    x = jax.random.normal(keys[0], (2, *spatial, n_in))
    return x, jax.random.normal(keys[1], (*size, n_in, n_out))


def loop(x, kernel, stride):
    """The definition in float64: a sum over taps for every voxel."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    size = np.array(kernel.shape[:-2])
    tiles = tuple(size) == tuple(stride)
    low = 0 * size if tiles else (size - 1) // 2
    counts = (np.array(x.shape[1:-1]) + 2 * low - size) // stride + 1
    x = np.pad(x, [(0, 0), *((p, p) for p in low), (0, 0)])
    out = np.zeros((x.shape[0], *counts, kernel.shape[-1]))
    for at in itertools.product(*map(range, counts)):
        start = np.array(at) * stride
        window = tuple(map(slice, start, start + size))
        out[(slice(None), *at)] = np.tensordot(
            x[(slice(None), *window)], kernel, kernel.ndim - 1
        )
    return out


@pytest.mark.parametrize(
    ("spatial", "size", "stride"),
    [
        ((6, 4, 8), (3, 1, 5), (2, 1, 2)),
        ((4, 6, 2), (2, 3, 1), (2, 3, 1)),
        ((8, 6), (7, 3), (2, 2)),
    ],
)
def test_the_convolution_is_its_definition(spatial, size, stride):
    x, kernel = drawn(spatial, size)
    y = jax.jit(convolve, static_argnums=2)(x, kernel, stride)
    # Sums of at most 2 * 21 products of size one: 42 * 2^-24 * 10 < 1e-4.
    np.testing.assert_allclose(y, loop(x, kernel, stride), atol=1e-4)


@pytest.mark.parametrize(
    ("spatial", "size", "stride"),
    [
        ((3, 2, 4), (2, 1, 2), (2, 1, 2)),
        ((3, 2), (3, 3), (2, 2)),
    ],
)
def test_the_transposed_convolution_is_the_adjoint(spatial, size, stride):
    big = tuple(n * s for n, s in zip(spatial, stride, strict=True))
    x, kernel = drawn(big, size)
    _, y = drawn((1,), (2, *spatial))
    y = y[..., 0, :]

    @jax.jit
    def both(x, y):
        return convolve(x, kernel, stride), spread(y, kernel.swapaxes(-1, -2), stride)

    down, up = both(x, y)
    assert down.shape == y.shape
    assert up.shape == x.shape
    # <A x, y> = <x, A^T y>.
    np.testing.assert_allclose(np.vdot(down, y), np.vdot(x, up), rtol=1e-4)


def test_an_axis_without_a_step_keeps_its_size():
    kit = Kit(
        axes=3,
        dtype=jnp.float32,
        rematerialise=False,
        patch=(4, 4, 4),
        rngs=nnx.Rngs(0),
    )
    up = Upconv(kit, 2, 3, stride=(2, 2, 1))
    assert up(jnp.ones((1, 4, 4, 4, 2))).shape == (1, 8, 8, 4, 3)
