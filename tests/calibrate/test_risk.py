"""Conformal risk control, RCPS and LTT by finite identities."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from coverax.calibrate import (
    Status,
    crc_threshold,
    ltt_threshold,
    pac_rank,
    rcps_threshold,
    split_threshold,
)
from coverax.calibrate.ltt import bonferroni, fixed_sequence, holm

SEEDS = st.integers(0, 2**32 - 1)
ALPHAS = st.sampled_from(["0.05", "0.1", "0.2", "0.35", "0.5"])


def loss_table(rng, n, n_lams=9, *, steps=20):
    """Losses that fall to 0 at the safest lam, multiples of 1 / steps."""
    losses = np.sort(rng.integers(0, steps + 1, (n, n_lams)), axis=1)[:, ::-1]
    losses[:, -1] = 0
    return losses / steps


def mean_left_out_loss(losses, alpha, threshold_fn):
    lams = np.arange(losses.shape[1])
    total = Fraction(0)
    for i in range(len(losses)):
        k = threshold_fn(np.delete(losses, i, 0), lams, alpha)
        total += Fraction(str(losses[i, k]))
    return total / len(losses)


def crc_index(losses, lams, alpha):
    return crc_threshold(losses, lams, alpha).index


@given(seed=SEEDS, alpha=ALPHAS)
def test_mean_left_out_loss_is_at_most_alpha(seed, alpha):
    rng = np.random.default_rng(seed)
    losses = loss_table(rng, int(rng.integers(2, 14)))
    assert mean_left_out_loss(losses, alpha, crc_index) <= Fraction(alpha)


def test_risk_control_without_the_correction_fails_the_identity():
    """Mutant: the empirical mean alone, as a plug-in would."""

    def plug_in(losses, lams, alpha):
        passes = losses.mean(0) <= float(alpha)
        return int(passes.argmax())

    scores = np.random.default_rng(0).standard_normal(12)
    losses = (scores[:, None] > np.sort(scores)).astype(float)
    assert mean_left_out_loss(losses, "0.2", plug_in) == Fraction(3, 12)
    assert mean_left_out_loss(losses, "0.2", crc_index) == Fraction(2, 12)


@given(seed=SEEDS, alpha=ALPHAS, tied=st.booleans())
def test_crc_of_the_binary_loss_is_split_conformal(seed, alpha, tied):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, 12) / 4 if tied else rng.standard_normal(12)
    lams = np.unique(scores)
    found = crc_threshold((scores[:, None] > lams).astype(float), lams, alpha)
    expected = split_threshold(scores, alpha)
    if np.isinf(expected):
        assert found.status is Status.INFEASIBLE
        assert found.lam == lams[-1]
    else:
        assert (found.lam, found.status) == (expected, Status.OK)


def test_crc_decides_exact_sums_at_the_boundary():
    """Ten losses of 0.1 are 1, and (1 + 1) / 11 <= alpha holds only from 2/11 on."""
    losses = np.full((9, 2), [0.1, 0.0])
    # 0.9 + 1 = 0.19 * 10 exactly; the float sum of nine 0.1 is 0.8999999999999999.
    assert crc_threshold(losses, np.array([0, 1]), "0.19").lam == 0
    assert crc_threshold(losses, np.array([0, 1]), "0.1899999").lam == 1
    three = np.array([[0.7, 0], [0.1, 0], [0.2, 0], [0, 0]])  # floats: 0.9999999999...
    assert crc_threshold(three, np.array([0, 1]), "0.4").lam == 0


def test_crc_reads_losses_as_shares_of_voxels():
    """Thirds add up to 1; the decimals that they print to 0.9999999999999999."""
    thirds = np.array([[1 / 3, 0], [1 / 3, 0], [1 / 3, 0], [0, 0]])
    assert crc_threshold(thirds, np.array([0, 1]), "0.4").lam == 0
    sixths = np.array([[5 / 6, 0]] * 6 + [[0, 0]] * 3)  # decimals: 5.0000000000000002
    assert crc_threshold(sixths, np.array([0, 1]), "0.6").lam == 0
    assert crc_threshold(sixths, np.array([0, 1]), "0.5999").lam == 1


def test_an_alpha_below_the_correction_is_infeasible():
    losses = np.zeros((8, 3))
    found = crc_threshold(losses, np.arange(3), 0.1)
    assert (found.status, found.lam) == (Status.INFEASIBLE, 2.0)
    assert crc_threshold(losses, np.arange(3), "0.1112").status is Status.OK
    assert crc_threshold(losses, np.arange(3), 0.1, bound=0.5).lam == 0.0
    alone = crc_threshold(losses[:1], np.arange(3), "0.5")
    assert alone.status is Status.OK


@pytest.mark.parametrize("fn", [crc_threshold, rcps_threshold])
def test_losses_that_cannot_be_used_are_refused(fn):
    more = () if fn is crc_threshold else (0.1,)
    good, lams = np.zeros((5, 3)), np.arange(3)
    rising = good.copy()
    rising[2, 2] = 0.5
    with pytest.raises(ValueError, match=r"row 2 increases from lam 1 to 2.*LTT"):
        fn(rising, lams, 0.2, *more)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1"):
        fn(good + 1.5, lams, 0.2, *more)
    with pytest.raises(ValueError, match="not be NaN"):
        fn(good * np.nan, lams, 0.2, *more)
    with pytest.raises(ValueError, match="must ascend"):
        fn(good, lams[::-1], 0.2, *more)
    with pytest.raises((ValueError, TypeError)):  # the type hook of the tests is first
        fn(good[:, :2], lams, 0.2, *more)
    with pytest.raises(ValueError, match="alpha must lie"):
        fn(good, lams, 1.5, *more)


@pytest.mark.parametrize(
    ("n", "alpha", "delta"), [(30, 0.2, 0.1), (59, 0.05, 0.05), (100, 0.1, 0.05)]
)
def test_rcps_with_clopper_pearson_is_the_pac_rank(n, alpha, delta):
    scores = np.random.default_rng(n).permutation(n).astype(float)
    lams = np.sort(scores)
    binary = (scores[:, None] > lams).astype(float)
    found = rcps_threshold(binary, lams, alpha, delta, method="clopper_pearson")
    assert found.lam == lams[pac_rank(n, alpha, delta) - 1]


METHODS = ["hoeffding", "hoeffding_bentkus", "empirical_bernstein", "clopper_pearson"]


@pytest.mark.parametrize("method", METHODS)
def test_rcps_controls_the_risk_by_enumeration(method):
    """All 2^n outcomes of binary losses with a known risk at each of three lams.

    A unit's loss at lam k is 1 iff its uniform lies below risks[k]; enumerate which of
    the four cells each unit falls into.
    """
    n, alpha, delta = 7, 0.55, 0.3
    risks = [0.8, 0.57, 0.1]  # the second is just above alpha: choosing it is a failure
    cells = -np.diff([1, *risks, 0])
    p_bad = 0.0
    for counts in itertools.product(range(n + 1), repeat=4):
        if sum(counts) == n:
            losses = np.repeat(np.tri(4, 3, -1)[:, :], counts, axis=0)
            losses = np.maximum.accumulate(losses[:, ::-1], axis=1)[:, ::-1]
            found = rcps_threshold(losses, np.arange(3), alpha, delta, method=method)
            if found.index < 2:
                p_bad += stats.multinomial.pmf(counts, n, cells)
    assert p_bad <= delta


@pytest.mark.parametrize("method", [*METHODS, "wsr"])
def test_nothing_passes_is_infeasible_and_everything_passes_is_the_first(method):
    lams = np.arange(4)
    few = rcps_threshold(np.zeros((1, 4)), lams, 0.1, 0.05, method=method)
    assert (few.status, few.lam) == (Status.INFEASIBLE, 3.0)
    many = rcps_threshold(np.zeros((2000, 4)), lams, 0.1, 0.05, method=method)
    assert (many.status, many.lam) == (Status.OK, 0.0)
    # The type hook of the tests refuses it first.
    with pytest.raises((ValueError, TypeError)):
        rcps_threshold(np.zeros((5, 4)), lams, 0.1, 0.05, method="clt")


def test_a_lam_that_passes_beyond_one_that_fails_is_not_taken(monkeypatch):
    """A bound need not be monotone; from the safe end on, the first failure stops."""
    from coverax.calibrate.bounds import BOUNDS

    losses = np.linspace(1, 0, 5)[None] * np.ones((40, 1))
    lams = np.arange(5)
    bumpy = np.array([0.05, 0.05, 0.9, 0.05, 0.05])
    monkeypatch.setitem(BOUNDS, "hoeffding", lambda *_: bumpy)
    assert rcps_threshold(losses, lams, 0.1, 0.1, method="hoeffding").lam == 3.0


def test_wsr_rows_sorted_by_score_are_permuted():
    """Zeros first is what a sorted table gives; the answer depends on the seed alone."""
    rng = np.random.default_rng(0)
    losses = np.sort(rng.random((200, 1)) < 0.3, axis=0).astype(float)
    lams = np.array([0])
    found = [rcps_threshold(losses, lams, 0.25, 0.1, seed=s).status for s in range(20)]
    assert found.count(Status.OK) <= 2


def test_ltt_certifies_where_all_risks_are_controlled():
    n = 400
    falling = np.tile(np.linspace(0.5, 0, 11), (n, 1))
    rising = falling[:, ::-1]
    lams = np.arange(11)
    both = ltt_threshold(
        [falling, rising], lams, [0.4, 0.4], 0.1, correction="bonferroni"
    )
    assert both.certified.any()
    assert not both.certified[0]
    assert not both.certified[-1]
    one = ltt_threshold([falling], lams, [0.4], 0.1)
    assert (one.certified >= both.certified).all()
    assert one.lam == lams[one.certified.argmax()]
    none = ltt_threshold([falling, rising], lams, [0.1, 0.1], 0.1)
    assert (none.status, none.lam) == (Status.INFEASIBLE, 10.0)
    with pytest.raises(ValueError, match="1 loss tables for 2 alphas"):
        ltt_threshold([falling], lams, [0.1, 0.2], 0.1)
    with pytest.raises(ValueError, match="different numbers of rows"):
        ltt_threshold([falling, rising[:9]], lams, [0.1, 0.2], 0.1)
    with pytest.raises(ValueError, match="every lam once"):
        ltt_threshold([falling], lams, [0.1], 0.1, order=np.zeros(11, int))
    with pytest.raises(ValueError, match="order is for fixed_sequence"):
        ltt_threshold([falling], lams, [0.1], 0.1, correction="holm", order=lams)


@given(seed=SEEDS)
def test_corrections_are_nested_and_stop(seed):
    rng = np.random.default_rng(seed)
    p = rng.random(8) ** 3
    assert (holm(p, 0.1) >= bonferroni(p, 0.1)).all()
    order = rng.permutation(8)
    certified = fixed_sequence(p, 0.1, order)[order]
    n = int(certified.sum())
    assert certified[:n].all()
    assert n == 8 or p[order[n]] > 0.1


def closed_test(p_values, delta):
    """Holm by its theorem: rejected where every set of hypotheses around it is."""
    n = p_values.size
    sets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k)]
    stands = [s for s in sets if p_values[list(s)].min() > delta / len(s)]
    return np.array([not any(i in s for s in stands) for i in range(n)])


@pytest.mark.parametrize("seed", range(20))
def test_holm_is_the_closed_bonferroni_test(seed):
    """Every subset of five hypotheses, p-values at and beside each share of delta."""
    rng, delta = np.random.default_rng(seed), 0.1
    shares = delta / np.arange(1, 7)
    p = rng.choice([*shares, *np.nextafter(shares, 1)], 5)
    np.testing.assert_array_equal(holm(p, delta), closed_test(p, delta))
    assert bonferroni(p, delta).tolist() == (p <= delta / 5).tolist()


def family_wise_error(correction, n, risks, alpha, delta):
    """Exact chance of any false certificate, independent binary losses per lam."""
    p_of = stats.binom.cdf(np.arange(n + 1), n, alpha)
    total = 0.0
    for counts in itertools.product(range(n + 1), repeat=len(risks)):
        found = correction(np.array([p_of[k] for k in counts]), delta)
        if (found & (np.array(risks) > alpha)).any():
            total += np.prod(
                [stats.binom.pmf(k, n, r) for k, r in zip(counts, risks, strict=True)]
            )
    return total


@pytest.mark.parametrize("correction", [bonferroni, holm, fixed_sequence])
def test_family_wise_error_by_enumeration(correction):
    risks = [0.51, 0.52, 0.2]
    assert family_wise_error(correction, 12, risks, 0.5, 0.3) <= 0.3


def test_uncorrected_tests_fail_the_enumeration():
    """Negative control: many true nulls at the boundary, each at the full delta."""
    risks = [0.501, 0.501, 0.501]

    def uncorrected(p_values, delta):
        return p_values <= delta

    assert family_wise_error(uncorrected, 12, risks, 0.5, 0.3) > 0.3
    assert family_wise_error(bonferroni, 12, risks, 0.5, 0.3) <= 0.3
