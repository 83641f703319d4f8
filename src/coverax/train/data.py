"""Patches for training: batch number in, batch out, the same whoever asks and when.

A batch is a pure function of the seed and its number, so a resumed run needs no iterator
state, and workers may compute batches in any order.
"""

from collections.abc import Sequence

import grain
import numpy as np
from jaxtyping import Integer

from coverax.train.cases import Prepared
from coverax.train.config import PatchConfig
from coverax.train.windows import padded

# Foreground voxels of a class that are kept as possible centres of patches.
_MAX_CENTRES = 10_000
# Uses of a seed; each gives an independent stream.
_ORDER, _PATCH, _CENTRES = range(3)

Batch = dict[str, np.ndarray]


def train_batches(
    prepared: Sequence[Prepared], patch: PatchConfig, seed: int
) -> "grain.MapDataset[Batch]":
    """Batches by number: `batches[step]` has `image` and `label`.

    Every case gives one patch before any gives a second one; the order is drawn anew for
    each such round. `patch.foreground` of the patches are centred on a voxel of the
    reference: a class is drawn among those the case has (no background), then one of its
    voxels. The others, and those of cases without foreground, lie anywhere.

    Args:
        prepared: The cases, all with references.
        patch: Sizes and shares.
        seed: Seed of every draw.

    Returns:
        A dataset of `{"image": [batch, x, y, z, channels] float32, "label": [batch, x,
        y, z] int32}`; `batches.to_iter_dataset()` computes ahead in threads.

    Raises:
        ValueError: There is no case, a case has no reference or another number of
            channels, or no case has foreground.
    """
    _check(prepared)
    centres = [_centres(case, seed) for case in prepared]

    def make_batch(step: int) -> Batch:
        first = step * patch.batch
        pairs = [
            _patch(prepared, centres, patch, seed, number)
            for number in range(first, first + patch.batch)
        ]
        images, labels = zip(*pairs, strict=True)
        return {"image": np.stack(images), "label": np.stack(labels)}

    return grain.MapDataset.range(np.iinfo(np.int64).max // patch.batch).map(make_batch)


def _check(prepared: Sequence[Prepared]) -> None:
    if not prepared:
        raise ValueError("there is no case to train on")
    n_channels = prepared[0].image.shape[-1]
    for case in prepared:
        if case.labels is None:
            raise ValueError(f"case {case.case_id} has no reference to train on")
        if case.image.shape[-1] != n_channels:
            raise ValueError(
                f"the image of case {case.case_id} has {case.image.shape[-1]} channels, "
                f"that of case {prepared[0].case_id} {n_channels}"
            )
    if not any(case.has_foreground for case in prepared):
        raise ValueError(f"none of {len(prepared)} cases has foreground to train on")


def _centres(case: Prepared, seed: int) -> list[Integer[np.ndarray, " voxels"]]:
    """Flat indices of voxels of each class the case has, but for the background."""
    labels = _labels(case).reshape(-1)
    foreground = np.flatnonzero(labels > 0)
    found = labels[foreground]
    rng = np.random.default_rng([seed, _CENTRES])
    out = []
    for index in np.unique(found):
        voxels = foreground[found == index]
        if voxels.size > _MAX_CENTRES:
            voxels = rng.choice(voxels, _MAX_CENTRES, replace=False)
        out.append(voxels)
    return out


def _patch(
    prepared: Sequence[Prepared],
    centres: list[list[np.ndarray]],
    patch: PatchConfig,
    seed: int,
    number: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Patch `number` of the run: image and labels."""
    turn, place = divmod(number, len(prepared))
    order = np.random.default_rng([seed, _ORDER, turn]).permutation(len(prepared))
    case, voxels = prepared[order[place]], centres[order[place]]
    rng = np.random.default_rng([seed, _PATCH, number])
    shape, size = case.image.shape[:3], patch.size
    room = np.maximum(0, np.subtract(shape, size))
    corner = rng.integers(0, room + 1)
    if rng.random() < patch.foreground and voxels:
        centre = rng.choice(voxels[rng.integers(len(voxels))])
        at = np.unravel_index(centre, shape)
        corner = np.clip(np.subtract(at, np.floor_divide(size, 2)), 0, room)
    box = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
    image, labels = padded(case.image[box], size), padded(_labels(case)[box], size)
    return image.astype(np.float32, copy=False), labels.astype(np.int32)


def _labels(case: Prepared) -> Integer[np.ndarray, "x y z"]:
    if case.labels is None:
        raise ValueError(f"case {case.case_id} has no reference to train on")
    return case.labels
