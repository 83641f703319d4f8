"""Convolution as matrix products of shifted copies of the map, for CPUs.

The compiler's 3-D convolution on a CPU is slow for few channels, and its gradients are
slower; matrix products are not. Accelerators have tuned convolutions.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Axes, Maps, NewMaps

# Below it either is quick, and the convolution compiles faster.
FEWEST_VOXELS = 4096


def products_are_faster(maps: Axes, kernel: Axes) -> bool:
    """Whether products beat the compiler's convolution for these shapes.

    The rule is measured by benchmarks/train.py. A 1-voxel kernel is one product anyhow.
    """
    return (
        jax.default_backend() == "cpu"
        and math.prod(kernel[:-2]) > 1
        and math.prod(maps[:-1]) >= FEWEST_VOXELS
    )


def pads(size: Axes) -> Axes:
    """Zeros on each side of each axis."""
    return tuple((k - 1) // 2 for k in size)


def shifted_products(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    """Cross-correlation with symmetric zero padding, `(size - 1) // 2` each side.

    Copies shifted along all axes but the first are stacked as channels; the first axis
    is a sum of products, so that the stack stays small.
    """
    odd = all(k % 2 for k in kernel.shape[:-2])
    return _same(x, kernel) if odd and max(stride) == 1 else _sum(x, kernel, stride)


@jax.custom_vjp
def _same(x: Maps, kernel: Array) -> NewMaps:
    """Step 1 and odd sizes, where the gradient is such a sum, too.

    Differentiating the copies would add them up one by one, at twice the cost.
    """
    return _sum(x, kernel, (1,) * (x.ndim - 2))


def _forward(x: Maps, kernel: Array) -> tuple[NewMaps, tuple[Maps, Array]]:
    return _same(x, kernel), (x, kernel)


def _backward(saved: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    x, kernel = saved
    size = kernel.shape[:-2]
    mirrored = jnp.flip(kernel, tuple(range(len(size)))).swapaxes(-1, -2)
    stack = _stack(x, size, (1,) * len(size))
    flat = slope.reshape(-1, slope.shape[-1])
    rows = [
        _along(stack, 0, tap, slope.shape[1], 1).reshape(-1, stack.shape[-1]).T @ flat
        for tap in range(size[0])
    ]
    return _same(slope, mirrored), jnp.stack(rows).reshape(kernel.shape)


_same.defvjp(_forward, _backward)


def _sum(x: Maps, kernel: Array, stride: Axes) -> NewMaps:
    *size, _, n_out = kernel.shape
    stack = _stack(x, tuple(size), stride)
    rows = kernel.reshape(size[0], -1, n_out)
    count = (stack.shape[1] - size[0]) // stride[0] + 1
    terms = [
        _along(stack, 0, tap, count, stride[0]) @ rows[tap] for tap in range(size[0])
    ]
    return functools.reduce(jnp.add, terms)


def _stack(x: Maps, size: Axes, stride: Axes) -> Array:
    """Copies shifted along every axis but the first, as channels in the kernel's order."""
    x = jnp.pad(x, ((0, 0), *((p, p) for p in pads(size)), (0, 0)))
    copies = []
    for taps in itertools.product(*(range(k) for k in size[1:])):
        copy = x
        for axis, tap in enumerate(taps, start=1):
            count = (x.shape[axis + 1] - size[axis]) // stride[axis] + 1
            copy = _along(copy, axis, tap, count, stride[axis])
        copies.append(copy)
    return jnp.concatenate(copies, axis=-1)


def _along(maps: Array, axis: int, tap: int, count: int, step: int) -> Array:
    """`count` voxels of a spatial axis from `tap` on."""
    return lax.slice_in_dim(maps, tap, tap + (count - 1) * step + 1, step, axis + 1)
