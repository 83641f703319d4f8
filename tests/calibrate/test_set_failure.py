"""RCPS and CRC on the loss "the set fails", by exact laws and enumeration."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from tests.calibrate.test_sets import Bag

from coverax.calibrate import (
    Status,
    calibrate_sets,
    conformal_rank,
    crc_threshold,
    pac_rank,
    rcps_threshold,
    split_threshold,
)
from coverax.calibrate.bounds import BOUNDS
from coverax.calibrate.rcps import failure_rank

SYMMETRIC = ["clopper_pearson", "hoeffding", "hoeffding_bentkus", "empirical_bernstein"]


def chance_of_failure(n, rank, alpha):
    """Chance over calibration sets that the rank-th smallest score fails too often."""
    return stats.beta.cdf(1 - alpha, rank, n + 1 - rank) if rank <= n else 0.0


@pytest.mark.parametrize("bound", SYMMETRIC)
@pytest.mark.parametrize(("n", "alpha", "delta"), [(30, 0.2, 0.1), (100, 0.1, 0.05)])
def test_confidence_holds_exactly(n, alpha, delta, bound):
    scores = np.random.default_rng(n).standard_normal(n)
    rank = failure_rank(scores, alpha, delta, bound=bound)
    assert chance_of_failure(n, rank, alpha) <= delta
    if bound == "clopper_pearson":
        # No rank below does: the bound is exact.
        assert chance_of_failure(n, rank - 1, alpha) > delta
    else:
        assert rank >= pac_rank(n, alpha, delta)


@pytest.mark.parametrize("bound", SYMMETRIC)
@pytest.mark.parametrize("tied", [False, True])
def test_the_failure_rank_leaves_as_many_above_as_the_bound_allows(bound, tied):
    """No rank is given away: one more failure among n would pass alpha."""
    n, alpha, delta = 60, 0.3, 0.1
    counts = np.arange(n + 1)
    upper = BOUNDS[bound]((np.arange(n)[:, None] < counts).astype(float), delta)
    allowed = int(counts[upper <= alpha].max())
    scores = np.random.default_rng(5).permutation(n) // (2 if tied else 1)
    rank = failure_rank(scores.astype(float), alpha, delta, bound=bound)
    threshold = np.sort(scores)[rank - 1]
    assert 1 <= allowed < n
    assert (scores > threshold).sum() <= allowed < (scores >= threshold).sum()
    if not tied:
        assert rank == n - allowed


def test_the_marginal_rank_has_no_confidence():
    """Negative control: the split-conformal rank, as if it were the PAC one."""
    n, alpha = 100, 0.1
    assert chance_of_failure(n, conformal_rank(n, alpha), alpha) > 0.3


def test_clopper_pearson_is_rcps_on_the_binary_loss():
    scores = np.random.default_rng(0).integers(0, 30, 60).astype(float)
    lams = np.unique(scores)
    losses = (scores[:, None] > lams).astype(float)
    found = rcps_threshold(losses, lams, 0.2, 0.1, method="clopper_pearson")
    rank = failure_rank(scores, 0.2, 0.1)
    assert np.sort(scores)[rank - 1] == found.lam


def test_wsr_holds_over_all_orders():
    """The order of units is independent of the sorted scores: enumerate the orders."""
    n, alpha, delta = 6, 0.6, 0.45
    orders = list(itertools.permutations(range(n)))
    ranks = [
        failure_rank(np.array(order, float), alpha, delta, bound="wsr")
        for order in orders
    ]
    assert min(ranks) <= n
    share = sum(chance_of_failure(n, rank, alpha) for rank in ranks) / len(orders)
    assert share <= delta


@pytest.mark.parametrize("tied", [False, True])
def test_crc_on_set_failure_is_the_split_threshold_of_sets(tied):
    rng = np.random.default_rng(3)
    inner, outer = (
        rng.integers(0, 8, 40) / 4 if tied else rng.standard_normal(40) for _ in "io"
    )
    found = calibrate_sets(Bag(inner, outer), "0.15", joint="each")
    both = calibrate_sets(Bag(inner, outer), "0.15", joint="max")
    for side, scores in (("inner", inner), ("outer", outer)):
        lams = np.unique(scores)
        crc = crc_threshold((scores[:, None] > lams).astype(float), lams, "0.15")
        assert found.threshold_of("r0", side).value == crc.lam
        assert crc.lam == split_threshold(scores, "0.15")
    worst = np.maximum(inner, outer)
    assert both.threshold_of("r0", "inner").value == split_threshold(worst, "0.15")


def test_delta_is_shared_by_the_sides_that_may_fail():
    rng = np.random.default_rng(1)
    bag = Bag(rng.standard_normal(300), rng.standard_normal(300))
    ranks = {
        joint: calibrate_sets(bag, "0.2", joint=joint, delta="0.1").thresholds[0].rank
        for joint in ("each", "max", "bonferroni")
    }
    assert ranks["each"] == ranks["max"] == pac_rank(300, "0.2", "0.1")
    assert ranks["bonferroni"] == pac_rank(300, "0.1", "0.05")
    # Mutant: the whole delta for either side would fail too often jointly.
    one = chance_of_failure(300, pac_rank(300, "0.1", "0.1"), 0.1)
    assert 1 - (1 - one) ** 2 > 0.1


def test_the_file_and_the_statement_say_so():
    rng = np.random.default_rng(1)
    bag = Bag(rng.standard_normal(100), rng.standard_normal(100))
    found = calibrate_sets(bag, "0.2", joint="max", delta="0.1", bound="wsr", seed=4)
    assert (found.delta, found.options["bound"]) == (0.1, "wsr")
    assert found.options["order_seed"] == 4
    assert found.options["curve"] == []
    assert "for all but a share 0.1 of calibration sets" in found.statement
    assert "exchangeable" not in found.statement
    exact = calibrate_sets(bag, "0.2", joint="max", delta="0.1")
    assert len(exact.options["curve"]) == 40
    assert exact.options["order_seed"] is None
    few = calibrate_sets(
        Bag(np.zeros(5), np.zeros(5)), "0.1", joint="each", delta="0.1"
    )
    assert few.status is Status.INFEASIBLE
    assert few.thresholds[0].value == math.inf
