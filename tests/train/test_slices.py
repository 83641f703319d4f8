"""A convolution of slices is the convolution, value and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

SHAPES = [  # map, size, stride, in, out
    ((5, 6, 7), (3, 3, 3), (1, 1, 1), 2, 3),
    ((8, 6, 7), (3, 3, 3), (2, 2, 2), 2, 3),
    ((7, 8, 6), (3, 1, 3), (2, 1, 3), 1, 4),
    ((8, 4, 4), (2, 2, 2), (2, 2, 2), 3, 2),
    ((4, 5, 1), (1, 3, 1), (1, 1, 1), 2, 2),
]


@pytest.mark.parametrize(("shape", "size", "stride", "n_in", "n_out"), SHAPES)
def test_it_is_the_three_dimensional_convolution(shape, size, stride, n_in, n_out):
    from coverax.train.nets.slices import convolve_slices

    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, *shape, n_in), np.float32))
    kernel = jnp.asarray(rng.standard_normal((*size, n_in, n_out), np.float32))

    def whole(x, kernel):
        pad = [((k - 1) // 2,) * 2 for k in size]
        order = ("NXYZC", "XYZIO", "NXYZC")
        return lax.conv_general_dilated(x, kernel, stride, pad, dimension_numbers=order)

    def slices(x, kernel):
        return convolve_slices(x, kernel, stride)

    def pull(convolve):
        y, back = jax.vjp(convolve, x, kernel)
        slope = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape), y.dtype)
        return y, *back(slope)

    for ours, theirs in zip(pull(slices), pull(whole), strict=True):
        # Sums of at most 2 * 8 * 6 * 7 products of standard normals, in float32.
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
