"""Voxel spacing, checked once: a distance in millimetres never rests on a guess."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

Spacing = Sequence[float] | Float[np.ndarray, " axes"] | Float[np.ndarray, "batch axes"]


def batched_spacing(
    spacing_mm: Spacing, shape: tuple[int, ...]
) -> Float[np.ndarray, "batch axes"]:
    """Spacing of every case of an array `[batch, *spatial]`, float32.

    Raises:
        ValueError: It is not positive and finite, or does not fit the shape.
    """
    spacing = np.asarray(spacing_mm, np.float32)
    if not (np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ValueError(
            f"spacing_mm must be positive and finite, got {spacing.tolist()}"
        )
    wanted = (shape[0], len(shape) - 1)
    if spacing.shape not in (wanted, (1, wanted[1]), wanted[1:]):
        raise ValueError(
            f"spacing_mm has shape {spacing.shape}, expected {wanted[1:]} or {wanted}"
        )
    return np.broadcast_to(spacing, wanted)
