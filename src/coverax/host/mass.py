"""Masses above cuts on the host, and the cut at which a map reaches a share of its mass."""

import math
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from jaxtyping import Float, Int

from coverax.checks import takes_numpy
from coverax.engine.mass import LIGHTEST, MASS_DIGITS, UNIT, least_above
from coverax.host.sums import to_digits

# Masses of so many voxels add up in int64, and lie in the cache.
_BLOCK = 1 << 16
# Values at which a map is divided, so that few voxels need be sorted.
_LEVELS = (0.5, 2.0**-3, 2.0**-6, 2.0**-12, float(LIGHTEST))


@takes_numpy
def mass_above(
    probs: Float[np.ndarray, "batch *spatial"],
    cuts: Float[np.ndarray, "batch cuts"],
) -> Int[np.ndarray, "batch masses digits"]:
    """Twin of `coverax.kernels.mass_above`: the same whole numbers."""
    found = [
        _above_each(values.reshape(-1), own)
        for values, own in zip(probs, np.asarray(cuts, np.float32), strict=True)
    ]
    return np.stack(to_digits(np.array(found, object), MASS_DIGITS), axis=-1)


@takes_numpy
def mass_cut(probs: Float[np.ndarray, "*shape"], share: float) -> float:
    """The cut of a map at which its mask has more than a share of its mass.

    It is the largest value c of the map with more than `share` of the sum of all
    probabilities in `{probs >= c}`; the mask is that. So it is small where the map is
    sure of itself, and large where it is not.

    Args:
        probs: A probability map, of all its voxels.
        share: Of its mass; a threshold of mass scores.

    Returns:
        `-inf`, the whole volume, from the share 1 on and where the map has no mass; `inf`,
        an empty mask, below 0.
    """
    if share < 0:
        return math.inf
    values = probs.reshape(-1)
    total = _mass(values)
    if share >= 1 or not total:
        return -math.inf
    needed = least_above(total, share)
    for level in _LEVELS:
        heavy = values[values >= np.float32(level)]
        if level == _LEVELS[-1] or _mass(heavy) >= needed:
            break
    return _value_at(np.sort(heavy)[::-1], needed)


def _value_at(heaviest: Float[np.ndarray, " voxels"], needed: int) -> float:
    """The value of the voxel with which a mass is reached, the largest values first."""
    upto = list(accumulate(int(masses.sum()) for masses in _masses_of(heaviest)))
    k = bisect_left(upto, needed)
    block = heaviest[k * _BLOCK : (k + 1) * _BLOCK]
    rest = needed - (upto[k - 1] if k else 0)
    return float(block[np.cumsum(_weights(block)).searchsorted(rest)])


def _mass(values: Float[np.ndarray, " voxels"]) -> int:
    return sum(int(masses.sum()) for masses in _masses_of(values))


def _masses_of(
    values: Float[np.ndarray, " voxels"],
) -> Iterator[Int[np.ndarray, " block"]]:
    """Masses of voxels, in blocks."""
    for start in range(0, values.size, _BLOCK):
        yield _weights(values[start : start + _BLOCK])


def _weights(values: Float[np.ndarray, " voxels"]) -> Int[np.ndarray, " voxels"]:
    return (np.maximum(values, 0) * UNIT).astype(np.int64)


def _above_each(
    values: Float[np.ndarray, " voxels"], cuts: Float[np.ndarray, " cuts"]
) -> list[int]:
    """Mass of all voxels, and of those above each cut."""
    totals = [0] * (1 + len(cuts))
    for k, masses in enumerate(_masses_of(values)):
        block = values[k * _BLOCK : (k + 1) * _BLOCK]
        totals[0] += int(masses.sum())
        for place, cut in enumerate(cuts, 1):
            totals[place] += int(masses.compress(block > cut).sum())
    return totals
