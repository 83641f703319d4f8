"""Surfaces and their distances by looking at every voxel and every pair, float64."""

import itertools

import numpy as np


def surface_of(mask, valid):
    """Places of counted voxels of a mask beside a counted voxel off it, or the rim."""
    steps = [
        step
        for axis in range(mask.ndim)
        if mask.shape[axis] > 1
        for step in (_step(mask.ndim, axis, 1), _step(mask.ndim, axis, -1))
    ]
    found = []
    for voxel in itertools.product(*map(range, mask.shape)):
        if not (mask[voxel] and valid[voxel]):
            continue
        beside = [
            tuple(a + b for a, b in zip(voxel, step, strict=True)) for step in steps
        ]
        if not steps or any(_is_off(mask, valid, other) for other in beside):
            found.append(voxel)
    return np.array(found, float).reshape(-1, mask.ndim)


def surface_distances(mask, labels, spacing_mm, valid=None):
    """Distances from each surface to the other, as two lists."""
    valid = np.ones(mask.shape, bool) if valid is None else valid
    one, other = (surface_of(m, valid) * np.asarray(spacing_mm) for m in (mask, labels))
    squared = ((one[:, None] - other[None]) ** 2).sum(-1)
    return (
        np.sqrt(squared.min(1, initial=np.inf)),
        np.sqrt(squared.min(0, initial=np.inf)),
    )


def _step(n, axis, by):
    return tuple(by if a == axis else 0 for a in range(n))


def _is_off(mask, valid, voxel):
    if any(not 0 <= i < n for i, n in zip(voxel, mask.shape, strict=True)):
        return True
    return bool(valid[voxel] and not mask[voxel])
