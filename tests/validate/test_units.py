"""Every split of whole units, against all of them one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverax.calibrate import conformal_rank, hierarchical_threshold
from coverax.validate import all_splits, all_unit_splits, random_splits


def enumerated(scores, units, n, alpha, threshold_fn=hierarchical_threshold):
    names = np.unique(units)
    found = []
    for chosen in itertools.combinations(names, n):
        mine = np.isin(units, chosen)
        t = threshold_fn(scores[mine], units[mine], alpha)
        rest = [u for u in names if u not in chosen]
        found.append(np.mean([(scores[units == u] <= t).mean() for u in rest]))
    return float(np.mean(found))


@given(
    seed=st.integers(0, 2**32 - 1),
    tied=st.booleans(),
    n=st.sampled_from([1, 3, 5]),
    alpha=st.sampled_from(["0.1", "0.25", "0.5"]),
)
def test_the_mean_is_that_of_every_split(seed, tied, n, alpha):
    rng = np.random.default_rng(seed)
    units = np.repeat(np.arange(7), rng.integers(1, 5, 7))
    scores = rng.integers(0, 4, units.size) if tied else rng.permutation(units.size)
    scores = scores.astype(float)
    found = all_unit_splits(scores, units, n, alpha)
    assert found == pytest.approx(enumerated(scores, units, n, alpha), abs=1e-12)
    assert found >= 1 - float(alpha) - 1e-12


def test_units_of_one_case_are_the_closed_form():
    scores = np.random.default_rng(0).standard_normal(60)
    found = all_unit_splits(scores, np.arange(60), 25, "0.2")
    assert found == pytest.approx(conformal_rank(25, "0.2") / 26, abs=1e-12)
    exact = all_splits(scores, 25, "0.2").coverage_mean
    assert found == pytest.approx(exact, abs=1e-12)


def test_counting_cases_as_units_is_noticed():
    """Negative control: the split threshold of all cases, whoever owns them."""
    from coverax.calibrate import split_threshold

    rng = np.random.default_rng(1)
    units = np.repeat(np.arange(8), [1, 1, 1, 1, 9, 9, 9, 9])
    scores = rng.standard_normal(units.size) - 3.0 * (units > 3)

    def pooled(scores, _units, alpha):
        return split_threshold(scores, alpha)

    assert all_unit_splits(scores, units, 5, "0.25") >= 0.75
    assert enumerated(scores, units, 5, "0.25", pooled) < 0.75


def test_random_splits_of_units_agree():
    rng = np.random.default_rng(2)
    units = np.repeat(np.arange(80), rng.integers(1, 4, 80))
    scores = rng.standard_normal(units.size)
    exact = all_unit_splits(scores, units, 40, "0.1")
    drawn = random_splits(scores, 40, ["0.1"], n_splits=4000, seed=0, units=units)[:, 0]
    # 5.2 standard errors: two-sided 2e-7, below the suite's rate.
    assert abs(drawn.mean() - exact) < 5.2 * drawn.std() / np.sqrt(4000)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match=r"n_calibration must lie in 1\.\.2, got 3"):
        all_unit_splits(np.arange(6.0), np.repeat(np.arange(3), 2), 3, "0.1")
    sizes = np.arange(1, 40)
    units = np.repeat(np.arange(39), sizes)
    scores = np.random.default_rng(0).standard_normal(units.size)
    with pytest.raises(ValueError, match="draw one case a unit"):
        all_unit_splits(scores, units, 20, "0.5")


def test_what_is_skipped_as_certain_is_certain():
    """Many units, so that most steps lie far from the threshold: nothing is lost."""
    rng = np.random.default_rng(3)
    units = np.repeat(np.arange(120), rng.integers(1, 3, 120))
    scores = rng.standard_normal(units.size)
    found = all_unit_splits(scores, units, 60, "0.1")
    from coverax.validate import units as module

    kept = module._NOTHING
    try:
        module._NOTHING = 1e-300
        every = all_unit_splits(scores, units, 60, "0.1")
    finally:
        module._NOTHING = kept
    assert found == pytest.approx(every, abs=1e-14)
