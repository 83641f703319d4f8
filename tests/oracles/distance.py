"""Distances by looking at every pair of voxels, float64."""

import numpy as np


def signed_distance(mask, spacing_mm, valid=None):
    """Signed distance of one case: nearest valid voxel of the other side."""
    valid = np.ones(mask.shape, bool) if valid is None else valid
    places = np.argwhere(np.ones(mask.shape, bool)) * np.asarray(spacing_mm, float)
    out = np.zeros(mask.size)
    for v, (inside, counts) in enumerate(zip(mask.ravel(), valid.ravel(), strict=True)):
        if counts:
            others = places[((mask != inside) & valid).ravel()]
            distance = np.inf
            if len(others):
                distance = np.sqrt(((others - places[v]) ** 2).sum(1)).min()
            out[v] = distance if inside else -distance
    return out.reshape(mask.shape)
