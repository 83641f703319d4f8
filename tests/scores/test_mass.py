"""Masks by a share of the mass of their own map: exact, and the law of one threshold."""

from fractions import Fraction

import numpy as np
import pytest

from coverax import host, kernels
from coverax.calibrate import WHOLE_AT, Status, calibrate_fnr, conformal_rank
from coverax.engine.mass import shares
from coverax.evaluate import evaluate_arrays
from coverax.predict import apply
from coverax.rational import allowed_misses, tolerance_terms
from coverax.scores import mass_cut, score_arrays
from coverax.table import ScoreTable, fnr_scores

TOLERANCES = (0.0, 0.25, 0.5)
# Ties, zeros, what weighs nothing, what overshoots, and both ends.
LEVELS = np.array(
    [0, 0.125, 0.25, 1 / 3, 0.5, 2.0**-46, 1e-40, -5e-4, 1, 1.0009], np.float32
)


def exact_mask(probs, share):
    """The mask of a share, by the definition, in fractions."""
    weights = [_weight(p) for p in probs.tolist()]
    total = sum(weights)
    if share < 0:
        return np.zeros(probs.size, bool)
    best = None
    for cut in set(probs.tolist()):
        above = sum(w for w, p in zip(weights, probs.tolist(), strict=True) if p >= cut)
        enough = total > 0 and float(Fraction(above, total)) > share
        if enough and (best is None or cut > best):
            best = cut
    return np.ones(probs.size, bool) if best is None else probs >= np.float32(best)


def _weight(p):
    return int(max(Fraction(p), Fraction(0)) * 2**45)


def misses_too_much(mask, labels, tolerance):
    allowed = allowed_misses(int(labels.sum()), *tolerance_terms([tolerance]))[0]
    return int((labels & ~mask).sum()) > allowed


def random_case(rng):
    """Up to 9 voxels of a few levels; sometimes all alike, all 0, or no reference."""
    n = int(rng.integers(1, 10))
    levels = rng.choice(LEVELS, int(rng.integers(1, 5)))
    probs = rng.choice(levels, n).astype(np.float32)
    return probs, rng.random(n) < rng.choice([0, 0.3, 0.7, 1])


@pytest.mark.parametrize("n", [200, pytest.param(6000, marks=pytest.mark.slow)])
def test_a_case_complies_exactly_where_its_score_is_at_most_the_threshold(n):
    """Maps full of ties, at thresholds that are scores, and their neighbours."""
    rng = np.random.default_rng(n)
    cases = [random_case(rng) for _ in range(n)]
    pool = [0.0, 0.25, 0.5, 1.0]
    for probs, labels in cases:
        critical = host.critical_probability(probs[None], labels[None], TOLERANCES)
        scores = shares(host.mass_above(probs[None], critical))[0]
        pool = [*pool[-8:], *scores.tolist()]
        picked = rng.choice(pool, 3)
        for share in {*scores, *picked, *np.nextafter(scores, -1), -np.inf, np.inf}:
            mask = exact_mask(probs, share)
            ours = probs >= np.float32(mass_cut(probs, share))
            np.testing.assert_array_equal(ours, mask)
            for score, tolerance in zip(scores, TOLERANCES, strict=True):
                if labels.any():
                    assert (score > share) == misses_too_much(mask, labels, tolerance)


def maps(n, seed=0, side=6):
    rng = np.random.default_rng(seed)
    labels = rng.random((n, side, side, side)) < 0.15
    noise = rng.random(labels.shape) ** 3
    probs = np.clip(0.5 * labels * rng.random((n, 1, 1, 1)) + noise, 0, 1)
    return probs.astype(np.float32), labels


def columns_of(engine, **options):
    probs, labels = maps(9)
    valid = np.random.default_rng(3).random(probs.shape) < 0.8
    probs[2], labels[3] = 0, False
    asked = {"valid": list(valid), "n_bins": 0, "engine": engine, "mass": True}
    return score_arrays(list(probs), list(labels), TOLERANCES, **(asked | options))


