"""Distance to the surface where a map crosses a cut, in NumPy."""

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.spacing import Spacing, batched_spacing


@takes_numpy
def surface_distance(
    probs: Float[np.ndarray, "batch *spatial"],
    cut: float,
    spacing_mm: Spacing,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> Float[np.ndarray, "batch *spatial"]:
    """Twin of `coverax.kernels.surface_distance`, equal to 1e-4 mm."""
    spacing = batched_spacing(spacing_mm, probs.shape)
    level = np.float32(cut)
    out = np.empty(probs.shape, np.float32)
    for i, values in enumerate(probs):
        counted = None if valid is None else valid[i]
        distance = _distance(values, level, spacing[i], counted)
        signed = np.where(values >= level, distance, -distance)
        out[i] = signed if counted is None else np.where(counted, signed, 0)
    return out


def _distance(values, level, spacing_mm, counted):
    least = np.full(values.shape, np.inf, np.float32)
    for direction in range(values.ndim):
        steps = _steps_to_crossing(values, level, counted, direction)
        squared = (steps * spacing_mm[direction]) ** 2
        for axis in range(values.ndim):
            if axis != direction:
                squared = _lower_envelope(squared, spacing_mm[axis], axis)
        np.minimum(least, squared, out=least)
    return np.sqrt(least)


def _steps_to_crossing(values, level, counted, axis):
    """Voxels to the nearest crossing along one axis, `inf` where there is none."""
    lines = np.moveaxis(values, axis, 0)
    n = len(lines)
    inside = lines >= level
    crosses = inside[:-1] != inside[1:]
    if counted is not None:
        seen = np.moveaxis(counted, axis, 0)
        crosses &= seen[:-1] & seen[1:]
    index = np.arange(n, dtype=np.float32).reshape(-1, *[1] * (values.ndim - 1))
    rise = np.where(crosses, lines[1:] - lines[:-1], np.float32(1))
    position = index[:-1] + (level - lines[:-1]) / rise
    last = np.full(lines.shape, -np.inf, np.float32)
    last[1:][crosses] = position[crosses]
    following = np.full(lines.shape, np.inf, np.float32)
    following[:-1][crosses] = position[crosses]
    last = np.maximum.accumulate(last, axis=0)
    following = np.minimum.accumulate(following[::-1], axis=0)[::-1]
    return np.moveaxis(np.minimum(index - last, following - index), 0, axis)


def _lower_envelope(squared, spacing_mm, axis):
    """Lower envelope along an axis of the parabolas that rise from `squared`."""
    lines = np.ascontiguousarray(np.moveaxis(squared, axis, 0))
    n = len(lines)
    sources = np.flatnonzero(np.isfinite(lines.reshape(n, -1)).any(axis=1))
    envelope, raised = lines.copy(), np.empty_like(lines)
    index = np.arange(n, dtype=np.float32).reshape(-1, *[1] * (squared.ndim - 1))
    for j in sources:
        np.add(lines[j], ((index - np.float32(j)) * spacing_mm) ** 2, out=raised)
        np.minimum(envelope, raised, out=envelope)
    return np.moveaxis(envelope, 0, axis)
