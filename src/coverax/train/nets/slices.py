"""A 3-D convolution as one 2-D convolution of slices, for CPUs.

The compiler's 2-D convolution is tuned on a CPU, its gradients too; the 3-D one is not.
Accelerators have both.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from coverax.train.nets.kit import Axes, Maps, NewMaps

_NARROW, _PACKED = 4, 4  # channels of a narrow layer; voxels that become channels
Sides = tuple[tuple[int, int], ...]


def slices_are_faster(kernel: Axes) -> bool:
    """Whether slices beat the compiler's convolution: on a CPU, at every size.

    Measured by benchmarks/train.py, for 1 to 64 channels and maps of 8 to 64 voxels.

    Args:
        kernel: Shape of the kernel, with its channels.
    """
    return jax.default_backend() == "cpu" and len(kernel) == 5


def packing_is_faster(x_shape: Axes, kernel: Axes, stride: Axes) -> bool:
    """Whether `convolve_packed` beats slices: on few channels, which fill no registers.

    Measured by benchmarks/train_cpu.py; 8 channels lose.

    Args:
        x_shape: Of the maps, with batch and channels.
        kernel: Of the kernel, with its channels.
        stride: Of the layer.
    """
    return (
        max(kernel[-2:]) <= _NARROW
        and set(stride) == {1}
        and kernel[2] % 2 == 1
        and x_shape[3] % _PACKED == 0
    )


@jax.custom_vjp
def convolve_packed(x: Maps, kernel: Array) -> NewMaps:
    """`convolve_slices` of step 1, where voxels along z become channels.

    The kernel of a block of voxels is a band: voxel i of a block d blocks on is read by
    voxel j through tap `d * block + i - j + pad`. There are more products, most of them
    by zeros, and they are done several at a time.
    """
    kx, ky, kz, n_in, n_out = kernel.shape
    pad = (kz - 1) // 2
    reach = -(-pad // _PACKED)  # blocks on each side
    block, inner = np.arange(-reach, reach + 1), np.arange(_PACKED)
    taps = block[:, None, None] * _PACKED + inner[:, None] - inner + pad
    # A product with 0 and 1 picks the taps: the gradient of an index would be a scatter.
    picks = jnp.asarray(taps == np.arange(kz)[:, None, None, None], kernel.dtype)
    wide = jnp.einsum("xytio,tdab->xydaibo", kernel, picks).reshape(
        kx, ky, block.size, _PACKED * n_in, _PACKED * n_out
    )
    n_batch, *sizes, _ = x.shape
    packed = x.reshape(n_batch, *sizes[:2], sizes[2] // _PACKED, _PACKED * n_in)
    y = convolve_slices(packed, wide, (1, 1, 1))
    return y.reshape(n_batch, *y.shape[1:3], sizes[2], n_out)


def _packed_and_inputs(x: Maps, kernel: Array) -> tuple[NewMaps, tuple[Maps, Array]]:
    return convolve_packed(x, kernel), (x, kernel)


def _gradients_of_slices(inputs: tuple[Maps, Array], slope: NewMaps) -> tuple:
    """Those of the same sums by slices: a band's gradient has the zeros too."""
    return jax.vjp(partial(convolve_slices, stride=(1, 1, 1)), *inputs)[1](slope)


convolve_packed.defvjp(_packed_and_inputs, _gradients_of_slices)


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
