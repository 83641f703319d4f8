"""Voxel counts on the host; twins of `coverax.kernels.overlap`."""

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.results import Overlap, Sizes


@takes_numpy
def sizes(
    labels: Bool[np.ndarray, "batch voxels"],
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Sizes:
    """Count the voxels and the foreground voxels of each case."""
    counted = labels if valid is None else labels & valid
    n_voxels = [labels[0].size] * len(labels) if valid is None else _counts(valid)
    return Sizes(np.array(n_voxels, np.int64), np.array(_counts(counted), np.int64))


@takes_numpy
def overlap_counts(
    probs: Float[np.ndarray, "batch voxels"],
    labels: Bool[np.ndarray, "batch voxels"],
    cuts: Float[np.ndarray, "batch cuts"],
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= cut}` and its foreground for each case and each of its cuts."""
    cuts = np.asarray(cuts, np.float32)
    counts = np.zeros((2, *cuts.shape), np.int64)
    for i, (values, truth) in enumerate(zip(probs, labels, strict=True)):
        for k, cut in enumerate(cuts[i]):
            mask = values >= cut
            if valid is not None:
                mask &= valid[i]
            counts[0, i, k] = np.count_nonzero(mask)
            counts[1, i, k] = np.count_nonzero(mask & truth)
    return Overlap(counts[0], counts[1])


def _counts(masks):
    return [np.count_nonzero(mask) for mask in masks]
