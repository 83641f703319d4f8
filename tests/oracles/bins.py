"""Bins by their definition: edges compared one by one, float64 sums, loops."""

import math

import numpy as np


def bin_of(p, n_bins):
    """Right-inclusive bin of one float32 value: the number of inner edges below it."""
    p = np.float32(p)
    return sum(p > np.float32(k / n_bins) for k in range(1, n_bins))


def hard(probs, labels, n_bins):
    """count, sum_p, sum_y, sum_py of one case."""
    edges = np.array([np.float32(k / n_bins) for k in range(1, n_bins)], np.float32)
    p = np.ravel(probs).astype(np.float32)
    y = np.ravel(labels) != 0
    k = np.searchsorted(edges, p, side="left")
    out = []
    for b in range(n_bins):
        mine = k == b
        out.append(
            (
                int(mine.sum()),
                math.fsum(p[mine].tolist()),
                int(y[mine].sum()),
                math.fsum(p[mine & y].tolist()),
            )
        )
    return tuple(np.array(column) for column in zip(*out, strict=True))


def soft(probs, labels, n_bins):
    """weight, sum_p, sum_y of one case from triangular weights, voxel by voxel."""
    weight, sum_p, sum_y = np.zeros((3, n_bins))
    for p, y in zip(np.ravel(probs).tolist(), np.ravel(labels).tolist(), strict=True):
        for k in range(n_bins):
            centre = (k + 0.5) / n_bins
            w = max(0.0, 1 - abs(p - centre) * n_bins)
            if (k == 0 and p < centre) or (k == n_bins - 1 and p > centre):
                w = 1.0
            weight[k] += w
            sum_p[k] += w * p
            sum_y[k] += w * (y != 0)
    return weight, sum_p, sum_y


def soft_closed(probs, labels, n_bins):
    """The same, vectorised, for larger arrays."""
    p, y = np.ravel(probs).astype(np.float64), np.ravel(labels) != 0
    u = np.clip(p * n_bins - 0.5, 0, n_bins - 1)
    k = np.floor(u).astype(int)
    t = u - k
    out = np.zeros((3, n_bins + 1))
    for index, w in ((k, 1 - t), (k + 1, t)):
        for row, part in enumerate((w, w * p, w * y)):
            np.add.at(out[row], index, part)
    return tuple(out[:, :n_bins])
