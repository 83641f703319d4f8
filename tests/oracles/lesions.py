"""Lesions by flood fill, nothing shared with the package."""

import itertools

import numpy as np

STEPS = {"face": 1, "edge": 2, "corner": 3}


def lesions_of(mask, neighbours):
    """Lists of voxels; two belong together where few enough coordinates differ."""
    steps = [
        step
        for step in itertools.product((-1, 0, 1), repeat=mask.ndim)
        if 0 < np.abs(step).sum() <= STEPS[neighbours]
    ]
    left = {tuple(v) for v in np.argwhere(mask).tolist()}
    lesions = []
    while left:
        front, lesion = [left.pop()], []
        while front:
            voxel = front.pop()
            lesion.append(voxel)
            for step in steps:
                other = tuple(a + b for a, b in zip(voxel, step, strict=True))
                if other in left:
                    left.remove(other)
                    front.append(other)
        lesions.append(lesion)
    return lesions


def missed_share(probs, mask, cut, neighbours):
    """Share of lesions without a voxel of `{probs >= cut}`; 0 without lesions."""
    lesions = lesions_of(mask, neighbours)
    missed = [all(probs[v] < cut for v in lesion) for lesion in lesions]
    return sum(missed) / len(missed) if missed else 0.0
