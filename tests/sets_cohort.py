"""A small cohort of blurred blobs for confidence sets: maps, references, spacings."""

import numpy as np
from scipy.ndimage import gaussian_filter

TRANSFORMS = (
    "identity",
    "logit",
    "smooth:fwhm=3",
    "max_smooth:fwhm=3",
    "distance",
    "surface",
    "relative_distance",
    "boxes",
)


def blobs(n, seed, shape=(9, 11, 8), noise=0.6):
    """Maps and references that agree but for noise at the border."""
    rng = np.random.default_rng(seed)
    probs, labels = [], []
    for _ in range(n):
        field = 6 * gaussian_filter(rng.standard_normal(shape), 2)
        truth = field + noise * gaussian_filter(rng.standard_normal(shape), 1) > 0.3
        probs.append((1 / (1 + np.exp(-2 * field + 0.6))).astype(np.float32))
        labels.append(truth)
    return np.stack(probs), np.stack(labels)


def both_sides(names):
    """Each transform for either side."""
    return [f"{side}={name}" for side in ("inner", "outer") for name in names]
