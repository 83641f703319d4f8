"""Convolution as the compiler has it and as it is faster: one value, one gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from coverax.train.nets.conv import (
    Conv,
    Upconv,
    convolve,
    convolve_whole,
    spread,
    spread_phases,
    spread_whole,
    together,
)
from coverax.train.nets.kit import Kit
from coverax.train.nets.norm import GroupNorm
from coverax.train.nets.strided_unet import Unit

# Voxels, kernel, step: odd and even sizes, uneven steps, two axes.
SHAPES = [
    ((5, 6, 4), (3, 1, 3), (1, 1, 1)),
    ((6, 4, 8), (3, 3, 3), (2, 1, 2)),
    ((4, 8), (2, 2), (2, 2)),
    ((8, 6), (7, 3), (2, 2)),
    # Voxels along z become channels: taps within a block, and beyond its neighbours.
    ((3, 4, 8), (3, 3, 3), (1, 1, 1)),
    ((2, 3, 12), (1, 3, 11), (1, 1, 1)),
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


@pytest.mark.parametrize("bias", [True, False])
def test_convolutions_of_one_map_are_each_of_them(bias):
    x, _ = drawn((6, 4, 8), (3, 3, 3))
    layers = kit()
    convs = [Conv(layers, 2, n, stride=2, bias=bias) for n in (3, 1, 4)]
    found = together(x, *convs)
    assert [y.shape[-1] for y in found] == [3, 1, 4]
    for y, conv in zip(found, convs, strict=True):
        np.testing.assert_allclose(y, conv(x), atol=1e-5)


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


# Voxels, kernel, step: kernels longer and shorter than their steps, even and odd, steps
# of 1 to 3, two and three axes.
SPREADS = [
    ((3, 2, 4), (3, 3, 3), (2, 2, 2)),
    ((3, 2, 4), (3, 3, 3), (1, 2, 3)),
    ((3, 4), (5, 3), (3, 1)),
    ((3, 4), (4, 2), (2, 3)),
    ((4, 3), (7, 1), (2, 2)),
    ((2, 3, 2), (5, 4, 1), (2, 3, 2)),
    ((3, 4), (4, 3), (1, 2)),
]


@pytest.mark.parametrize(("spatial", "size", "stride"), SPREADS)
def test_the_transposed_convolution_is_that_of_jax(spatial, size, stride):
    """`lax.conv_transpose` with the same zeros, and both gradients."""
    x, kernel = drawn(spatial, size)
    low = [k - 1 - (k - 1) // 2 for k in size]
    padding = [
        (a, n * s - ((n - 1) * s + 1) - a + k - 1)
        for a, n, s, k in zip(low, spatial, stride, size, strict=True)
    ]

    def theirs(x, kernel, stride):
        axes = tuple(range(len(size)))
        order = ("N012C"[: 1 + len(size)] + "C", "012"[: len(size)] + "IO")
        return jax.lax.conv_transpose(
            x,
            jnp.flip(kernel, axes),
            stride,
            padding,
            dimension_numbers=(*order, order[0]),
        )

    @jax.jit
    def values_and_gradients(x, kernel):
        def loss(x, kernel, function):
            y = function(x, kernel, stride)
            return jnp.sum(jnp.sin(y)), y

        grad = jax.grad(loss, (0, 1), has_aux=True)
        ways = (theirs, spread, spread_phases, spread_whole)
        return [grad(x, kernel, way) for way in ways]

    want, *found = values_and_gradients(x, kernel)
    assert want[1].shape[1:-1] == tuple(np.multiply(spatial, stride))
    for one in found:
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(want), strict=True):
            # Sums of at most 2 * 2 * 3 * 4 * 3 * 27 products of size one.
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 1, 2), (3, 3)])
def test_tiles_are_the_same_on_a_cpu_and_off_it(size, monkeypatch):
    """Kernels as long as their steps: values and both gradients, either way."""
    x, kernel = drawn([2 * s for s in size], size)

    def values_and_gradients(function):
        def loss(x, kernel):
            y = function(x, kernel, size)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

    for function in (convolve, spread):
        found = []
        for backend in ("cpu", "gpu"):
            monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
            found.append(jax.tree.leaves(values_and_gradients(function)))
        for one, other in zip(*found, strict=True):
            # Sums of at most 2 * 216 products of size one.
            np.testing.assert_allclose(one, other, atol=1e-4)


def kit(axes=3):
    return Kit(
        axes=axes,
        dtype=jnp.float32,
        rematerialise=False,
        patch=(4, 4, 4),
        rngs=nnx.Rngs(0),
    )


def test_on_a_cpu_no_transposed_convolution_multiplies_by_the_zeros_between():
    """Of the program, not of the clock: dilated maps are those of zeros."""
    up = Upconv(kit(), 2, 3, size=3, stride=2)
    jaxpr = str(jax.make_jaxpr(lambda x: up(x))(jnp.ones((1, 4, 4, 4, 2))))
    is_dilated = "lhs_dilation=(2, 2, 2)" in jaxpr
    assert is_dilated == (jax.default_backend() != "cpu")


def test_an_axis_without_a_step_keeps_its_size():
    up = Upconv(kit(), 2, 3, stride=(2, 2, 1))
    assert up(jnp.ones((1, 4, 4, 4, 2))).shape == (1, 8, 8, 4, 3)


@pytest.mark.parametrize("groups", [None, 1, 3])
def test_a_norm_is_its_definition_beside_a_large_mean(groups):
    x, _ = drawn((5, 4), (1, 1), n_in=6)
    x = 1e3 + x * jnp.arange(1.0, 7.0).reshape(1, 1, 1, 6)
    got = GroupNorm(kit(2), 6, groups=groups)(x)
    wide = np.asarray(x, np.float64).reshape(2, 5, 4, groups or 6, -1)
    centred = wide - wide.mean((1, 2, 4), keepdims=True)
    want = centred / np.sqrt((centred**2).mean((1, 2, 4), keepdims=True) + 1e-5)
    # A mean of 1e3 has an error of some 2^-24 * 1e3, of deviations of one.
    np.testing.assert_allclose(got, want.reshape(x.shape), atol=2e-3)


def test_a_learned_slope_has_the_gradient_of_its_definition():
    unit, (x, _) = Unit(kit(2), 2), drawn((4, 3), (1, 1))
    graph, params = nnx.split(unit, nnx.Param)

    def loss(params, x):
        return jnp.sum(jnp.cos(nnx.merge(graph, params)(x)))

    by_slope, by_map = jax.grad(loss, (0, 1))(params, x)
    standard, back = jax.vjp(unit.norm, x)
    y = jnp.where(standard > 0, standard, 0.25 * standard)
    (want,) = back(-jnp.sin(y) * jnp.where(standard > 0, 1, 0.25))
    np.testing.assert_allclose(by_map, want, atol=1e-5)
    slope = jnp.sum(-jnp.sin(y) * jnp.minimum(standard, 0))
    np.testing.assert_allclose(by_slope["slope"][...], slope, rtol=1e-5)
