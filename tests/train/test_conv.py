"""Convolution as the compiler has it and as it is faster: one value, one gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train.nets.conv import Upconv, convolve, convolve_whole, spread
from coverax.train.nets.kit import Kit

# Voxels, kernel, step: odd and even sizes, uneven steps, two axes.
SHAPES = [
    ((5, 6, 4), (3, 1, 3), (1, 1, 1)),
    ((6, 4, 8), (3, 3, 3), (2, 1, 2)),
    ((4, 8), (2, 2), (2, 2)),
    ((8, 6), (7, 3), (2, 2)),
]


def drawn(spatial, size, n_in=2, n_out=3):
    keys = jax.random.split(jax.random.key(3))
    x = jax.random.normal(keys[0], (2, *spatial, n_in))
    return x, jax.random.normal(keys[1], (*size, n_in, n_out))


def loop(x, kernel, stride):
    """The definition in float64: a sum over taps for every voxel."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    size = np.array(kernel.shape[:-2])
    low = (size - 1) // 2
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


@pytest.mark.parametrize(("spatial", "size", "stride"), SHAPES)
def test_both_ways_are_the_definition_and_have_one_gradient(spatial, size, stride):
    x, kernel = drawn(spatial, size)

    @jax.jit
    def values_and_gradients(x, kernel):
        def loss(x, kernel, function):
            y = function(x, kernel, stride)
            return jnp.sum(jnp.sin(y)), y

        grad = jax.grad(loss, (0, 1), has_aux=True)
        return [grad(x, kernel, way) for way in (convolve, convolve_whole)]

    mine, whole = values_and_gradients(x, kernel)
    want = loop(x, kernel, stride)
    # Sums of at most 2 * 27 products of size one: 54 * 2^-24 * 10 < 1e-4.
    np.testing.assert_allclose(mine[1], want, atol=1e-4)
    np.testing.assert_allclose(whole[1], want, atol=1e-4)
    for one, other in zip(mine[0], whole[0], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_volumes_go_slice_by_slice_on_a_cpu():
    x, kernel = drawn((4, 6, 8), (3, 3, 3))
    jaxpr = str(jax.make_jaxpr(lambda x, k: convolve(x, k, (1, 1, 1)))(x, kernel))
    assert ("window_strides=(1, 1)" in jaxpr) == (jax.default_backend() == "cpu")


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
