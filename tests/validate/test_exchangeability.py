"""P-values and capitals: exact by permutation where finite, with power and controls."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from tests.conftest import FALSE_FAIL_RATE

from coverax.validate import conformal_p_value, order_test
from coverax.validate.drift import histogram_p_value
from coverax.validate.exchangeability import (
    betting_capital,
    drift_p_values,
    is_drift,
    sequential_p_values,
    two_sample_p_value,
)


@given(seed=st.integers(0, 2**32 - 1), tied=st.booleans())
def test_left_out_p_values_are_super_uniform(seed, tied):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, 15) / 4 if tied else rng.standard_normal(15)
    p = np.array(
        [
            conformal_p_value(np.delete(scores, i), scores[i : i + 1])[0]
            for i in range(15)
        ]
    )
    for k in range(16):
        # t = k / 15 in integers: number with 15 p <= k.
        assert np.count_nonzero(np.rint(15 * p) <= k) <= k


def test_a_bet_is_fair():
    """One uniform p-value multiplies the capital by 1 in the mean."""
    fair, error = integrate.quad(
        lambda p: betting_capital(np.array([p]))[0], 0, 1, limit=200
    )
    assert abs(fair - 1) <= max(10 * error, 1e-6)


def test_sequential_p_values_are_uniform_over_all_orders():
    """Without ties, over all orders of 5 scores, floor(t * p_t) takes each place alike."""
    counts = np.zeros((5, 5))
    for order in itertools.permutations([0.1, 0.7, 0.3, 0.9, 0.5]):
        p = sequential_p_values(np.array(order), seed=0)
        for t in range(5):
            counts[t, int(p[t] * (t + 1))] += 1
    for t in range(5):
        assert (counts[t, : t + 1] == 120 / (t + 1)).all()


def test_exchangeable_scores_reach_a_capital_as_rarely_as_promised():
    rng = np.random.default_rng(0)
    n_runs, level = 400, 10.0
    reached = sum(
        order_test(rng.standard_normal(60), seed=i).max_capital >= level
        for i in range(n_runs)
    )
    assert reached <= stats.binom.isf(FALSE_FAIL_RATE, n_runs, 1 / level)


def test_drifting_scores_are_noticed():
    """Power, and the negative control of the tests above."""
    rng = np.random.default_rng(1)
    worse = np.concatenate([rng.standard_normal(200), rng.standard_normal(200) + 2])
    for scores in (worse, -worse):
        found = order_test(scores, seed=0)
        assert found.p_value_capital < 0.01
        assert found.p_value_uniform < 1e-3


def test_tied_scores_in_any_order_are_no_evidence():
    found = order_test(np.zeros(200), seed=3)
    assert found.max_capital < 10
    assert found.p_value_uniform > 1e-4


def test_drift_of_features():
    rng = np.random.default_rng(2)
    reference = {"a": rng.random(200), "b": rng.random(200)}
    same = {"a": rng.random(50), "b": rng.random(50)}
    moved = {"a": rng.random(50), "b": rng.random(50) + 0.5}
    assert not is_drift(drift_p_values(reference, same), 0.001)
    found = drift_p_values(reference, moved)
    assert is_drift(found, 0.001)
    assert found["b"] < 1e-6 < found["a"]


def test_an_alarm_pays_for_every_test_that_was_made():
    """Of k tests at their k-th share of the level at most the level raise an alarm."""
    for k in (1, 3, 8):
        quiet = dict.fromkeys(map(str, range(k - 1)), 0.9)
        share = 0.05 / k
        assert is_drift(quiet | {"one": share}, 0.05)
        assert not is_drift(quiet | {"one": np.nextafter(share, 1)}, 0.05)
    assert not is_drift({}, 0.05)


@pytest.mark.parametrize(("n", "m"), [(20, 1), (9, 3), (5, 5)])
@pytest.mark.parametrize("n_tied", [1, 3])
def test_drift_p_values_are_super_uniform_over_all_splits(n, m, n_tied):
    """Of cohorts of any two sizes: the limit law rejects 2 of 21 at every level."""
    pool = np.arange(n + m) // n_tied / 7
    p_values = []
    for chosen in itertools.combinations(range(n + m), m):
        new = np.isin(np.arange(n + m), chosen)
        p_values.append(drift_p_values({"a": pool[~new]}, {"a": pool[new]})["a"])
    p = np.array(p_values)
    for level in np.unique(p):
        assert (p <= level + 1e-12).mean() <= level + 1e-9
    if n_tied == 1 and (n, m) == (20, 1):
        assert p.min() == pytest.approx(2 / 21)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (200, 31), (50, 400)])
def test_two_sample_p_value_is_that_of_the_exact_law(n, m):
    rng = np.random.default_rng(n)
    for shift in (0.1, 0.5):
        one, other = rng.random(n), rng.random(m) + shift
        exact = stats.ks_2samp(one, other, method="exact")[1]
        np.testing.assert_allclose(two_sample_p_value(one, other), exact, rtol=1e-9)


@pytest.mark.parametrize("n_tied", [1, 3])
def test_histogram_p_values_are_super_uniform_over_all_splits(n_tied):
    rng = np.random.default_rng(0)
    pool = rng.permuted(np.tile(np.arange(9) // n_tied, (4, 1)), axis=1).T / 9
    p_values = []
    for chosen in itertools.combinations(range(9), 3):
        new = np.isin(np.arange(9), chosen)
        reference = np.array(sorted(pool[~new].tolist()))  # as a calibration keeps it
        p_values.append(
            histogram_p_value(reference, pool[new], n_permutations=84, seed=0)
        )
    p = np.array(p_values)
    for level in np.unique(p):
        assert (p <= level + 1e-12).mean() <= level + 1e-9


def test_drift_of_large_cohorts_is_not_lost_in_whole_numbers():
    """Squares of gaps pass 64 bits at some 3,000 cases a side: p was 1."""
    rng = np.random.default_rng(0)
    old, new = rng.random((4000, 19)), rng.random((4000, 19)) + 1
    p = histogram_p_value(old, new, n_permutations=19, seed=0)
    assert p == pytest.approx(1 / 20)
