"""Weights of windows along one axis."""

import math
from itertools import pairwise

THIRDS = (1 / 3, 1 / 3, 1 / 3)


def gaussian_weights(sigma: float) -> tuple[float, float, float]:
    """Three samples of a Gaussian of a width in voxels, summing to 1."""
    side = math.exp(-0.5 / sigma**2)
    centre = 1 / (1 + 2 * side)
    return (side * centre, centre, side * centre)


def _wide_weights():
    ends = [math.erf((k - 4.5) / math.sqrt(2)) for k in range(10)]
    return tuple((b - a) / (ends[-1] - ends[0]) for a, b in pairwise(ends))


# A Gaussian of one voxel's width over nine voxels: its mass in each of them.
WIDE = _wide_weights()