def test_both_engines_give_the_same_bits_and_void_voxels_weigh():
    tables = [columns_of(engine) for engine in ("host", "device")]
    masses = [[fnr_scores(t, tol, "mass") for tol in TOLERANCES] for t in tables]
    np.testing.assert_array_equal(*masses)
    assert np.isneginf(masses[0][0][3])  # an empty reference always complies
    assert not np.array_equal(
        masses[0][1], fnr_scores(columns_of("host", valid=None), 0.25, "mass")
    )


def test_large_masses_are_exact_beyond_a_block_and_an_int64():
    rng = np.random.default_rng(1)
    probs = rng.random((2, 300_000), np.float32)
    probs[0, :3] = -5e-4, 1.0009, 2.0**-46
    probs[1] = 1  # 300,000 * 2**45 does not fit
    cuts = np.array([[0.5, np.inf], [1 - 2**-24, 1]], np.float32)
    ours = host.mass_above(probs, cuts)
    np.testing.assert_array_equal(ours, np.asarray(kernels.mass_above(probs, cuts)))
    np.testing.assert_array_equal(shares(ours)[1], [1, 0])
    assert mass_cut(probs[1], 0.9999) == 1.0
    total = sum(map(_weight, probs[0].tolist()))
    above = sum(_weight(p) for p in probs[0].tolist() if p > 0.5)
    assert shares(ours)[0, 0] == above / total


@pytest.mark.parametrize("break_ties", [False, True])
def test_of_a_bag_exactly_rank_cases_comply_with_what_is_predicted(break_ties):
    """Each case left out in turn, through the public functions: no randomness is left."""
    n, alpha = 13, "0.3"
    probs, labels = maps(n, seed=5)
    ids = [f"case_{i}" for i in range(n)]
    table = score_arrays(
        probs, labels, 0.25, case_ids=ids, units=ids, mass=True, engine="host"
    )
    assert len(set(fnr_scores(table, 0.25, "mass").tolist())) == n
    complied = 0
    for i in range(n):
        rest = table.select(np.arange(n) != i)
        found = calibrate_fnr(rest, alpha, score="mass", break_ties=break_ties)
        (threshold,) = found.thresholds
        assert threshold.rank == conformal_rank(n - 1, alpha)
        assert threshold.below == np.nextafter(threshold.value, -np.inf)
        (case,) = apply(found, probs[i][None], case_ids=[ids[i]])
        result = evaluate_arrays(
            found, probs[i][None], labels[i][None], case_ids=[ids[i]], units=[ids[i]]
        ).summary.results[0]
        complies = not misses_too_much(case.mask, labels[i], 0.25)
        assert result.calibrated.ecr == complies
        assert result.score == "mass"
        complied += complies
    assert complied == conformal_rank(n - 1, alpha)


def test_a_voxel_without_mass_in_too_many_references_says_nothing():
    probs, labels = maps(12)
    probs[:6][labels[:6]] = 0
    table = score_arrays(probs, labels, 0, mass=True)
    found = calibrate_fnr(table, 0.3, score="mass")
    assert (found.status, found.thresholds[0].value) == (
        Status.VACUOUS,
        WHOLE_AT["mass"],
    )
    with pytest.raises(ValueError, match="no informative guarantee"):
        apply(found, probs)


def test_a_table_without_mass_scores_is_refused_by_name():
    table = score_arrays(*maps(12), 0.25)
    assert not [name for name in table.columns if "mass" in name]
    with pytest.raises(ValueError, match="no mass scores; score again"):
        calibrate_fnr(table, 0.3, score="mass")


def test_a_map_must_be_sound_where_its_reference_is_void():
    probs, labels = maps(3)
    valid = np.ones_like(labels)
    valid[0, 0, 0, 0], probs[0, 0, 0, 0] = False, np.nan
    assert isinstance(score_arrays(probs, labels, 0.25, valid=valid), ScoreTable)
    with pytest.raises(ExceptionGroup, match="failed"):
        score_arrays(probs, labels, 0.25, valid=valid, mass=True)
