"""Seeded random splits: the second opinion on `all_splits`, and its histograms.

Splits are of units. A unit that owns several cases goes to one side whole, the
threshold is the hierarchical one, and coverage is the mean over test units of the share
of their cases that is served.
"""

import math
from collections import Counter

import numpy as np
from jaxtyping import Float, Num

from coverax.rational import Level, check_level

# Random keys held at a time.
_CHUNK = 4_000_000


def random_splits(
    scores: Num[np.ndarray, " cases"],
    n_calibration: int,
    alphas: list[Level],
    *,
    n_splits: int,
    seed: int,
    units: np.ndarray | None = None,
) -> Float[np.ndarray, "splits alphas"]:
    """Coverage of the test units in random splits of units.

    Args:
        scores: Larger is worse; no NaN.
        n_calibration: Units each split calibrates on.
        alphas: Tolerated miscoverages; all use the same splits.
        n_splits: Number of splits.
        seed: Seed of the splits.
        units: Unit of each case; each case its own by default.

    Returns:
        Share of test units' cases with `score <= threshold`, each unit weighing 1.

    Raises:
        ValueError: `n_calibration` leaves no unit on one side, or masses of units do
            not fit 64-bit integers.
    """
    scores = np.asarray(scores)
    names = np.arange(scores.size) if units is None else np.asarray(units)
    _, unit_of = np.unique(names, return_inverse=True)
    sizes = Counter(unit_of.tolist())
    n_units = len(sizes)
    if not 1 <= n_calibration < n_units:
        raise ValueError(
            f"n_calibration must lie in 1..{n_units - 1}, got {n_calibration}"
        )
    # Mass 1 / size of a case, in units of 1 / scale: sums are exact integers.
    scale = math.lcm(*sizes.values())
    levels = [check_level("alpha", alpha) for alpha in alphas]
    largest = max(level.denominator for level in levels)
    if scale * (n_units + 1) * largest >= 2**62:
        raise ValueError(
            "units own too many different numbers of cases for exact masses; "
            "draw one case a unit"
        )
    order = np.argsort(scores, kind="stable")
    unit_of = unit_of[order]
    mass = np.array([scale // sizes[int(u)] for u in unit_of])
    # A case is served iff its place is at most the last one tied with the threshold.
    n_served = np.searchsorted(scores[order], scores[order], side="right")
    rng = np.random.default_rng(seed)
    out = np.empty((n_splits, len(levels)))
    step = max(1, _CHUNK // scores.size)
    for start in range(0, n_splits, step):
        n = min(step, n_splits - start)
        keys = rng.random((n, n_units), np.float32)
        last = np.argpartition(keys, n_calibration - 1, axis=1)[:, :n_calibration]
        chosen = np.zeros((n, n_units), np.int64)
        np.put_along_axis(chosen, last, 1, axis=1)
        reached = np.cumsum(chosen[:, unit_of] * mass, axis=1)
        everything = np.cumsum(mass)
        for k, level in enumerate(levels):
            needed = math.ceil((1 - level) * (n_calibration + 1) * scale)
            # Where the mass never suffices the threshold is infinite: all are served.
            place = np.count_nonzero(reached < needed, axis=1)
            served = np.append(n_served, scores.size)[place]
            tested = everything[served - 1] - reached[np.arange(n), served - 1]
            out[start : start + n, k] = tested / scale / (n_units - n_calibration)
    return out
