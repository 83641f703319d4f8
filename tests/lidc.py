"""Nodules outlined by four radiologists, with maps simulated from their mean."""

import numpy as np
from scipy.ndimage import gaussian_filter

RATERS = ("r0", "r1", "r2", "r3")


def read_nodules(shared_data, n, *, most_voxels=30_000):
    """The first n nodules of moderate size: masks `[raters, *spatial]`, patient, spacing."""
    out = []
    with np.load(shared_data / "lidc_4rater_nodules.npz", allow_pickle=False) as file:
        bits, offsets, shapes = file["bits"], file["offsets"], file["shapes"]
        patients, spacing = file["patient"], file["spacing_mm"]
    for i, shape in enumerate(shapes.astype(int)):
        if np.prod(shape) <= most_voxels and len(out) < n:
            own = bits[offsets[i] : offsets[i + 1]][: np.prod(shape)].reshape(shape)
            masks = np.stack([own >> r & 1 for r in range(len(RATERS))]).astype(bool)
            out.append((masks, str(patients[i]), spacing[i].tolist()))
    return out


def map_of(masks, rng):
    """A soft map that no radiologist agrees with entirely."""
    soft = gaussian_filter(masks.mean(0), 0.8) * 6 - 3 + rng.normal(0, 0.7)
    noise = gaussian_filter(rng.standard_normal(soft.shape), 0.7)
    return (1 / (1 + np.exp(-soft - 2 * noise))).astype(np.float32)


def rows_of(nodules, seed=0):
    """Arguments of `score_arrays`: one row a nodule and rater."""
    rng = np.random.default_rng(seed)
    maps = [map_of(masks, rng) for masks, _, _ in nodules]
    each = [(i, r) for i in range(len(nodules)) for r in range(len(RATERS))]
    return {
        "probs": [maps[i] for i, _ in each],
        "labels": [nodules[i][0][r] for i, r in each],
        "case_ids": [f"n{i:03d}" for i, _ in each],
        "units": [nodules[i][1] for i, _ in each],
        "raters": [RATERS[r] for _, r in each],
        "spacing_mm": [nodules[i][2] for i, _ in each],
    }
