"""Volumes, confidences and releases from voxels, by the definitions and nothing else."""

from fractions import Fraction

import numpy as np


def whole(values):
    """The exact sum of floats."""
    return sum((Fraction(float(v)) for v in values), Fraction(0))


def volume_score(probs, labels, estimate, scale, one_sided, voxel_ml):
    """The score of a case, exact but for one logarithm."""
    p = np.asarray(probs, np.float32).ravel()
    true = Fraction(int(np.count_nonzero(labels)))
    if estimate == "sum":
        found = whole(p)
    else:
        cut = float(estimate.split("=")[1])
        found = Fraction(sum(1 for v in p if v >= cut))
    if scale == "log":
        if true == found == 0:
            return 0.0
        if found == 0:
            error = np.inf
        elif true == 0:
            error = -np.inf
        else:
            error = float(np.log(float(true / found)))
    elif scale == "none":
        error = float((true - found) * Fraction(voxel_ml))
    else:
        mass = sum(
            (min(Fraction(float(v)), 1 - Fraction(float(v))) for v in p), Fraction(0)
        )
        error = float((true - found) / mass)
    return {None: abs(error), "at-least": -error, "at-most": error}[one_sided]


def confidence(probs):
    """Soft Dice Confidence of the mask at 0.5."""
    p = np.asarray(probs, np.float32).ravel()
    mask = p >= 0.5
    return float(2 * whole(p[mask]) / (whole(p) + int(mask.sum())))


def dice(mask, labels):
    """Dice of a mask, 1 where both are empty."""
    mask, labels = np.asarray(mask, bool), np.asarray(labels, bool)
    total = int(mask.sum()) + int(labels.sum())
    return Fraction(2 * int((mask & labels).sum()), total) if total else Fraction(1)


def released(confidences, losses, new, alpha):
    """Whether a new case goes out: the rule as it is written."""
    n = len(losses)
    total = 1 + sum(
        (
            Fraction(loss)
            for c, loss in zip(confidences, losses, strict=True)
            if c <= new
        ),
        Fraction(0),
    )
    return total / (n + 1) <= Fraction(alpha)
