"""Long runs, bounded by COVERAX_LONG_REPEATS (CI: the default; nightly: more).

With uniform scores the coverage of a calibration set is its threshold, so whole laws
over calibration sets are tested, not only their means.
"""

import os

import numpy as np
import pytest
from scipy import stats
from tests.conftest import FALSE_FAIL_RATE

import coverax as cx

REPEATS = int(os.environ.get("COVERAX_LONG_REPEATS", "100000"))
CELLS = [(20, "0.1"), (50, "0.1"), (100, "0.05"), (37, "0.3")]

pytestmark = pytest.mark.slow


def coverages(n, rank, seed):
    """Coverage of `REPEATS` calibration sets at a rank."""
    scores = np.random.default_rng(seed).random((REPEATS, n))
    return np.array([cx.calibrate.rank_threshold(s, rank) for s in scores])


@pytest.mark.parametrize(("n", "alpha"), CELLS)
def test_coverage_over_calibration_sets_is_beta(n, alpha):
    """Kolmogorov-Smirnov, two-sided, at the suite's rate over the cells."""
    rank = cx.calibrate.conformal_rank(n, alpha)
    law = stats.beta(rank, n + 1 - rank)
    assert stats.kstest(coverages(n, rank, 1), law.cdf).pvalue > FALSE_FAIL_RATE / 4
    # negative control: the neighbouring rank is told apart
    wrong = stats.kstest(coverages(n, rank - 1, 2), law.cdf).pvalue
    assert wrong < FALSE_FAIL_RATE / 4


@pytest.mark.parametrize(("n", "alpha"), [(50, "0.1"), (100, "0.1"), (120, "0.05")])
def test_pac_rank_fails_for_at_most_delta_of_calibration_sets(n, alpha):
    """The share of bad calibration sets is the exact binomial tail, below delta.

    Power: the rank below exceeds delta by more than the tolerated error.
    """
    delta = "0.1"
    rank = cx.calibrate.pac_rank(n, alpha, delta)
    level = 1 - float(alpha)
    exact = stats.beta(rank, n + 1 - rank).cdf(level)
    assert exact <= float(delta)
    bad = int(np.count_nonzero(coverages(n, rank, 3) < level))
    assert stats.binomtest(bad, REPEATS, exact).pvalue > FALSE_FAIL_RATE / 3
    below = stats.beta(rank - 1, n + 2 - rank).cdf(level)
    assert below > float(delta)
    bad_below = int(np.count_nonzero(coverages(n, rank - 1, 4) < level))
    assert stats.binomtest(bad_below, REPEATS, exact).pvalue < FALSE_FAIL_RATE / 3
