"""Weighted, fixed-weight and hierarchical thresholds by their finite identities."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coverax as cx
from coverax.calibrate import (
    coverage_gap,
    fixed_weight_threshold,
    hierarchical_threshold,
    split_threshold,
    weighted_threshold,
)

ALPHAS = st.sampled_from(["0.05", "0.1", "0.2", "0.3", "0.5"])
SEEDS = st.integers(0, 2**32 - 1)


def weight_served(scores, weights, alpha, threshold_fn):
    """Share of the bag's weight that lies on units covered when left out."""
    served = Fraction(0)
    for i in range(len(scores)):
        rest, w = np.delete(scores, i), np.delete(weights, i)
        if scores[i] <= threshold_fn(rest, w, weights[i], alpha):
            served += Fraction(str(weights[i]))
    return served / sum(Fraction(str(w)) for w in weights)


@given(seed=SEEDS, alpha=ALPHAS, tied=st.booleans())
def test_left_out_weight_served_is_at_least_one_minus_alpha(seed, alpha, tied):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 15))
    scores = rng.integers(0, 4, n) / 4 if tied else rng.standard_normal(n)
    weights = np.round(rng.exponential(size=n), 1) + 0.1
    served = weight_served(scores, weights, alpha, weighted_threshold)
    assert served >= 1 - Fraction(alpha)


def test_forgetting_the_new_units_weight_fails_the_identity():
    """Mutant: no mass at infinity."""

    def forgetful(scores, weights, _, alpha):
        return weighted_threshold(scores, weights, 0, alpha)

    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(50):
        scores, weights = rng.standard_normal(12), rng.integers(1, 9, 12)
        served = weight_served(scores, weights, "0.2", forgetful)
        failures += served < Fraction("0.8")
    assert failures > 25


@given(seed=SEEDS, alpha=ALPHAS)
def test_equal_weights_are_split_conformal(seed, alpha):
    scores = np.random.default_rng(seed).standard_normal(13)
    expected = split_threshold(scores, alpha)
    assert weighted_threshold(scores, np.full(13, 0.3), 0.3, alpha) == expected
    assert fixed_weight_threshold(scores, np.ones(13), alpha) == expected


def test_sums_of_decimal_weights_are_exact_at_the_boundary():
    """0.1 + 0.2 of 0.3 + 0.1 + ... : float sums miss equality with 1 - alpha."""
    weights = [0.1, 0.2, 0.3, 0.4]
    scores = np.array([1.0, 2.0, 3.0, 4.0])
    # (0.1 + 0.2 + 0.3) / 1.0 is exactly 0.6; the float sum is 0.6000000000000001.
    assert weighted_threshold(scores, weights, 0, "0.4") == 3.0
    assert weighted_threshold(scores, weights, 0, "0.7") == 2.0


def test_threshold_grows_with_the_weight_of_the_new_unit():
    rng = np.random.default_rng(1)
    scores, weights = rng.standard_normal(30), rng.exponential(size=30)
    found = [weighted_threshold(scores, weights, w, 0.2) for w in (0, 0.5, 1, 5, 100)]
    assert found == sorted(found)
    assert found[-1] == math.inf


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1, 1], "at least 0, got -1.0 at 1"),
        ([0, 0, 0], "all weights are 0"),
        ([1, math.nan, 1], "finite number"),
        ([1, math.inf, 1], "finite number"),
        ([1, 1], "2 weights for 3 scores"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(ValueError, match=message):
        weighted_threshold(np.arange(3.0), weights, 1, 0.5)


def test_fixed_weights_lie_in_zero_one_and_their_gap_is_the_weighted_distance():
    with pytest.raises(ValueError, match=r"lie in \[0, 1\], got 2.0"):
        fixed_weight_threshold(np.arange(3.0), np.array([1, 2, 1]), 0.5)
    gap = coverage_gap(np.array([1.0, 0.5]), np.array([0.1, 0.3]))
    assert gap == pytest.approx((0.1 + 0.15) / 2.5)


def units_served(scores, units, alpha, threshold_fn):
    """Mean over left-out units of the share of their cases that is covered."""
    total = Fraction(0)
    names = sorted(set(units.tolist()))
    for name in names:
        mine = units == name
        t = threshold_fn(scores[~mine], units[~mine], alpha)
        total += Fraction(int((scores[mine] <= t).sum()), int(mine.sum()))
    return total / len(names)


@given(seed=SEEDS, alpha=ALPHAS, tied=st.booleans())
def test_left_out_units_are_covered_in_the_mean(seed, alpha, tied):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, int(rng.integers(2, 9)))
    units = np.repeat(np.arange(len(sizes)), sizes)
    scores = rng.standard_normal(len(units)) + rng.standard_normal(len(sizes))[units]
    if tied:
        scores = np.round(scores)
    assert units_served(scores, units, alpha, hierarchical_threshold) >= 1 - Fraction(
        alpha
    )


