"""Exact laws against SciPy's own distributions and by summation."""

import numpy as np
import pytest
from scipy import stats

import coverax as cx


@pytest.mark.parametrize(("n", "rank", "m"), [(20, 19, 30), (100, 91, 250), (9, 9, 1)])
def test_compliance_pmf_is_the_beta_binomial(n, rank, m):
    expected = stats.betabinom(m, rank, n + 1 - rank).pmf(np.arange(m + 1))
    got = cx.calibrate.compliance_pmf(n, rank, m)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-300)
    assert np.dot(got, np.arange(m + 1)) / m == pytest.approx(rank / (n + 1))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_band_holds_its_level_and_each_tail_at_most_half_the_rest(level):
    n, rank, m = 100, 91, 250
    low, high = cx.calibrate.compliance_band(n, rank, m, level)
    pmf = cx.calibrate.compliance_pmf(n, rank, m)
    counts = np.arange(m + 1) / m
    assert pmf[(counts >= low) & (counts <= high)].sum() >= level
    assert pmf[counts < low].sum() <= (1 - level) / 2 + 1e-12
    assert pmf[counts > high].sum() <= (1 - level) / 2 + 1e-12
    # and it is tight: one more step at either end would exceed the tail
    assert pmf[counts <= low].sum() > (1 - level) / 2
    assert pmf[counts >= high].sum() > (1 - level) / 2


def test_infinite_threshold_covers_everything():
    assert cx.calibrate.compliance_band(5, 6, 10) == (1.0, 1.0)
    assert cx.calibrate.coverage_quantiles(5, 6, np.array([0.1, 0.9])).tolist() == [
        1,
        1,
    ]


def test_coverage_quantiles_are_those_of_the_beta_law():
    levels = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(
        cx.calibrate.coverage_quantiles(100, 91, levels),
        stats.beta(91, 10).ppf(levels),
        rtol=1e-9,
    )
