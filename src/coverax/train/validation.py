"""How good and how honest a net is on whole cases: Dice, ECE and ACE a class."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from coverax.kernels import bucket_size
from coverax.reliability import calibration_errors
from coverax.scores import resolve_engine

N_BINS = 20


def validate(
    volumes: Callable[[Any], Float[np.ndarray, "x y z classes"]],
    cases: Sequence[Any],
    classes: Sequence[str],
) -> dict[str, float]:
    """Means over cases that have the class, then over classes; no background.

    Args:
        volumes: From a prepared case to its probabilities.
        cases: Prepared cases with labels.
        classes: Names of all classes, background first.

    Returns:
        `dice`, `ece`, `ace`, and each as `dice_NAME` a class; NaN where no case has it.
    """
    rows = [
        case_metrics(np.asarray(volumes(case)), np.asarray(case.labels))
        for case in cases
    ]
    found: dict[str, float] = {}
    for measure in ("dice", "ece", "ace"):
        table = np.stack([row[measure] for row in rows])
        values = [_mean(column) for column in table.T]
        found[measure] = _mean(np.asarray(values))
        names = zip(classes[1:], values, strict=True)
        found |= {f"{measure}_{name}": value for name, value in names}
    return found


def case_metrics(
    probs: Float[np.ndarray, "x y z classes"], labels: Integer[np.ndarray, "x y z"]
) -> dict[str, Float[np.ndarray, " foreground"]]:
    """Dice of the likeliest class, ECE and ACE of each foreground class of a case.

    NaN for a class that the reference lacks; voxels below 0 are ignored.
    """
    counts = labels >= 0
    probs, labels = probs[counts], labels[counts]
    chosen = probs.argmax(axis=-1)
    found: dict[str, list[float]] = {"dice": [], "ece": [], "ace": []}
    for k in range(1, probs.shape[-1]):
        truth, mask = labels == k, chosen == k
        if not truth.any():
            for values in found.values():
                values.append(np.nan)
            continue
        total = np.count_nonzero(truth) + np.count_nonzero(mask)
        errors = _calibration(probs[..., k], truth)
        found["dice"].append(2 * np.count_nonzero(truth & mask) / total)
        found["ece"].append(float(errors.ece[0]))
        found["ace"].append(float(errors.ace[0]))
    return {name: np.asarray(values) for name, values in found.items()}


def _calibration(probs, truth):
    """Errors of one map, padded to a bucket: volumes of many shapes, few programs."""
    tail = (0, bucket_size(probs.size) - probs.size)
    flat = [
        np.pad(np.ravel(a), tail)[None] for a in (probs, truth, np.ones_like(truth))
    ]
    ops = resolve_engine().ops
    return calibration_errors(
        ops.bin_statistics(flat[0], flat[1], N_BINS, valid=flat[2])
    )


def _mean(values):
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
