"""Upper bounds of a mean: exact enumeration of binary losses, and of all sequences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from coverax.calibrate import bounds

SYMMETRIC = [
    bounds.hoeffding,
    bounds.hoeffding_bentkus,
    bounds.empirical_bernstein,
    bounds.clopper_pearson,
]
RISKS = np.linspace(0, 1, 201)


def binary_tables(n):
    """Column k has k losses of 1 among n."""
    return (np.arange(n)[:, None] < np.arange(n + 1)).astype(float)


def worst_failure(upper, n, risks=RISKS):
    """Largest chance, over the true risk, that the bound lies below it."""
    counts = np.arange(n + 1)
    chance = stats.binom.pmf(counts, n, risks[:, None])
    return float((chance * (upper[None] < risks[:, None])).sum(1).max())


@pytest.mark.parametrize("fn", SYMMETRIC)
@pytest.mark.parametrize("n", [1, 2, 10, 50, 200])
@pytest.mark.parametrize("delta", [0.05, 0.1, 0.3])
def test_a_bound_fails_at_most_delta_of_the_time(fn, n, delta):
    assert worst_failure(fn(binary_tables(n), delta), n) <= delta + 1e-12


def test_the_enumeration_catches_a_normal_approximation():
    """Negative control: the central limit theorem is no bound."""
    tables = binary_tables(200)
    clt = tables.mean(0) + stats.norm.isf(0.1) * tables.std(0) / np.sqrt(200)
    assert worst_failure(clt, 200) > 0.2


def test_the_enumeration_catches_a_variance_over_the_wrong_axis():
    """Mutant: a bound whose spread runs over lams, as one in the field did."""
    n, delta = 50, 0.1
    tables = binary_tables(n)
    log_term = np.log(2 / delta)
    for column in range(n + 1):
        wrong = np.repeat(tables[:, column : column + 1], 5, axis=1).var(1).mean()
        assert wrong == 0
    upper = tables.mean(0) + np.sqrt(2 * 0 * log_term / n)
    assert worst_failure(upper, n) > delta


def all_sequences(n):
    return np.array(list(itertools.product([0.0, 1.0], repeat=n))).T


def worst_sequence_failure(upper, sequences, risks):
    ones = sequences.sum(0)
    n = len(sequences)
    return max(
        float((r**ones * (1 - r) ** (n - ones) * (upper < r)).sum()) for r in risks
    )


@pytest.mark.parametrize("n", [1, 3, 8, 12])
@pytest.mark.parametrize("delta", [0.1, 0.4])
def test_wsr_fails_at_most_delta_over_all_sequences(n, delta):
    sequences = all_sequences(n)
    upper = bounds.wsr(sequences, delta)
    assert worst_sequence_failure(upper, sequences, RISKS) <= delta


def test_a_martingale_restarted_halfway_is_caught():
    """Mutant: the best of two capitals, each paid for as if it were the only one."""
    n, delta = 12, 0.4
    sequences = all_sequences(n)
    halves = [
        bounds.wsr(part, delta) for part in (sequences[: n // 2], sequences[n // 2 :])
    ]
    restarted = np.minimum(*halves)
    assert worst_sequence_failure(restarted, sequences, RISKS) > delta


def test_wsr_on_sorted_losses_is_caught():
    """Negative control: zeros first, whatever the data."""
    n, delta = 12, 0.1
    sequences = all_sequences(n)
    upper = bounds.wsr(np.sort(sequences, axis=0), delta)
    assert worst_sequence_failure(upper, sequences, RISKS) > delta


@settings(max_examples=12)
@given(seed=st.integers(0, 2**32 - 1), n=st.sampled_from([1, 2, 20, 60]))
def test_bounds_lie_above_the_mean_and_columns_do_not_mix(seed, n):
    """All but WSR: a bet won early is kept, so a late loss can lift the mean above it."""
    rng = np.random.default_rng(seed)
    binary = rng.random((n, 3)) < rng.random(3)
    for fn in bounds.BOUNDS.values():
        upper = fn(binary, 0.2)
        assert (upper <= 1).all()
        assert fn is bounds.wsr or (binary.mean(0) <= upper).all()
        alone = [float(fn(binary[:, k], 0.2)) for k in range(3)]
        np.testing.assert_allclose(upper, alone, rtol=1e-14)


def three_valued(n, risk):
    """All counts of losses 0, risk and 1 among n, as a table with a column each."""
    counts = [
        (low, middle, n - low - middle)
        for low in range(n + 1)
        for middle in range(n + 1 - low)
    ]
    columns = [np.repeat([0.0, risk, 1.0], each) for each in counts]
    return np.array(counts), np.stack(columns, axis=1)


def chances(counts, risk):
    """Chance of each count where the mean loss is the risk; the first has no spread."""
    for spread in (0.0, 0.1, 0.5, 1.0):
        masses = [spread * (1 - risk), 1 - spread, spread * risk]
        yield stats.multinomial.pmf(counts, counts[0].sum(), masses)


@pytest.mark.parametrize("n", [1, 3, 10])
@pytest.mark.parametrize("risk", [0.099, 0.25, 0.5])
def test_bounds_and_p_values_hold_for_losses_between_0_and_1(n, risk):
    """Exact, over losses of three values: what is only right for 0 and 1 fails."""
    counts, tables = three_valued(n, risk)
    p = np.asarray(bounds.hoeffding_bentkus_p_value(tables, risk))
    uppers = [
        (delta, fn(tables, delta))
        for fn in (
            bounds.hoeffding,
            bounds.hoeffding_bentkus,
            bounds.empirical_bernstein,
        )
        for delta in (0.05, 0.4, 0.9)
    ]
    for chance in chances(counts, risk):
        for t in np.unique(p):
            assert chance[p <= t].sum() <= t + 1e-12
        for delta, upper in uppers:
            assert chance[upper < risk - 1e-12].sum() <= delta + 1e-12


def capital_of_bets(losses, risk, delta):
    """Largest capital, row by row as published: a bet knows the rows before it alone."""
    n, capital, largest = len(losses), 1.0, 1.0
    sum_losses, sum_squares, variance, bets = 0.5, 0.25, 0.25, []
    for i, loss in enumerate(losses, start=1):
        bets.append(min(1.0, np.sqrt(2 * np.log(1 / delta) / (n * variance))))
        capital *= 1 - bets[-1] * (loss - risk)
        largest = max(largest, capital)
        sum_losses += loss
        sum_squares += (loss - sum_losses / (i + 1)) ** 2
        variance = sum_squares / (i + 1)
    return largest, bets


@pytest.mark.parametrize(("n", "mean", "delta"), [(150, 0.1, 0.1), (60, 0.5, 0.2)])
def test_wsr_is_its_published_form(n, mean, delta):
    """The smallest risk at which the capital passes 1 / delta, with bets below 1."""
    rng = np.random.default_rng(n)
    for losses in (rng.random(n) < mean, rng.beta(mean, 1 - mean, n)):
        upper = float(bounds.wsr(losses, delta))
        above, bets = capital_of_bets(losses, upper + 1e-9, delta)
        below, _ = capital_of_bets(losses, upper - 1e-9, delta)
        assert below <= 1 / delta < above
        assert min(bets) < 0.9
        at = [upper - 1e-9, upper + 1e-9]
        passes = [bool(bounds.is_at_most("wsr", losses, r, delta)) for r in at]
        assert passes == [False, True]


def test_known_values():
    zeros = np.zeros(100)
    assert bounds.hoeffding(zeros, 0.1) == pytest.approx(np.sqrt(np.log(10) / 200))
    # No loss in n: (1 - r)^n = delta is exact, and Hoeffding's entropy form meets it.
    exact = 1 - 0.1**0.01
    assert bounds.clopper_pearson(zeros, 0.1) == pytest.approx(exact, rel=1e-12)
    assert bounds.hoeffding_bentkus(zeros, 0.1) == pytest.approx(exact, abs=2e-12)
    assert bounds.empirical_bernstein(zeros, 0.1) == pytest.approx(7 * np.log(20) / 297)
    two = bounds.empirical_bernstein(np.array([0.0, 1.0] * 500), 0.1)
    spread = np.sqrt(2 * (0.25 * 1000 / 999) * np.log(20) / 1000)
    assert two == pytest.approx(0.5 + spread + 7 * np.log(20) / (3 * 999))


def test_betting_and_bernstein_use_small_spread():
    """What they are for: with little spread they beat Hoeffding."""
    losses = np.clip(np.random.default_rng(0).normal(0.1, 0.02, 1000), 0, 1)
    plain = float(bounds.hoeffding(losses, 0.05))
    assert float(bounds.empirical_bernstein(losses, 0.05)) < plain
    assert float(bounds.wsr(losses, 0.05)) < plain


@pytest.mark.parametrize("n", [1, 5, 30])
def test_p_values_are_super_uniform_by_enumeration(n):
    tables = binary_tables(n)
    counts = np.arange(n + 1)
    for risk in RISKS[1:-1]:
        p = bounds.hoeffding_bentkus_p_value(tables, risk)
        mass = stats.binom.pmf(counts, n, risk)
        for t in np.linspace(0.01, 1, 50):
            assert mass[p <= t].sum() <= t + 1e-12


def test_p_values_at_the_ends():
    p = bounds.hoeffding_bentkus_p_value
    assert p(np.zeros(5), 0.0) == 1.0
    assert p(np.ones(5), 1.0) == 1.0
    assert p(np.array([1.0, 0.5]), 1.0) == 0.0


@pytest.mark.parametrize("fn", [*SYMMETRIC, bounds.wsr])
def test_bad_losses_are_refused(fn):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fn(np.array([0.5, 1.5]), 0.1)
    with pytest.raises(ValueError, match="NaN"):
        fn(np.array([0.5, np.nan]), 0.1)
    with pytest.raises(ValueError, match="expected losses"):
        fn(np.array([]), 0.1)
    with pytest.raises(ValueError, match="delta must lie"):
        fn(np.array([0.0, 1.0]), 0)


def test_clopper_pearson_refuses_what_is_not_binary():
    with pytest.raises(ValueError, match="0 or 1"):
        bounds.clopper_pearson(np.array([0.0, 0.5]), 0.1)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1))
def test_one_look_at_a_risk_is_what_the_bound_says(seed):
    rng = np.random.default_rng(seed)
    losses = (rng.random((40, 6)) < np.linspace(0, 0.5, 6)).astype(float)
    for name, fn in bounds.BOUNDS.items():
        for risk in (0.1, 0.3, 0.6):
            looked = bounds.is_at_most(name, losses, risk, 0.1)
            np.testing.assert_array_equal(looked, fn(losses, 0.1) <= risk)
