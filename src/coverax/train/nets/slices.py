"""A 3-D convolution as one 2-D convolution of slices, for CPUs.

The compiler's 2-D convolution is tuned on a CPU, its gradients too; the 3-D one is not.
Accelerators have both.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Axes, Maps, NewMaps

Sides = tuple[tuple[int, int], ...]


def slices_are_faster(kernel: Axes) -> bool:
    """Whether slices beat the compiler's convolution: on a CPU, at every size.

    Measured by benchmarks/train.py, for 1 to 64 channels and maps of 8 to 64 voxels.

    Args:
        kernel: Shape of the kernel, with its channels.
    """
    return jax.default_backend() == "cpu" and len(kernel) == 5


def pads(size: Axes) -> Axes:
    """Zeros on each side of each axis."""
    return tuple((k - 1) // 2 for k in size)


def both_sides(size: Axes) -> Sides:
    """`pads` before and after each axis."""
    return tuple((p, p) for p in pads(size))


def convolve_slices(
    x: Maps, kernel: Array, stride: Axes, padding: Sides | None = None
) -> NewMaps:
    """Cross-correlation of maps with zeros around, by default those of `both_sides`.

    Every slice gets its neighbours along x as further channels, and joins the batch.

    Shapes: `[batch, x, y, z, in_channels]` and `[kx, ky, kz, in_channels, channels]` to
    `[batch, x / sx, y / sy, z / sz, channels]`.
    """
    kx, ky, kz, n_in, n_out = kernel.shape
    padding = both_sides((kx, ky, kz)) if padding is None else padding
    x = jnp.pad(x, ((0, 0), padding[0], (0, 0), (0, 0), (0, 0)))
    n_batch, n_rows = x.shape[:2]
    n_slices = (n_rows - kx) // stride[0] + 1
    end = (n_slices - 1) * stride[0] + 1
    taps = [lax.slice_in_dim(x, tap, tap + end, stride[0], axis=1) for tap in range(kx)]
    stack = jnp.concatenate(taps, axis=-1)
    y = lax.conv_general_dilated(
        stack.reshape(n_batch * n_slices, *stack.shape[2:]),
        kernel.transpose(1, 2, 0, 3, 4).reshape(ky, kz, kx * n_in, n_out),
        stride[1:],
        padding[1:],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(n_batch, n_slices, *y.shape[1:])
