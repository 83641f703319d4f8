"""All splits in closed form against full enumeration, and random splits against both."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import FALSE_FAIL_RATE

import coverax as cx
from coverax.validate import all_splits, random_splits, threshold_law


def enumerate_splits(scores, n, alpha, metric):
    """Coverage and mean metric of every split, one by one, by the definitions."""
    coverage, means = [], []
    for chosen in itertools.combinations(range(len(scores)), n):
        rest = [i for i in range(len(scores)) if i not in chosen]
        t = cx.calibrate.split_threshold(scores[list(chosen)], alpha)
        coverage.append(np.mean(scores[rest] <= t))
        if math.isfinite(t):
            j = next(k for k in chosen if scores[k] == t)
            means.append(metric[rest, j].mean())
    return np.array(coverage), np.array(means)


def metric_of(rng, scores):
    """Any function of case and threshold: columns of equal scores are equal."""
    _, column = np.unique(scores, return_inverse=True)
    return rng.random((len(scores), len(scores)))[:, column]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_cases=st.sampled_from([2, 3, 7, 9]),
    alpha=st.sampled_from(["0.1", "0.25", "0.5", "0.8"]),
    tied=st.booleans(),
)
def test_all_splits_are_the_enumeration(seed, n_cases, alpha, tied):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 3, n_cases) / 2 if tied else rng.standard_normal(n_cases)
    metric = metric_of(rng, scores)
    for n in range(1, n_cases):
        found = all_splits(scores, n, alpha, {"m": metric})
        coverage, means = enumerate_splits(scores, n, alpha, metric)
        # Sums of at most N^2 terms in [0, 1], logarithms of factorials to 1e-15.
        assert found.coverage_mean == pytest.approx(coverage.mean(), abs=1e-12)
        assert found.coverage_variance == pytest.approx(coverage.var(), abs=1e-12)
        if means.size:
            assert found.metric_means["m"] == pytest.approx(means.mean(), abs=1e-12)
            assert found.metric_variances["m"] == pytest.approx(means.var(), abs=1e-12)
        else:
            assert math.isnan(found.metric_means["m"])
            assert (found.coverage_mean, found.coverage_variance) == (1.0, 0.0)


def test_twelve_to_fourteen_cases_against_the_enumeration():
    rng = np.random.default_rng(3)
    for n_cases, n in [(12, 6), (13, 9), (14, 7)]:
        scores = rng.standard_normal(n_cases)
        metric = metric_of(rng, scores)
        coverage, means = enumerate_splits(scores, n, "0.3", metric)
        found = all_splits(scores, n, "0.3", {"m": metric})
        rank = cx.calibrate.conformal_rank(n, "0.3")
        assert found.coverage_mean == pytest.approx(rank / (n + 1), abs=1e-12)
        assert found.coverage_mean == pytest.approx(coverage.mean(), abs=1e-12)
        assert found.coverage_variance == pytest.approx(coverage.var(), abs=1e-12)
        assert found.metric_means["m"] == pytest.approx(means.mean(), abs=1e-12)
        assert found.metric_variances["m"] == pytest.approx(means.var(), abs=1e-12)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_rank_off_by_one_is_noticed(shift):
    """Mutant: the threshold one place away."""
    n_cases, n = 11, 6
    scores = np.arange(n_cases) / 10
    rank = cx.calibrate.conformal_rank(n, "0.3")
    right = threshold_law(n_cases, n, rank)
    wrong = threshold_law(n_cases, n, rank + shift)
    counts = np.zeros(n_cases)
    for chosen in itertools.combinations(range(n_cases), n):
        counts[
            round(10 * cx.calibrate.split_threshold(scores[list(chosen)], "0.3"))
        ] += 1
    np.testing.assert_allclose(right, counts / counts.sum(), atol=1e-12)
    assert np.abs(wrong - right).max() > 0.05


@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from([5, 20, 99, 150]))
def test_mean_coverage_is_rank_over_n_plus_one_on_any_data(seed, n):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.standard_normal(100), rng.standard_normal(100) + 9])
    found = all_splits(scores, n, "0.2")
    assert found.coverage_mean == pytest.approx(found.rank / (n + 1), abs=1e-11)
    assert found.threshold_probabilities.sum() == pytest.approx(1, abs=1e-11)


def test_two_disjoint_sites_pooled_look_perfect_and_one_to_the_other_does_not():
    """What all splits cannot show: exchangeability of the sites."""
    a, b = np.arange(50.0), np.arange(50.0) + 1000
    pooled = all_splits(np.concatenate([a, b]), 50, "0.1")
    assert pooled.coverage_mean == pytest.approx(46 / 51)
    assert (b <= cx.calibrate.split_threshold(a, "0.1")).mean() == 0


def test_variance_of_coverage_is_beta_binomial_over_a_large_pool():
    """A pool of N from i.i.d. scores: the law of the counts is BetaBinomial in mean."""
    found = all_splits(np.random.default_rng(0).random(4000), 50, "0.1")
    m = 4000 - 50
    pmf = cx.calibrate.compliance_pmf(50, found.rank, m)
    share = np.arange(m + 1) / m
    expected = pmf @ share**2 - (pmf @ share) ** 2
    assert found.coverage_variance == pytest.approx(expected, rel=1e-9)


def test_random_splits_agree_with_all_splits():
    scores = np.random.default_rng(1).integers(0, 40, 60).astype(float)
    alphas = ["0.1", "0.3", "0.5"]
    n_splits = 4000
    found = random_splits(scores, 25, alphas, n_splits=n_splits, seed=0)
    for k, alpha in enumerate(alphas):
        exact = all_splits(scores, 25, alpha)
        se = np.sqrt(exact.coverage_variance / n_splits)
        # Normal bound at the suite's rate over three cells.
        z = 5.2
        assert 2 * math.erfc(z / math.sqrt(2)) < 2 * FALSE_FAIL_RATE
        assert abs(found[:, k].mean() - exact.coverage_mean) < z * se
        # Power: a rank off by one moves the mean by 1 / 26, twenty such bounds away.
        assert 15 * z * se / 5 < 1 / 26
    again = random_splits(scores, 25, alphas, n_splits=n_splits, seed=0)
    np.testing.assert_array_equal(found, again)


def test_random_splits_of_units_use_the_hierarchical_threshold():
    """Against one split done by hand, and everything served where units are few."""
    rng = np.random.default_rng(5)
    units = np.repeat(np.arange(12), rng.integers(1, 4, 12))
    scores = np.round(rng.standard_normal(len(units)), 1)
    found = random_splits(scores, 7, ["0.3"], n_splits=40, seed=2, units=units)
    values = set()
    for chosen in itertools.combinations(range(12), 7):
        mine = np.isin(units, chosen)
        t = cx.calibrate.hierarchical_threshold(scores[mine], units[mine], "0.3")
        rest = [u for u in range(12) if u not in chosen]
        shares = [(scores[units == u] <= t).mean() for u in rest]
        values.add(round(float(np.mean(shares)), 12))
    assert {round(v, 12) for v in found[:, 0].tolist()} <= values
    everything = random_splits(scores, 3, ["0.1"], n_splits=5, seed=0, units=units)
    assert (everything == 1).all()


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"n_calibration must lie in 1\.\.4, got 5"):
        all_splits(np.arange(5.0), 5, 0.1)
    with pytest.raises(ValueError, match="or NaN"):
        all_splits(np.array([0.0, np.nan, 1.0]), 1, 0.1)
    with pytest.raises(ValueError, match="metric m must be"):
        all_splits(np.arange(3.0), 1, 0.5, {"m": np.full((3, 3), np.nan)})
    with pytest.raises(ValueError, match=r"n_calibration must lie in 1\.\.2, got 0"):
        random_splits(np.arange(3.0), 0, [0.1], n_splits=1, seed=0)


def test_the_contract_name():
    assert cx.validate.all_splits is all_splits
