"""A whole volume through a net of patches: overlapping windows, blended."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, islice, product
from typing import Any

import numpy as np
from jaxtyping import Float

# Deviation of the Gaussian weight in sides of the window: the border, which has seen
# least of its surroundings, counts about e^-8 times as much as the middle an axis.
_SIGMA = 1 / 8

Apply = Callable[[np.ndarray], Any]
Corner = tuple[int, int, int]


def predict_volume(
    apply: Apply,
    image: Float[np.ndarray, "x y z channels"],
    patch: Sequence[int],
    n_classes: int,
    *,
    overlap: float = 0.5,
    batch: int = 1,
    flips: Sequence[int] = (),
) -> Float[np.ndarray, "x y z classes"]:
    """Softmax of a volume: the weighted mean of the softmaxes of its windows.

    The mean is divided by the sum over classes, which is the sum of the weights since
    each softmax sums to 1. So every value lies in [0, 1] to the last bit, and a voxel
    seen by one window keeps what that said.

    Args:
        apply: Patches `[batch, *patch, channels]` to softmaxes `[batch, *patch, classes]`.
        image: The volume; where it is smaller than the patch its border is repeated.
        patch: Sides of a window.
        n_classes: Classes of the softmax.
        overlap: Share of a window that the next one sees again, in [0, 1).
        batch: Windows at a time; the last batch is filled up, so one shape is compiled.
        flips: Axes to mirror; the mean runs over all combinations of them.

    Raises:
        ValueError: The overlap lies outside [0, 1), or an axis to flip is none.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap must lie in [0, 1), got {overlap}")
    if not set(flips) <= {0, 1, 2}:
        raise ValueError(f"flips takes axes 0, 1 and 2, got {tuple(flips)}")
    whole = padded(image, patch)
    weight = window_weight(patch)[..., None]
    total = np.zeros((*whole.shape[:3], n_classes), np.float32)
    jobs = product(window_corners(whole.shape[:3], patch, overlap), _subsets(flips))
    for chunk in _chunks(jobs, batch):
        filled = chunk + [chunk[-1]] * (batch - len(chunk))
        patches = np.stack(
            [np.flip(whole[_box(corner, patch)], axes) for corner, axes in filled]
        )
        probs = np.asarray(apply(patches), np.float32)
        for (corner, axes), one in zip(chunk, probs, strict=False):
            total[_box(corner, patch)] += weight * np.flip(one, axes)
    x, y, z, _ = image.shape
    total = total[:x, :y, :z]
    total /= total.sum(axis=-1, keepdims=True)
    return total


def window_corners(
    shape: Sequence[int], patch: Sequence[int], overlap: float
) -> list[Corner]:
    """First voxels of the windows, evenly spread; the last one ends with the volume."""
    axes = []
    for n, side in zip(shape, patch, strict=True):
        step = max(1, int(side * (1 - overlap)))
        count = -(-max(0, n - side) // step) + 1
        axes.append(np.rint(np.linspace(0, n - side, count)).astype(int).tolist())
    return list(product(*axes))


def window_weight(patch: Sequence[int]) -> Float[np.ndarray, "x y z"]:
    """Gaussian weight of a window's voxels, 1 in the middle, nowhere 0."""
    x, y, z = (
        np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (_SIGMA * n)) ** 2) for n in patch
    )
    return (x[:, None, None] * y[None, :, None] * z[None, None, :]).astype(np.float32)


def padded(values: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """A volume grown at the far ends to at least a size, its last voxels repeated.

    Image and labels grow alike, so that what is seen and what is asked for agree.
    """
    grow = [(0, max(0, n - have)) for n, have in zip(size, values.shape, strict=False)]
    grow += [(0, 0)] * (values.ndim - len(grow))
    return np.pad(values, grow, mode="edge") if any(g for _, g in grow) else values


def _box(corner: Corner, patch: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(c, c + n) for c, n in zip(corner, patch, strict=True))


def _subsets(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every combination of axes, none of them included."""
    names = sorted(set(axes))
    return list(
        chain.from_iterable(combinations(names, n) for n in range(len(names) + 1))
    )


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(islice(items, size)):
        yield chunk
