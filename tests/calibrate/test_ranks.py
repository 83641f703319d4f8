"""Ranks against fractions, and the identities that make them guarantees."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import cls as oracle

import coverax as cx

ALPHAS = ["0.001", "0.01", "0.05", "0.1", "0.15", "0.2", "0.3", "0.5", "0.7", "0.95"]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_rank_is_the_smallest_that_covers(alpha):
    for n in range(120):
        assert cx.calibrate.conformal_rank(n, float(alpha)) == oracle.rank(n, alpha)


def test_float_ceil_would_be_wrong_somewhere():
    """The trap this function avoids is real on numbers that people use."""
    wrong = [
        (n, a)
        for n in range(1, 400)
        for a in ALPHAS
        if math.ceil((n + 1) * (1 - float(a))) != cx.calibrate.conformal_rank(n, a)
    ]
    assert wrong


@pytest.mark.parametrize("alpha", ["0.05", "0.1", "0.2", "0.5"])
@pytest.mark.parametrize("delta", ["0.01", "0.05", "0.1", "0.5"])
def test_pac_rank_is_the_smallest_with_the_confidence(alpha, delta):
    for n in [1, 2, 3, 5, 13, 14, 28, 29, 44, 45, 58, 59, 90]:
        expected = oracle.pac_rank(n, alpha, delta)
        assert cx.calibrate.pac_rank(n, float(alpha), float(delta)) == expected


def test_pac_rank_is_exact_where_the_tail_meets_the_level():
    """At alpha 1/2 the tails are dyadic; a tie must count as reached."""
    for n in range(1, 20):
        for r in range(1, n + 1):
            tail = sum(math.comb(n, k) for k in range(r)) / Fraction(2**n)
            if 0 < tail < 1:
                assert cx.calibrate.pac_rank(n, "0.5", 1 - tail) == r


def test_n_needed_is_the_first_feasible_number():
    for alpha in ["0.05", "0.1", "0.3", "0.009"]:
        n = cx.calibrate.n_needed(alpha)
        assert cx.calibrate.conformal_rank(n, alpha) <= n
        assert cx.calibrate.conformal_rank(n - 1, alpha) > n - 1
        for delta in ["0.1", "0.01"]:
            n = cx.calibrate.n_needed(alpha, delta)
            assert cx.calibrate.pac_rank(n, alpha, delta) <= n
            assert cx.calibrate.pac_rank(n - 1, alpha, delta) == n
    assert cx.calibrate.n_needed("0.1") == 9
    assert cx.calibrate.n_needed("0.1", "0.05") == 29


def test_n_needed_counts_an_exact_tie_as_reached():
    """At alpha 1/2 the last rank fails with probability 2**-n, delta to the digit."""
    for n in range(1, 40):
        assert cx.calibrate.n_needed("0.5", Fraction(1, 2**n)) == n
        assert cx.calibrate.pac_rank(n, "0.5", Fraction(1, 2**n)) == n
    assert cx.calibrate.n_needed("0.1", "0.81") == 2


def test_attainable_levels_have_exact_coverage():
    for level in cx.calibrate.attainable_levels(7):
        assert Fraction(cx.calibrate.conformal_rank(7, level), 8) == 1 - level


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, "nan", "inf"])
def test_levels_outside_the_open_interval_are_refused(alpha):
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\)|finite number"):
        cx.calibrate.conformal_rank(10, alpha)


def test_negative_n_is_refused():
    with pytest.raises(ValueError, match="whole number"):
        cx.calibrate.conformal_rank(-1, 0.1)


bags = st.tuples(
    st.sampled_from([2, 3, 9, 10, 20, 41]),
    st.integers(0, 2**32 - 1),
    st.sampled_from(ALPHAS),
)


@given(bags)
def test_leave_one_out_count_is_exact(bag):
    """In any bag of n + 1 distinct scores exactly `rank` are covered by the others."""
    size, seed, alpha = bag
    scores = np.random.default_rng(seed).permutation(size).astype(np.float32)
    rank = cx.calibrate.conformal_rank(size - 1, alpha)
    assert leave_one_out(scores, alpha) == min(rank, size)


@given(bags)
def test_leave_one_out_count_with_ties_is_at_least_the_rank(bag):
    size, seed, alpha = bag
    rng = np.random.default_rng(seed)
    scores = rng.choice(np.array([-np.inf, -1, -0.5, 0], np.float32), size)
    rank = cx.calibrate.conformal_rank(size - 1, alpha)
    assert leave_one_out(scores, alpha) >= min(rank, size)


def leave_one_out(scores, alpha):
    return sum(
        float(s) <= cx.calibrate.split_threshold(np.delete(scores, i), alpha)
        for i, s in enumerate(scores)
    )


def test_an_interpolated_quantile_fails_the_identity():
    """Negative control: the usual mistake is caught by one bag."""
    scores = np.random.default_rng(0).permutation(21).astype(float)
    covered = sum(
        s <= np.quantile(np.delete(scores, i), 0.9) for i, s in enumerate(scores)
    )
    assert covered < cx.calibrate.conformal_rank(20, "0.1")


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.sampled_from([1, 2, 8, 9, 10, 33]),
    alpha=st.sampled_from(ALPHAS),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_threshold_is_an_element_of_the_scores(seed, n, alpha, dtype):
    scores = np.random.default_rng(seed).standard_normal(n).astype(dtype)
    got = cx.calibrate.split_threshold(scores, alpha)
    assert got == oracle.threshold([float(s) for s in scores], alpha)
    assert got == math.inf or dtype(got) in scores


def test_nan_and_empty_scores_are_refused():
    with pytest.raises(ValueError, match="1 scores are NaN"):
        cx.calibrate.split_threshold(np.array([0.1, np.nan]), 0.5)
    with pytest.raises(ValueError, match="one score a unit"):
        cx.calibrate.split_threshold(np.array([]), 0.5)
