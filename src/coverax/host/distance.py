"""Exact Euclidean distance transforms on the host, by the edt package."""

import edt
import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.spacing import Spacing, batched_spacing


@takes_numpy
def signed_distance(
    mask: Bool[np.ndarray, "batch *spatial"],
    spacing_mm: Spacing,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
    threads: int = 1,
) -> Float[np.ndarray, "batch *spatial"]:
    """Twin of `coverax.kernels.signed_distance`, equal to 1e-4 mm.

    `threads` of one transform; 1 where cases already run side by side.
    """
    spacing = batched_spacing(spacing_mm, mask.shape)
    if valid is not None and valid.shape != mask.shape:
        raise ValueError(f"valid has shape {valid.shape}, mask has {mask.shape}")
    out = np.empty(mask.shape, np.float32)
    for i, one in enumerate(mask):
        counted = None if valid is None else valid[i]
        out[i] = _signed_distance(one, tuple(spacing[i].tolist()), counted, threads)
    return out


def _signed_distance(mask, spacing_mm, valid, threads):
    if valid is None:
        # The distance to the nearest voxel of another label is one transform for both
        # sides.
        labels = np.where(mask, np.uint8(1), np.uint8(2))
        distance = _edt(labels, spacing_mm, threads)
        return np.where(mask, distance, -distance)
    inside = _edt(~(valid & ~mask), spacing_mm, threads)
    outside = _edt(~(valid & mask), spacing_mm, threads)
    return np.where(valid, np.where(mask, inside, -outside), np.float32(0))


def _edt(labels, spacing_mm, threads):
    """Distance of each voxel to the nearest one of another label or of label 0."""
    return edt.edt(
        np.ascontiguousarray(labels), anisotropy=spacing_mm, parallel=threads
    )