def test_counting_the_cases_of_a_unit_as_independent_fails_the_identity():
    """Negative control: one unit owns most cases, all of them easy."""

    def pooled(scores, units, alpha):
        return split_threshold(scores, alpha)

    units = np.repeat(np.arange(6), [40, 1, 1, 1, 1, 1])
    scores = np.where(units == 0, -1.0, 1.0) + np.arange(len(units)) / 1000
    assert units_served(scores, units, "0.2", pooled) < Fraction("0.8")
    assert units_served(scores, units, "0.2", hierarchical_threshold) >= Fraction("0.8")


@given(seed=SEEDS, alpha=ALPHAS)
def test_one_case_a_unit_is_split_conformal(seed, alpha):
    scores = np.random.default_rng(seed).standard_normal(11)
    expected = split_threshold(scores, alpha)
    assert hierarchical_threshold(scores, np.arange(11), alpha) == expected


def test_hierarchical_masses_are_exact():
    """Three cases of 1/3 of a unit are a whole unit: no float sum says so always."""
    units = np.repeat(np.arange(3), 3)
    scores = np.arange(9.0)
    assert hierarchical_threshold(scores, units, "0.5") == 5.0
    assert hierarchical_threshold(scores, units, "0.25") == 8.0
    assert hierarchical_threshold(scores, units, "0.24") == math.inf


@pytest.mark.parametrize("missing", [None, "", math.nan])
def test_a_case_without_unit_is_refused(missing):
    units = np.array(["a", missing, "b"], object)
    with pytest.raises(ValueError, match="1 case has no unit, the first at 1"):
        hierarchical_threshold(np.arange(3.0), units, 0.5)


@given(seed=SEEDS, alpha=ALPHAS)
def test_the_split_identity_holds_inside_each_group(seed, alpha):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 3, 18)
    scores = rng.standard_normal(18)
    for group in set(groups.tolist()):
        mine = np.flatnonzero(groups == group)
        served = 0
        for i in mine:
            rest = np.arange(18) != i
            found = cx.calibrate.group_thresholds(scores[rest], groups[rest], alpha)
            served += scores[i] <= found.get(group, math.inf)
        rank = cx.calibrate.conformal_rank(len(mine) - 1, alpha)
        assert served == min(rank, len(mine))


def test_groups_keep_their_own_ranks_and_small_ones_are_vacuous_or_merged():
    scores = np.arange(24.0)
    groups = np.array(["a"] * 19 + ["b"] * 3 + ["c"] * 2)
    found = cx.calibrate.group_thresholds(scores, groups, 0.1)
    assert found == {"a": 17.0, "b": math.inf, "c": math.inf}
    rows, small = cx.calibrate.group_parts(groups.tolist(), np.arange(24), 5)
    assert small == ["b", "c"]
    assert [rows[g].tolist() for g in ("a", "other")] == [
        list(range(19)),
        list(range(19, 24)),
    ]
    with pytest.raises(ValueError, match="2 groups for 3 scores"):
        cx.calibrate.group_thresholds(np.arange(3.0), np.array(["a", "b"]), 0.5)


@pytest.mark.parametrize("hard", range(1, 9))
def test_small_groups_together_are_covered_whoever_is_new(hard):
    """Leave each unit of a bag out: a group of bad scores passes through the floor.

    Merging the groups that are small without the new unit, and no others, covers 37 of
    45 at `hard` = 5 where 41 are promised.
    """
    groups = np.array(["hard"] * hard + [f"g{k % 10}" for k in range(40)])
    scores = np.where(groups == "hard", 100.0, 0.0) + np.arange(groups.size)
    served = covered = 0
    for i, group in enumerate(groups):
        rest = np.delete(np.arange(groups.size), i)
        rows, small = cx.calibrate.group_parts(groups[rest].tolist(), rest, 5)
        if group not in rows or group in small:
            found = split_threshold(scores[rest][rows["other"]], "0.1")
            served += 1
            covered += scores[i] <= found
    assert 10 * covered >= 9 * served > 0


def test_one_threshold_for_all_fails_a_hard_group():
    """Negative control of Mondrian: the pooled threshold leaves one group uncovered."""
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.standard_normal(90), rng.standard_normal(10) + 5])
    groups = np.repeat(["easy", "hard"], [90, 10])
    pooled = split_threshold(scores, "0.1")
    assert (scores[groups == "hard"] <= pooled).mean() < 0.2
    own = cx.calibrate.group_thresholds(scores, groups, "0.1")["hard"]
    assert (scores[groups == "hard"] <= own).all()
