"""Guarantees from folds: identities within a fold, brute force, the factor of two."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverax.calibrate import fold_mean_p, fold_scores
from coverax.calibrate.folds import majority_alpha


def p_value(scores, new):
    return Fraction(1 + sum(s >= new for s in scores), len(scores) + 1)


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0]), min_size=4, max_size=9),
    st.integers(0, 99),
)
def test_mean_p_is_the_mean_of_the_exact_p_values(scores, seed):
    rng = np.random.default_rng(seed)
    folds = np.array([0, 1, *rng.integers(0, 3, len(scores) - 2).tolist()])
    new = rng.integers(-1, 5, len(set(folds.tolist()))).astype(float)
    names = sorted(set(folds.tolist()))
    each = [
        p_value([s for s, f in zip(scores, folds, strict=True) if f == k], n)
        for k, n in zip(names, new, strict=True)
    ]
    exact = sum(each, Fraction(0)) / len(each)
    assert fold_mean_p(np.array(scores), folds, new) == pytest.approx(float(exact))
    known = fold_scores(np.array(scores), folds)
    for level in (exact / 2, exact, (exact + 1) / 2):
        if 0 < level < 1:
            assert known.exceed([np.asarray(s) for s in new], level) == (exact > level)


@given(st.integers(0, 500), st.integers(2, 9))
def test_within_a_fold_a_p_value_is_at_most_t_in_floor_of_t_cases(seed, n):
    """Leave each case of a fold out in turn: the identity behind every promise."""
    bag = np.random.default_rng(seed).integers(0, 6, n + 1).astype(float)
    each = [p_value(np.delete(bag, i), bag[i]) for i in range(n + 1)]
    for k in range(1, n + 2):
        t = Fraction(k, n + 1)
        assert sum(p <= t for p in each) <= t * (n + 1)


@given(st.integers(0, 300))
def test_the_voxel_set_holds_every_truth_that_a_set_of_truths_would(seed):
    """Brute force over all 511 truths of a 3 x 3 grid: Y kept implies Y within O."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, 5, (2, 9)) / 4  # outer score images of two folds
    scores, folds = -rng.integers(0, 5, 12) / 4, np.repeat([0, 1], 6)
    known, level = fold_scores(scores, folds), Fraction(3, 14)
    outer = known.exceed(list(-maps), level)
    for bits in itertools.product([False, True], repeat=9):
        truth = np.array(bits)
        if truth.any():
            worst = [np.array((-m[truth]).max()) for m in maps]
            if known.exceed(worst, level):
                assert not (truth & ~outer).any()


def test_the_factor_of_two_is_needed():
    """Two p-values that sum to 2 alpha whenever the first is small: P = 2 alpha."""
    n, alpha = 200, Fraction(1, 10)  # p_1 uniform on k / n, p_2 = 2 alpha - p_1 there
    grid = [Fraction(k, n) for k in range(1, n + 1)]

    def second(p):
        return 2 * alpha - p + Fraction(1, n) if p <= 2 * alpha else p

    assert sorted(second(p) for p in grid) == grid  # uniform too: a p-value
    mean_small = [(p + second(p)) / 2 <= alpha + Fraction(1, 2 * n) for p in grid]
    assert Fraction(sum(mean_small), n) == 2 * alpha


def test_comparison_is_exact_where_the_common_denominator_is_huge():
    sizes = (9972, 9966, 9948, 9940, 9930)
    scores = np.concatenate([np.arange(m) for m in sizes])
    folds = np.repeat(np.arange(5), sizes)
    known = fold_scores(scores, folds)
    new = [np.array(float(m - 500)) for m in sizes]  # 500 at least as large
    exact = sum(Fraction(501, m + 1) for m in sizes) / 5
    assert not known.exceed(new, exact)
    assert known.exceed(new, exact - Fraction(1, 10**25))


def test_folds_too_small_for_a_level_are_told():
    for m, is_enough in ((19, True), (18, False)):
        known = fold_scores(np.arange(5.0 * m), np.repeat(np.arange(5), m))
        assert known.can_leave_out("0.05") is is_enough
    assert majority_alpha("0.2", "0.5") == Fraction(1, 10)
    assert majority_alpha("0.2", 0) == Fraction(1, 5)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="two or more"):
        fold_scores(np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="3 entries for 2 folds"):
        fold_mean_p(np.zeros(4), np.array([0, 0, 1, 1]), np.zeros(3))
    with pytest.raises(ValueError, match="NaN"):
        fold_mean_p(np.zeros(4), np.array([0, 0, 1, 1]), np.array([np.nan, 1]))
    with pytest.raises(ValueError, match="share of votes"):
        majority_alpha("0.1", 1)
