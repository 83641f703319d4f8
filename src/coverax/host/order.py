"""Order statistics on the host: gather the foreground, partition it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.host.parts import case_parts
from coverax.rational import Level, allowed_misses, tolerance_terms

_MANY = 1 << 14  # foreground voxels from which counting beats partitioning


def critical_probability(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    tolerances: Sequence[Level] | np.ndarray,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> Float[np.ndarray, "batch tolerances"]:
    """Twin of `coverax.kernels.critical_probability`: the same bits.

    Lesions are a small share of the voxels, so only the foreground is looked at.
    """
    terms = tolerance_terms(tolerances)
    cuts = [case_cuts(p.foreground, *terms) for p in case_parts(probs, labels, valid)]
    dtype = np.float64 if probs.dtype == np.float64 else np.float32
    return np.array(cuts, dtype).reshape(len(probs), len(terms[0]))


def case_cuts(
    foreground: Float[np.ndarray, " foreground"],
    numerators: Int[np.ndarray, " tolerances"],
    denominators: Int[np.ndarray, " tolerances"],
) -> Float[np.ndarray, " tolerances"]:
    """Critical probabilities of one case; may reorder the foreground's values."""
    dtype = np.float64 if foreground.dtype == np.float64 else np.float32
    if not foreground.size:
        return np.full(len(numerators), np.inf, dtype)
    order = allowed_misses(foreground.size, numerators, denominators)
    values = foreground.astype(dtype, copy=False)
    return _elements(values, order) + dtype(0)  # -0.0 counts as 0


def _elements(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The values that sorting would put at the places `order`; may reorder `values`."""
    if values.size < _MANY or values.dtype != np.float32 or values.min() < 0:
        values.partition(np.unique(order))
        return values[order]
    # Bits of non-negative floats sort as integers: count them in 2**12 bins, then look
    # only into the bins that hold a wanted place. Four times faster than partition.
    keys = (values + np.float32(0)).view(np.uint32)
    low, high = int(keys.min()), int(keys.max())
    bins = (keys - np.uint32(low)) >> np.uint32(max(0, (high - low).bit_length() - 12))
    ends = np.cumsum(np.bincount(bins))
    wanted = np.searchsorted(ends, order, side="right")
    out = np.empty(order.shape, values.dtype)
    for chosen in np.unique(wanted):
        members = values[bins == chosen]
        here = wanted == chosen
        places = order[here] - (ends[chosen] - members.size)
        members.partition(np.unique(places))
        out[here] = members[places]
    return out
