"""The law of compliance on random splits, with its power and a negative control.

Repeated splits of fresh i.i.d. scores: the number of compliant new cases of each repeat
is BetaBinomial(m, rank, n + 1 - rank), independently over repeats. The total is compared
with its exact mean by a normal bound at the suite's false-fail rate.
"""

import numpy as np
import pytest
from scipy import stats
from tests.conftest import FALSE_FAIL_RATE

import coverax as cx

N, M, REPEATS = 50, 50, 20_000
ALPHAS = [0.05, 0.1, 0.2, 0.5]
# Two-sided; one cell an alpha.
Z = float(stats.norm.isf(FALSE_FAIL_RATE / len(ALPHAS) / 2))


def mean_and_se(rank):
    law = stats.betabinom(M, rank, N + 1 - rank)
    return law.mean() / M, law.std() / M / np.sqrt(REPEATS)


def simulate(alpha, threshold_fn, *, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    calibration = rng.standard_normal((REPEATS, N))
    new = rng.standard_normal((REPEATS, M)) + shift
    thresholds = threshold_fn(calibration, alpha)
    return float((new <= thresholds[:, None]).mean())


def by_rank(scores, alpha):
    return np.array([cx.calibrate.split_threshold(s, alpha) for s in scores])


@pytest.mark.parametrize("alpha", ALPHAS)
def test_mean_compliance_is_rank_over_n_plus_one_two_sided(alpha):
    expected, se = mean_and_se(cx.calibrate.conformal_rank(N, alpha))
    assert abs(simulate(alpha, by_rank) - expected) < Z * se


@pytest.mark.parametrize("alpha", ALPHAS)
def test_mean_compliance_has_power(alpha):
    """A rank off by one moves the mean by more than ten times what is tolerated."""
    _, se = mean_and_se(cx.calibrate.conformal_rank(N, alpha))
    assert 10 * Z * se / 5 < 1 / (N + 1)
    # chance that an off-by-one rank would pass
    assert stats.norm.sf(1 / (N + 1) / se - Z) < 1e-9


def test_shifted_cases_fail_the_check():
    """Negative control: new cases that are a little worse are noticed."""
    expected, se = mean_and_se(cx.calibrate.conformal_rank(N, 0.1))
    assert abs(simulate(0.1, by_rank, shift=0.1) - expected) > Z * se


def test_the_whole_distribution_is_beta_binomial():
    """Chi-square over counts, at the suite's rate; an interpolated quantile fails it."""
    alpha, rank = 0.2, cx.calibrate.conformal_rank(N, 0.2)
    rng = np.random.default_rng(1)
    calibration, new = rng.random((2, REPEATS, N))

    def p_value(thresholds):
        counts = np.bincount((new <= thresholds[:, None]).sum(1), minlength=M + 1)
        expected = REPEATS * cx.calibrate.compliance_pmf(N, rank, M)
        big = expected >= 10
        merged = [np.append(c[big], c[~big].sum()) for c in (counts, expected)]
        return stats.chisquare(*merged).pvalue

    assert p_value(by_rank(calibration, alpha)) > FALSE_FAIL_RATE
    assert p_value(np.quantile(calibration, 1 - alpha, axis=1)) < FALSE_FAIL_RATE
