"""Order statistics on the host: gather the foreground, partition it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.rational import Level, allowed_misses, tolerance_terms


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
    numerators, denominators = tolerance_terms(tolerances)
    dtype = np.float64 if probs.dtype == np.float64 else np.float32
    out = np.full((len(probs), len(numerators)), np.inf, dtype)
    for i, (values, mask) in enumerate(zip(probs, labels, strict=True)):
        mask = mask if mask.dtype == bool else mask != 0
        if valid is not None:
            mask = mask & valid[i]
        foreground = values[mask].astype(dtype, copy=False)
        if foreground.size:
            order = allowed_misses(foreground.size, numerators, denominators)
            foreground.partition(sorted(set(order.tolist())))
            out[i] = foreground[order] + dtype(0)  # -0.0 counts as 0
    return out
