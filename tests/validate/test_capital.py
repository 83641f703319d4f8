"""Capitals by enumeration of every sequence, in fractions, and their false alarms."""

from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import binom
from tests.conftest import FALSE_FAIL_RATE
from tests.oracles import capital as oracle

from coverax.calibrate import compliance_pmf, conformal_rank
from coverax.validate import compliance_capital, map_capital, risk_capital

M = 10


def capital(failures, n, rank):
    return compliance_capital(np.array(failures, bool), n, rank)


@pytest.mark.parametrize(("n", "rank"), [(19, 18), (20, 16), (3, 3), (9, 1)])
def test_the_mean_over_all_sequences_is_one(n, rank):
    """All 2**10 sequences with the chances of the urn: a martingale from 1, exactly."""
    bad = n + 1 - rank
    for m in (1, 4, M):
        chance = {s: oracle.urn(bad, rank, s) for s in oracle.sequences(m)}
        assert sum(chance.values()) == 1
        exact = {s: oracle.compliance(s, n, rank) for s in chance}
        assert sum(chance[s] * exact[s] for s in chance) == 1
        if m == 4:
            found = [capital(s, n, rank)[-1] for s in chance]
            assert found == pytest.approx([float(exact[s]) for s in chance], rel=1e-12)


def test_each_step_has_the_mean_of_the_step_before():
    """A martingale at every prefix, not only at the end."""
    n, rank = 20, 18
    for prefix in oracle.sequences(5):
        f, bad = sum(prefix), n + 1 - rank
        p = Fraction(bad + f, n + 1 + 5)
        after = [oracle.compliance((*prefix, hit), n, rank) for hit in (True, False)]
        assert p * after[0] + (1 - p) * after[1] == oracle.compliance(prefix, n, rank)


def test_the_urn_is_the_law_of_compliance():
    n, rank, m = 20, 17, 6
    by_failures = [Fraction(0)] * (m + 1)
    for s in oracle.sequences(m):
        by_failures[sum(s)] += oracle.urn(n + 1 - rank, rank, s)
    # `compliance_pmf` counts those that comply.
    law = compliance_pmf(n, rank, m)
    assert law[::-1] == pytest.approx([float(p) for p in by_failures], rel=1e-12)


def test_it_ever_reaches_its_limit_as_seldom_as_promised():
    """Over all 2**10 sequences, at every look: P(ever >= c) <= 1 / c, for every c."""
    n, rank = 9, 8
    found = {s: capital(s, n, rank).max() for s in oracle.sequences(M)}
    chance = {s: oracle.urn(n + 1 - rank, rank, s) for s in found}
    for c in sorted(set(found.values())):
        reached = sum(chance[s] for s in found if found[s] >= c)
        assert reached <= min(1, 1 / Fraction(c)) + Fraction(1, 10**12)
    # Negative control: where most cases fail it is reached more often.
    broken = {s: oracle.urn(8, 4, s) for s in found}
    assert sum(broken[s] for s in found if found[s] >= 3) > Fraction(1, 3)


def test_more_failures_never_make_less_capital():
    """What ties need: a failure that a tie hides only lowers the capital."""
    for s in oracle.sequences(8):
        for k in range(8):
            if not s[k]:
                worse = (*s[:k], True, *s[k + 1 :])
                assert capital(worse, 20, 18)[-1] > capital(s, 20, 18)[-1]


def test_exchangeable_scores_fail_as_the_urn_says():
    """Every order of 7 distinct scores, 4 of which calibrate: chances of all patterns."""
    n, rank = 4, 3
    counts: dict[tuple[bool, ...], int] = {}
    for order in permutations(range(7)):
        limit = sorted(order[:n])[rank - 1]
        pattern = tuple(s > limit for s in order[n:])
        counts[pattern] = counts.get(pattern, 0) + 1
    for pattern, count in counts.items():
        assert Fraction(count, 5040) == oracle.urn(n + 1 - rank, rank, pattern)


