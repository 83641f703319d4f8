"""Calibrations from folds: what holds within a fold, what joins folds, what breaks it."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from tests.bags import maps, with_column
from tests.conftest import FALSE_FAIL_RATE

import coverax as cx
from coverax.calibrate import (
    FoldScores,
    calibrate_fold_crc,
    calibrate_fold_fnr,
    calibrate_fold_sets,
    conformal_rank,
    majority_alpha,
    votes_needed,
)

TRANSFORMS = ["inner=identity", "outer=identity"]
SIZES = (7, 9, 5)


def fold_table(seed, sizes=SIZES, levels=None):
    """Cases of folds in turn; every fold of another size."""
    folds = np.repeat([str(k) for k in range(len(sizes))], sizes).astype(object)
    probs, labels = maps(folds.size, seed, levels=levels)
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], transforms=TRANSFORMS, engine="host"
    )
    return with_column(table, "fold", folds), probs, labels


def of_fold(calibration, fold):
    return next(t for t in calibration.thresholds if t.fold == fold)


@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_a_case_of_a_fold_its_own_model_serves_rank_of_them(seed):
    """Exact within every fold, whatever the others hold; so the union serves as many."""
    table, probs, labels = fold_table(seed)
    folds = table.column("fold")
    score = -table.critical_probability(0.1).astype(float)
    for fold, size in zip("012", SIZES, strict=True):
        mine = np.flatnonzero(folds == fold)
        own, union = 0, 0
        for i in mine:
            rest = np.arange(folds.size) != i
            found = calibrate_fold_fnr(table.select(rest), "0.3")
            threshold = of_fold(found, fold)
            assert threshold.rank == conformal_rank(size - 1, "0.3")
            own += score[i] <= threshold.value
            # Any maps of other models: those of other cases.
            given = [
                probs[i] if name == fold else probs[j] for j, name in enumerate("012")
            ]
            mask = cx.predict.fold_masks(found, given)["mask"]
            missed = (labels[i] & ~mask).sum()
            union += missed <= labels[i].sum() // 10
        assert own == conformal_rank(size - 1, "0.3")
        assert union >= own


@pytest.mark.parametrize("vote", ["majority", "union", "0.6"])
def test_leaving_out_a_case_of_a_fold_its_own_risk_keeps_the_level(vote):
    table, probs, labels = fold_table(5)
    folds = table.column("fold")
    needed = votes_needed(vote, 3)
    level = majority_alpha("0.45", Fraction(needed - 1, 3))
    for fold in "012":
        losses = []
        for i in np.flatnonzero(folds == fold):
            rest = table.select(np.arange(folds.size) != i)
            found = calibrate_fold_crc(rest, "0.45", vote=vote)
            assert found.folds.votes == needed
            mask = probs[i] >= np.float32(of_fold(found, fold).probability)
            losses.append((labels[i] & ~mask).sum() / labels[i].sum())
        assert np.mean(losses) <= float(level)


@given(st.integers(0, 10_000), st.integers(2, 7), st.integers(1, 7))
def test_a_vote_misses_no_more_than_its_factor_times_the_mean_of_folds(seed, k, votes):
    """The inequality behind votes, voxel by voxel, and a case in which it is equal."""
    votes = min(votes, k)
    factor = Fraction(k, k - votes + 1)
    share = Fraction(votes - 1, k)
    assert votes_needed(share, k) == votes
    assert majority_alpha("0.1", share) == Fraction(1, 10) / factor
    marked = np.random.default_rng(seed).random((k, 12)) < 0.6
    voted = marked.sum(0) >= votes
    each = [Fraction(int((~m).sum()), 12) for m in marked]
    assert Fraction(int((~voted).sum()), 12) <= factor * sum(each) / k
    worst = np.zeros((k, 1), bool)
    worst[: votes - 1] = True  # one mark too few
    assert not worst.sum(0) >= votes
    assert factor * Fraction(int((~worst).sum()), k) == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_sets_hold_every_truth_whose_mean_p_value_exceeds_the_level(seed):
    """Brute force over all truths of a 3 x 3 grid, through the masks of a case."""
    rng = np.random.default_rng(seed)
    n, k = 12, 2
    probs = rng.integers(0, 5, (n + k, 3, 3)).astype(np.float32) / 4
    labels = rng.random((n, 3, 3)) < 0.4
    table = cx.scores.score_arrays(
        probs[:n], labels, ["0"], transforms=TRANSFORMS, engine="host"
    )
    folds = np.repeat(["a", "b"], n // k).astype(object)
    found = calibrate_fold_sets(with_column(table, "fold", folds), "0.7", joint="each")
    new = list(probs[n:])
    sets = cx.predict.fold_masks(found, new, allow_vacuous=True)
    level = Fraction(7, 20)

    def mean_p(side, worst):
        own = table.column(f"{side}_score@identity")
        each = [
            Fraction(1 + int((own[folds == f] >= s).sum()), n // k + 1)
            for f, s in zip("ab", worst, strict=True)
        ]
        return sum(each, Fraction(0)) / k

    for bits in itertools.product([False, True], repeat=9):
        truth = np.array(bits).reshape(3, 3)
        outer = [float((-p[truth]).max()) if truth.any() else -np.inf for p in new]
        if mean_p("outer", outer) > level:
            assert not (truth & ~sets["outer"]).any()
        inner = [float(p[~truth].max()) if (~truth).any() else -np.inf for p in new]
        if mean_p("inner", inner) > level:
            assert not (sets["inner"] & ~truth).any()
    for place in np.ndindex(3, 3):  # and no voxel more than that
        assert sets["outer"][place] == (
            mean_p("outer", [-p[place] for p in new]) > level
        )
        assert sets["inner"][place] == (
            mean_p("inner", [p[place] for p in new]) <= level
        )


def test_the_threshold_is_where_folds_that_agree_leave_a_voxel_out():
    table, _, _ = fold_table(2, (20, 24, 28))
    found = calibrate_fold_sets(table, "0.4", joint="each")
    for t in found.thresholds:
        known = found.folds.side(t.region, t.side).known
        above = np.nextafter(t.value, np.inf)
        assert known.exceed([np.array([t.value, above])] * 3, "0.2").tolist() == [
            True,
            False,
        ]


def test_an_outer_set_that_is_always_everything_says_so():
    """A voxel of probability 0 stays in where scores of 0 are not rare."""
    probs, labels = maps(60, 4)
    probs[:, 0, 0, 0] = 0  # always in the reference
    folds = [i % 3 for i in range(60)]
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], transforms=TRANSFORMS, folds=folds, engine="host"
    )
    found = calibrate_fold_sets(table, "0.4")
    status = {t.side: t.status.name for t in found.thresholds}
    assert status == {"inner": "OK", "outer": "VACUOUS"}
    assert "outer set is everything" in found.statement
    with pytest.raises(ValueError, match="VACUOUS"):
        found.raise_if_bad()


def test_a_calibration_from_folds_is_read_back_to_the_bit(tmp_path):
    table, probs, _ = fold_table(3, (20, 24, 28))
    for made in (
        calibrate_fold_sets(table, "0.4", inner="identity"),
        calibrate_fold_crc(table, "0.3"),
        calibrate_fold_fnr(table, "0.2"),
    ):
        made.write(tmp_path / "c.json")
        read = cx.calibrate.read_calibration(tmp_path / "c.json")
        assert read.to_json() == made.to_json()
        assert (read.kind, read.digest) == (made.kind, made.digest)
        for name, mask in cx.predict.fold_masks(made, probs[:3]).items():
            again = cx.predict.fold_masks(read, probs[:3])[name]
            np.testing.assert_array_equal(mask, again)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (7, 1, 20, 3)])
@pytest.mark.parametrize("alpha", ["0.1", "0.3", "1/7"])
def test_pooled_scores_are_a_weighted_mean_of_p_values(sizes, alpha):
    """CV+ leaves out the very counts that the weighted mean does, at its level."""
    n, k = sum(sizes), len(sizes)
    level = cx.calibrate.pooled_level(sizes, alpha)
    rng = np.random.default_rng(0)
    for total in range(n + 1):
        each = rng.multivariate_hypergeometric(sizes, total)
        weighted = sum(
            Fraction(m + 1, n + k) * Fraction(1 + int(c), m + 1)
            for m, c in zip(sizes, each, strict=True)
        )
        assert (weighted > level) == (Fraction(1 + total, n + 1) > Fraction(alpha))
    slack = 2 * (1 - Fraction(alpha)) * Fraction(k - 1, n + k)
    promise = cx.calibrate.pooled_promise(sizes, alpha)
    assert promise == 1 - 2 * Fraction(alpha) - slack


def test_minmax_never_promises_more_than_its_folds_allow():
    """The r-th of n scores, among the n + n / K units of which the new one is any."""
    found = [cx.calibrate.minmax_promise(40, 5, f"0.{i:03d}") for i in range(1, 999)]
    assert max(f for f in found if f < 1) == Fraction(5, 6)
    assert cx.calibrate.minmax_promise(40, 5, "0.1") == Fraction(181, 240)
    assert cx.calibrate.minmax_promise(40, 5, "0.001") == 1


def test_folds_keep_their_order_by_number():
    table, _, _ = fold_table(0, (3,) * 11)
    found = calibrate_fold_fnr(table, "0.5")
    assert found.folds.names == tuple(map(str, range(11)))
    with pytest.raises(ValueError, match="give --probs 11 times, not 2"):
        cx.predict.fold_masks(found, [np.zeros((5, 4, 3))] * 2)


def test_a_transform_that_tolerates_a_share_is_refused():
    """Folds may miss other voxels each: 2 folds at 1/2 can miss all of a reference."""
    probs, labels = maps(12, 0)
    names = ["inner=identity", "outer=identity:tolerance=0.1"]
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], transforms=names, engine="host"
    )
    table = with_column(table, "fold", np.repeat(["0", "1"], 6).astype(object))
    with pytest.raises(ValueError, match="tolerates a share"):
        calibrate_fold_sets(table, "0.5")


# Five folds of 20 units at a promise of .80; voxels of nine, R new cohorts each.
REPEATS, N_FOLDS, N_EACH, N_VOXELS, PROMISE = 1500, 5, 20, 9, 0.8
GAIN = (1.0, 1.0, 0.5, 0.2, 0.0)  # of the signal in the map of each fold's model
NOISE = (0.3, 0.7, 1.0, 2.0, 3.0)


def covered_share(
    *, seen=False, fold_only=None, gain=GAIN, noise=NOISE, repeats=REPEATS
):
    """Share of new cases whose outer set holds the truth.

    Args:
        seen: Every model saw the cases of its own fold: it is sure of them.
        fold_only: Make the set from this fold alone, at the level of its p-value.
        gain: How much of the signal a model sees.
        noise: And how much noise.
        repeats: Cohorts.
    """
    rng = np.random.default_rng(20)
    shape = (repeats, N_FOLDS, N_EACH + 1, N_VOXELS)
    signal = rng.standard_normal(shape)
    signal[:, :, -1] = signal[:, :1, -1]  # one new case, seen by every model
    truth = signal > 0.3
    truth |= signal == signal.max(-1, keepdims=True)
    scale = np.array(noise)[:, None, None] * rng.standard_normal(shape)
    score = -np.array(gain)[:, None, None] * signal - scale
    worst = np.where(truth, score, -np.inf).max(-1)
    if seen:
        worst[:, :, :-1] -= 2
    kept = np.empty((repeats, N_VOXELS), bool)
    for r in range(repeats):
        own = np.sort(worst[r, :, :-1], axis=1)
        new = list(score[r, :, -1])
        if fold_only is not None:
            at_least = (own[fold_only][:, None] >= new[fold_only]).sum(0)
            kept[r] = 5 * (1 + at_least) > N_EACH + 1  # p > 1 - .80
            continue
        known = FoldScores(tuple("01234"), tuple(own))
        kept[r] = known.exceed(new, "0.1")
    return int((kept | ~truth[:, 0, -1]).all(1).sum()), repeats


def p_too_few(n_covered, n):
    """P-value of coverage at least as promised."""
    return stats.binom.cdf(n_covered, n, PROMISE)


def test_very_unequal_models_keep_the_promise():
    assert p_too_few(*covered_share()) > FALSE_FAIL_RATE / 2


def test_models_alike_keep_the_promise_with_room():
    """The factor of two costs: coverage lies well above the promise of .80."""
    n_covered, n = covered_share(gain=(1.0,) * 5, noise=(0.7,) * 5)
    assert p_too_few(n_covered, n) > FALSE_FAIL_RATE / 2
    assert n_covered / n > 0.9


def test_the_simulation_has_power():
    """Coverage of .72 or less would pass in fewer than one run of a hundred."""
    least = stats.binom.ppf(FALSE_FAIL_RATE / 2, REPEATS, PROMISE)
    assert stats.binom.sf(least, REPEATS, 0.72) < 1e-2


def test_each_fold_alone_has_its_exact_law():
    """Rank 17 of 20 at .80: covered with probability 17 / 21 at least, by the voxel set.

    The set of voxels holds the truth iff its worst voxel stays in, so that the law of
    the score is that of the set.
    """
    for fold in range(N_FOLDS):
        n_covered, n = covered_share(fold_only=fold)
        p = stats.binomtest(n_covered, n, 17 / 21).pvalue
        assert p > FALSE_FAIL_RATE / N_FOLDS


def test_models_that_saw_their_folds_cover_too_little():
    """Negative control: scores of cases that were trained on are no scores of new ones."""
    alike = {"gain": (1.0,) * 5, "noise": (0.7,) * 5}
    assert p_too_few(*covered_share(seen=True, **alike)) < FALSE_FAIL_RATE
