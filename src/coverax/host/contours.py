"""Distances between the surfaces of a mask and of its reference, voxel by voxel."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.spacing import Spacing
from coverax.host.components import bounding_box, check_masks
from coverax.host.distance import signed_distance

PERCENT = 95
# What distances in float32 are off by at most; so much beyond a tolerance is within it.
_ROUNDING_MM = 1e-4


class SurfaceDistances(NamedTuple):
    """How far each surface voxel is from the other surface, in mm.

    Without a surface on one side all of the other are infinitely far; without any there
    is nothing to measure, and every measure is NaN.

    Attributes:
        of_mask: One distance a surface voxel of the mask.
        of_reference: One a surface voxel of the reference.
    """

    of_mask: Float[np.ndarray, " voxels"]
    of_reference: Float[np.ndarray, " voxels"]

    @property
    def hd95(self) -> float:
        """The larger of the two 95th percentiles, interpolated linearly."""
        each = [d for d in self if d.size]
        if not each or any(np.isinf(d).any() for d in each):
            return np.inf if each else np.nan
        return max(_percentile(d) for d in each)

    @property
    def assd(self) -> float:
        """Mean over all voxels of both surfaces."""
        both = np.concatenate(self)
        return float(both.mean(dtype=np.float64)) if both.size else np.nan

    def within(self, tolerance_mm: float) -> float:
        """Share of both surfaces within a tolerance of the other: NSD."""
        both = np.concatenate(self)
        if not both.size:
            return np.nan
        return float((both <= tolerance_mm + _ROUNDING_MM).mean())


def _percentile(distances):
    """A description, interpolated as others of its name are: no threshold."""
    values = distances.astype(np.float64)
    return float(np.percentile(values, PERCENT))  # noqa: TID251


@takes_numpy
def surface_distances(
    mask: Bool[np.ndarray, "*spatial"],
    labels: Bool[np.ndarray, "*spatial"],
    spacing_mm: Spacing,
    *,
    valid: Bool[np.ndarray, "*spatial"] | None = None,
) -> SurfaceDistances:
    """Distances between the surfaces of a mask and of its reference.

    A surface voxel belongs to the mask and shares a face with one that does not, or with
    the rim of the image; along an axis of one voxel nothing has a rim. Distances are
    between centres of voxels, exact Euclidean, to 1e-4 mm.

    Args:
        mask: The mask.
        labels: The reference.
        spacing_mm: Edge lengths of a voxel, `[axes]`.
        valid: Voxels that count; the others belong to neither, and no surface lies
            against them.

    Raises:
        ValueError: A spacing is not positive and finite, or shapes do not fit.
    """
    check_masks(mask, labels, valid)
    counted = np.ones(mask.shape, bool) if valid is None else valid
    surfaces = [_surface(one & counted, counted) for one in (mask, labels)]
    box = bounding_box(surfaces[0] | surfaces[1])
    own, other = (surface[box] for surface in surfaces)
    return SurfaceDistances(
        _to(other, spacing_mm)[own],
        _to(own, spacing_mm)[other],
    )


def _surface(mask, counted):
    """Voxels of a mask with a face neighbour that counts and is not of it."""
    inside = mask | ~counted
    enclosed = mask.copy()
    axes = [axis for axis, n in enumerate(mask.shape) if n > 1]
    for axis in axes:
        lines, kept = np.moveaxis(inside, axis, 0), np.moveaxis(enclosed, axis, 0)
        kept[1:] &= lines[:-1]
        kept[:-1] &= lines[1:]
        kept[0] = kept[-1] = False
    return mask & ~enclosed if axes else mask


def _to(sites, spacing_mm):
    """Distance of every voxel to the nearest site, 0 on one."""
    if not sites.any():
        return np.full(sites.shape, np.inf, np.float32)
    return np.maximum(-signed_distance(sites[None], spacing_mm)[0], 0)
