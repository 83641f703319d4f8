"""Linear interpolation onto a grid of the same box, voxel by voxel."""

import itertools
import math

import numpy as np


def linear(values, shape):
    """`values` at the voxel centres of a grid of `shape` over the same box."""
    out = np.zeros(shape, np.float64)
    for index in np.ndindex(*shape):
        at = [
            min(max((i + 0.5) * n / m - 0.5, 0.0), n - 1.0)
            for i, n, m in zip(index, values.shape, shape, strict=True)
        ]
        low = [math.floor(a) for a in at]
        for corner in itertools.product((0, 1), repeat=3):
            weight, where = 1.0, []
            for a, b, c, n in zip(at, low, corner, values.shape, strict=True):
                weight *= (a - b) if c else 1 - (a - b)
                where.append(min(b + c, n - 1))
            out[index] += weight * values[tuple(where)]
    return out
