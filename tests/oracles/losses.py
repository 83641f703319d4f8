"""Losses in float64 NumPy, loops and all, from the formulas."""

import itertools

import numpy as np

from tests.oracles.bins import bin_of


def hard_ace(p, y, n_bins):
    """Value and gradient for the voxels of one class."""
    index = np.array([bin_of(x, n_bins) for x in p])
    p, y = np.float64(p), np.float64(y)
    used = sorted(set(index))
    value, gradient = 0.0, np.zeros(len(p))
    for k in used:
        inside = index == k
        gap = p[inside].mean() - y[inside].mean()
        value += abs(gap) / len(used)
        gradient[inside] = np.sign(gap) / (len(used) * inside.sum())
    return value, gradient


def soft_weights(p, n_bins):
    """Weights `[voxels, bins]` and their derivatives, of triangles with flat ends."""
    weights, slopes = np.zeros((len(p), n_bins)), np.zeros((len(p), n_bins))
    for v, x in enumerate(np.float64(p)):
        u = x * n_bins - 0.5
        if u < 0:
            weights[v, 0] = 1
        elif u >= n_bins - 1:
            weights[v, -1] = 1
        else:
            k = int(np.floor(u))
            weights[v, k], weights[v, k + 1] = 1 - (u - k), u - k
            slopes[v, k], slopes[v, k + 1] = -n_bins, n_bins
    return weights, slopes


def soft_ace(p, y, n_bins):
    """Value and gradient for the voxels of one class."""
    weights, slopes = soft_weights(p, n_bins)
    d = np.float64(p) - np.float64(y)
    total = weights.sum(axis=0)
    used = [k for k in range(n_bins) if total[k] >= 0.01]
    value, gradient = 0.0, np.zeros(len(d))
    for k in used:
        gap = (weights[:, k] * d).sum() / total[k]
        value += abs(gap) / len(used)
        rise = (weights[:, k] + slopes[:, k] * (d - gap)) / total[k]
        gradient += np.sign(gap) * rise / len(used)
    return value, gradient


def log_softmax(logits):
    shifted = np.float64(logits) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def windows(array, mode):
    """Voxel and the values of its window of three an axis; None pads with nothing."""
    padded = array if mode is None else np.pad(array, 1, mode=mode)
    shift = 1 if mode is None else 0
    for voxel in np.ndindex(array.shape):
        box = []
        for offset in itertools.product((0, 1, 2), repeat=array.ndim):
            place = tuple(v + o - shift for v, o in zip(voxel, offset, strict=True))
            if all(0 <= x < n for x, n in zip(place, padded.shape, strict=True)):
                box.append(padded[place])
        yield voxel, np.array(box)


def windowed(array, function, mode):
    out = np.zeros(array.shape)
    for voxel, box in windows(array, mode):
        out[voxel] = function(box)
    return out


def morphology(mask, operation):
    def erode(x):
        return windowed(x, np.min, None).astype(bool)

    def dilate(x):
        return windowed(x, np.max, None).astype(bool)

    return {
        "none": lambda: mask,
        "erosion": lambda: erode(mask),
        "dilation": lambda: dilate(mask),
        "opening": lambda: dilate(erode(mask)),
        "closing": lambda: erode(dilate(mask)),
        "internal": lambda: mask & ~erode(mask),
        "external": lambda: dilate(mask) & ~mask,
        "gradient": lambda: dilate(mask) & ~erode(mask),
    }[operation]()


def gaussian(ndim):
    """Flat weights of a normalised window of sigma 1."""
    offsets = itertools.product((-1, 0, 1), repeat=ndim)
    weights = np.array([np.exp(-sum(o * o for o in offset) / 2) for offset in offsets])
    return weights / weights.sum()


def aggregated(mask, aggregation):
    values = np.float64(mask)
    if aggregation in ("max", "min"):
        return windowed(values, getattr(np, aggregation), None)
    if aggregation == "mode":
        return windowed(values, lambda b: b.sum() > b.size / 2, "edge")
    weights = gaussian(mask.ndim)
    if aggregation == "mean":
        weights = np.full(len(weights), 1 / len(weights))
    return windowed(values, lambda b: (weights * b).sum(), "reflect")


def adapted(targets, operation, aggregation):
    """Targets `[*spatial, classes]` of one example."""
    maps = [
        aggregated(morphology(targets[..., c] > 0.5, operation), aggregation)
        for c in range(targets.shape[-1])
    ]
    stacked = np.stack(maps, axis=-1)
    total = stacked.sum(axis=-1, keepdims=True)
    return stacked / np.where(total > 0, total, 1)


def svls_weights(ndim):
    """Centre 1/2, neighbours in Gaussian proportion."""
    weights = gaussian(ndim)
    centre = len(weights) // 2
    weights = weights / (2 * (1 - weights[centre]))
    weights[centre] = 0.5
    return weights


def smoothed(targets, weights, mode="edge"):
    maps = [
        windowed(targets[..., c], lambda b: (weights * b).sum(), mode)
        for c in range(targets.shape[-1])
    ]
    return np.stack(maps, axis=-1)