def test_a_bet_on_a_mean_keeps_a_mean_of_at_most_one():
    """Every sequence of three losses whose mean is alpha, or less: exact."""
    alpha = Fraction(1, 4)
    outcomes = {
        Fraction(0): Fraction(5, 8),
        Fraction(1, 2): Fraction(1, 4),
        Fraction(1): Fraction(1, 8),
    }
    assert sum(loss * p for loss, p in outcomes.items()) == alpha
    total = Fraction(0)
    for losses in product(outcomes, repeat=5):
        chance = np.prod([outcomes[loss] for loss in losses])
        exact = oracle.risk(losses, alpha)
        found = risk_capital(np.array(losses, float), alpha)[-1]
        assert found == pytest.approx(float(exact), rel=1e-12)
        total += chance * exact
    assert total == 1
    # Smaller losses make less.
    assert oracle.risk([0, 0, 0, 0, 0], alpha) < 1


def test_a_feature_is_ranked_among_all_before_it(monkeypatch):
    """P-values by the definition: above, and a share of those that tie, over all so far."""
    from coverax.validate import capital as module

    seen = []
    monkeypatch.setattr(module, "betting_capital", lambda p: seen.append(p) or p)
    known, new = [1.0, 2.0, 2.0, 5.0], [2.0, 7.0, 0.0, 2.0]
    map_capital(known, new, name="f", seed=3)
    bag = list(known)
    for value, p in zip(new, seen[0], strict=True):
        bag.append(value)
        low = sum(v > value for v in bag) / len(bag)
        high = sum(v >= value for v in bag) / len(bag)
        assert low <= p <= high


def test_prefixes_are_prefixes():
    rng = np.random.default_rng(0)
    failures, losses, values = rng.random(40) < 0.3, rng.random(40), rng.random(40)
    for m in (0, 1, 17):
        pairs = [
            (capital(failures, 20, 18), capital(failures[:m], 20, 18)),
            (risk_capital(losses, "0.2"), risk_capital(losses[:m], "0.2")),
            *[
                tuple(
                    map_capital([0.5, 0.2], v, name="a", seed=1)
                    for v in (values, values[:m])
                )
            ],
        ]
        for whole, part in pairs:
            assert whole[:m].tobytes() == part.tobytes()


def alarms(n_runs, seed, shift=0.0, rate=None):
    """Years of 52 weeks of two cases: runs in which any of the capitals ever alarms.

    Three features and the promise share the stake as the monitor does, level 0.05.
    """
    rng, n, level = np.random.default_rng(seed), 40, 0.05
    rank, hits = conformal_rank(n, "0.1"), 0
    for k in range(n_runs):
        known = rng.normal(size=(3, n))
        new = rng.normal(shift, size=(3, 104))
        scores = rng.random(n)
        limit = np.sort(scores)[rank - 1] if rate is None else 1 - rate
        failed = rng.random(104) > limit
        best = compliance_capital(failed, n, rank).max() / 2
        for i in range(3):
            one = map_capital(known[i], new[i], name=str(i), seed=k)
            best = max(best, one.max() / 6)
        hits += best >= 1 / level
    return hits


def test_two_hundred_healthy_years_raise_no_more_alarms_than_promised():
    """False alarms of 200 years at level 0.05 lie below the binomial's far end.

    False-fail rate FALSE_FAIL_RATE at a true rate of 0.05; the true one is lower.
    """
    most = binom.isf(FALSE_FAIL_RATE, 200, 0.05)
    assert alarms(200, 1) <= most
    assert most < 40  # power: a monitor that is wrong every fifth year is found


def test_false_alarms_has_power():
    """Broken promises, and shifted maps, are noticed within the year."""
    assert alarms(20, 2, rate=0.5) > 15
    assert alarms(20, 3, shift=2.0) > 15


@pytest.mark.parametrize(("n", "rank"), [(10, 0), (10, 11)])
def test_a_rank_beyond_the_units_cannot_be_watched(n, rank):
    with pytest.raises(ValueError, match="cannot be watched"):
        capital([True], n, rank)


def test_a_loss_that_is_none_is_refused():
    for bad in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            risk_capital(np.array([0.5, bad]), "0.1")


def test_capitals_of_any_length_are_numbers():
    broken = np.ones(5000, bool)
    assert np.isfinite(capital(broken, 100, 91)).all()
    assert np.isfinite(risk_capital(broken, "0.1")).all()
