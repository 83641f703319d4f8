"""Between a file's grid and the net's: the same box of space, cut into other voxels.

The outer edges of both grids coincide, so a map that went there comes back onto the very
grid it left, and the voxel centre `i` of `n` lies at `(i + 1/2) m / n - 1/2` of `m`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Integer
from scipy import ndimage


def resampled_shape(
    shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]
) -> tuple[int, ...]:
    """Voxels that fill the same box at about the wanted spacing; at least one."""
    edges = zip(shape, spacing_mm, target_mm, strict=True)
    return tuple(max(1, round(n * have / want)) for n, have, want in edges)


def resample_image(
    image: Float[np.ndarray, "x y z channels"], shape: tuple[int, ...]
) -> Float[np.ndarray, "u v w channels"]:
    """An image on another grid, by cubic splines.

    Where voxels grow, a Gaussian of half the excess (in old voxels) goes before: what
    the new grid cannot show would come back as false structure.
    """
    old = image.shape[:3]
    if old == shape:
        return image
    sigma = [max(0.0, (n / m - 1) / 2) for n, m in zip(old, shape, strict=True)]
    channels = [
        _interpolated(
            ndimage.gaussian_filter(channel, sigma, mode="nearest"), shape, order=3
        )
        for channel in np.moveaxis(image, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def resample_labels(
    labels: Integer[np.ndarray, "x y z"], shape: tuple[int, ...], n_classes: int
) -> Integer[np.ndarray, "u v w"]:
    """Labels on another grid: each class interpolated linearly, the largest wins.

    Of classes that tie the first wins; ignored voxels, -1, come last.
    """
    if labels.shape == shape:
        return labels
    best = np.full(shape, -1.0, np.float32)
    out = np.zeros(shape, labels.dtype)
    for index in (*range(n_classes), *([-1] if (labels < 0).any() else [])):
        share = _interpolated((labels == index).astype(np.float32), shape, order=1)
        better = share > best
        out[better], best[better] = index, share[better]
    return out


def resample_probs(
    probs: Float[np.ndarray, "x y z classes"], shape: tuple[int, ...]
) -> Float[np.ndarray, "u v w classes"]:
    """A softmax on another grid: still in [0, 1], still summing to 1.

    Probabilities are interpolated, not logits, and linearly: every new voxel is a
    weighted mean of softmaxes with the same weights for all classes. That keeps what a
    mean keeps (range and sum), which splines do not; the softmax of a mean logit would
    sum to 1 too, but there one sure voxel outweighs its doubtful neighbours.
    """
    if probs.shape[:3] == shape:
        return probs
    out = np.empty((*shape, probs.shape[-1]), np.float32)
    for index in range(probs.shape[-1]):
        out[..., index] = _interpolated(probs[..., index], shape, order=1)
    return out


def _interpolated(
    values: Float[np.ndarray, "x y z"], shape: tuple[int, ...], *, order: int
) -> Float[np.ndarray, "u v w"]:
    """One channel at the voxel centres of the other grid; constant beyond the outer ones."""
    ratio = np.array(values.shape, np.float64) / np.array(shape, np.float64)
    return ndimage.affine_transform(
        values,
        ratio,  # a diagonal: weights are computed once an axis
        offset=(ratio - 1) / 2,  # pyright: ignore[reportArgumentType] (one an axis)
        output_shape=shape,
        output=np.float32,
        order=order,
        mode="nearest",
    )
