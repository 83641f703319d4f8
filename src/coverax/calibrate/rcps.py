"""Risk-controlling prediction sets: a bound of the risk at every lam."""

import numpy as np
from jaxtyping import Bool, Num

from coverax.calibrate.attainable import smallest_level
from coverax.calibrate.bounds import BOUNDS, is_at_most
from coverax.calibrate.ranks import pac_rank
from coverax.calibrate.result import Status
from coverax.calibrate.risk import (
    Lams,
    LossTable,
    RiskThreshold,
    check_monotone,
    first_passing,
)
from coverax.choices import BoundName
from coverax.rational import Level, check_level


def rcps_threshold(
    loss_table: LossTable,
    lams: Lams,
    alpha: Level,
    delta: Level,
    *,
    method: BoundName = "wsr",
    seed: int = 0,
) -> RiskThreshold:
    """Smallest lam whose upper bound of the risk, and that of all safer lams, is alpha.

    With i.i.d. units and losses in [0, 1] that do not increase with lam, on lams fixed
    beforehand, the risk (expected loss of a new unit) at this lam is at most `alpha` for
    all but a share `delta` of calibration sets.

    Args:
        loss_table: Losses of the calibration units at each lam.
        lams: Ascending, fixed without the data; larger is safer.
        alpha: Tolerated risk, in (0, 1).
        delta: Tolerated share of calibration sets with a larger risk, in (0, 1).
        method: Bound of the mean loss, see `coverax.calibrate.bounds`.
        seed: Of the order of rows, which `wsr` depends on: rows that came sorted by
            score would break it, so they are permuted, the same for every lam.

    Returns:
        One of `lams`; the last one with status INFEASIBLE where none passes.

    Raises:
        ValueError: A level or loss is out of range, a loss increases with lam, or there
            is no such method.

    References:
        Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-Free,
        Risk-Controlling Prediction Sets.
    """
    if method not in BOUNDS:
        raise ValueError(f"method must be one of {', '.join(BOUNDS)}, got {method!r}")
    level = float(check_level("alpha", alpha))
    losses, lams = check_monotone(loss_table, lams)
    losses = losses[np.random.default_rng(seed).permutation(len(losses))]
    return from_safe_end(is_at_most(method, losses, level, delta), lams)


def from_safe_end(passes: Bool[np.ndarray, " lams"], lams: Lams) -> RiskThreshold:
    """The smallest lam that passes with all safer ones: from the safe end on."""
    n_safe = lams.size if passes.all() else int(np.argmin(passes[::-1]))
    return first_passing(lams, lams.size - n_safe)


def attainable_level(
    loss_table: LossTable, delta: Level, *, method: BoundName, seed: int
) -> float | None:
    """Smallest level at which the safest lam would have passed: a description.

    Takes the options of `rcps_threshold`; see `smallest_level`.
    """
    safest, lams = np.asarray(loss_table)[:, -1:], np.zeros(1)

    def passes(level: Level) -> bool:
        found = rcps_threshold(safest, lams, level, delta, method=method, seed=seed)
        return found.status == Status.OK

    return smallest_level(passes)


def failure_rank(
    scores: Num[np.ndarray, " units"],
    alpha: Level,
    delta: Level,
    *,
    bound: BoundName = "clopper_pearson",
    seed: int = 0,
) -> int:
    """Rank of the threshold at which RCPS controls the loss `1[score > threshold]`.

    With i.i.d. units, a new score exceeds the rank-th smallest with probability at most
    `alpha` for all but a share `delta` of calibration sets. The loss falls in steps at
    the scores, so they are all the lams there are; that they depend on the data takes
    nothing away, since the threshold is the smallest of all numbers that pass.

    Args:
        scores: Calibration scores; larger is worse.
        alpha: Tolerated failure rate, in (0, 1).
        delta: Tolerated share of calibration sets with a larger one, in (0, 1).
        bound: Bound of the failure rate; Clopper-Pearson gives `pac_rank`.
        seed: Seed of the order of units, which `wsr` depends on.

    Returns:
        A rank in 1..n, or `n + 1` where none will do.

    References:
        Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-Free,
        Risk-Controlling Prediction Sets.
    """
    if bound == "clopper_pearson":
        return pac_rank(scores.size, alpha, delta)
    lams = np.unique(scores)
    losses = (scores[:, None] > lams).astype(np.float64)
    found = rcps_threshold(losses, lams, alpha, delta, method=bound, seed=seed)
    if found.status != Status.OK:
        return scores.size + 1
    return int(np.count_nonzero(scores < found.lam)) + 1
