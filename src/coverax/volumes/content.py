"""What the values of a map say of where it came from.

A fingerprint tells that two files hold one map. The gap above 0 tells a hard mask
(nothing between 0 and 1), and a map that was cut before it was saved.
"""

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from coverax.provenance import kind_of_values

# A value below this leaves no gap above 0.
LEAST_GAP = 2.0**-7
_BLOCK = 1 << 15  # values at a time, where a look may end early
_INFINITE = 0x7F800000
# A sum that ends in this many zero bits: the values are multiples of a power of 2.
_POOR = 0xFF


class MapContent(NamedTuple):
    """Facts of one map.

    Attributes:
        fingerprint: 64 bits of its values and their places, whatever the order of axes;
            0 for a constant map, which is nobody's own.
        gap_above_zero: Smallest positive value; 0 where one is below `LEAST_GAP`, and
            infinite where none is positive.
    """

    fingerprint: int
    gap_above_zero: float


def map_content(
    probs: Float[np.ndarray, " voxels"], shape: tuple[int, ...]
) -> MapContent:
    """Facts of a map, from its bits.

    The fingerprint is `sum(v[i, j, k] * w[i] * w[j] * w[k])` modulo 2^32 over the bits
    `v` of the map, for odd weights `w`, beside another such sum over its middle. It is
    the same for a file and for an array of it, in C or Fortran order, on any engine.

    Args:
        probs: float32 values in C order of `shape`.
        shape: Lengths of the axes, the fastest one last.
    """
    bits = probs.view(np.uint32)
    gap = _gap_above_zero(bits)
    if _is_constant(bits):
        return MapContent(0, gap)
    box = bits.reshape(shape)
    middle = box[tuple(slice(n // 4, n - n // 4) for n in shape)]
    whole = _weighted_sum(box, 0)
    if not whole & _POOR:
        whole = _weighted_sum(_mixed(box), 0)
    return MapContent(whole << 32 | _weighted_sum(_mixed(middle), 1) or 1, gap)


def map_values(probs: Float[np.ndarray, " voxels"]) -> str:
    """What a map holds, as `kind_of_values` says: a glance, where no fingerprint is asked.

    Args:
        probs: float32 values, contiguous.
    """
    bits = probs.view(np.uint32)
    return kind_of_values(int(not _is_constant(bits)), _gap_above_zero(bits))


def _gap_above_zero(bits: np.ndarray) -> float:
    lowest = _INFINITE
    least = int(np.float32(LEAST_GAP).view(np.uint32))
    for start in range(0, bits.size, _BLOCK):
        # One less: 0 becomes the largest of all, so the least is the least above 0.
        block = bits[start : start + _BLOCK] - np.uint32(1)
        lowest = min(lowest, int(block.min()) + 1)
        if lowest < least:
            return 0.0
    return math.inf if lowest >= _INFINITE else float(np.uint32(lowest).view("f4"))


def _is_constant(bits: np.ndarray) -> bool:
    starts = range(0, bits.size, _BLOCK)
    return all((bits[s : s + _BLOCK] == bits[0]).all() for s in starts)


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The high bits on the low ones: those of 0.5 and 1 are all high."""
    out = bits >> np.uint32(16)
    return np.bitwise_xor(out, bits, out=out)


def _weighted_sum(bits: np.ndarray, sequence: int) -> int:
    rest = bits
    while rest.ndim:
        rest = np.einsum("...x,x->...", rest, _weights(rest.shape[-1], sequence))
    return int(rest)


@functools.lru_cache(maxsize=64)
def _weights(n: int, sequence: int) -> np.ndarray:
    """Odd numbers that look random; the first is 1, so that an axis of 1 is no axis."""
    mixed = np.arange(n, dtype=np.uint64) + np.uint64(sequence << 40)
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out = (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
    out[0] = 1
    return out
