"""RCPS and LTT: all calibration sets of a small size, each with its chance.

What they promise fails on a share of calibration sets, which no bag of cases left out in
turn can show. Losses of a few values make few sets: each is calibrated by the public
function, and the chance of those whose cut breaks the promise is added up exactly.
"""

import itertools
import math

import numpy as np
import pytest

import coverax as cx
from coverax.calibrate import Loss, Policy

DELTA = 0.2
# Cuts up to this lose nothing; those above lose what the reference of a unit encodes.
SAFE_CUT = 0.5


def table_of(n_units, n_outcomes):
    """One row a unit and outcome; an outcome is a reference of that many voxels, plus 1."""
    which = list(itertools.product(range(n_units), range(n_outcomes)))
    labels = np.zeros((len(which), 2, 4), bool)
    for row, (_, outcome) in enumerate(which):
        labels[row].flat[: outcome + 1] = True
    probs = np.random.default_rng(0).random(labels.shape).astype(np.float32)
    return cx.scores.score_arrays(
        probs,
        labels,
        [0.1],
        case_ids=[f"u{unit}_{outcome}" for unit, outcome in which],
        units=[f"u{unit}" for unit, _ in which],
        n_bins=0,
        engine="host",
    )


def rows_of(table, outcomes, n_outcomes):
    places = [unit * n_outcomes + o for unit, o in enumerate(outcomes)]
    return table.select(np.array(places))


def loss_of(values, name="own"):
    """A loss of 0 at safe cuts, and of the value of the outcome at all others."""
    values = np.asarray(values, float)

    def of(counts):
        return values[counts.n_foreground - 1] * (counts.cuts > SAFE_CUT)

    return Loss(of, "loss", -1, True, name)


def is_unsafe(calibration):
    return calibration.thresholds[0].probability > SAFE_CUT


def sets_of(n_units, n_outcomes, *, ordered):
    """Outcomes of the units: every sequence, or one of each multiset."""
    if ordered:
        return list(itertools.product(range(n_outcomes), repeat=n_units))
    return list(itertools.combinations_with_replacement(range(n_outcomes), n_units))


def chance_of(outcomes, shares, *, ordered):
    """Chance of a sequence, or of all sequences of a multiset."""
    counts = np.bincount(outcomes, minlength=len(shares))
    chance = math.prod(
        share**count for share, count in zip(shares, counts, strict=True)
    )
    if ordered:
        return chance
    ways = math.factorial(len(outcomes))
    return chance * ways / math.prod(math.factorial(count) for count in counts)


def laws(values, alpha):
    """Shares of the values on a grid, of all laws whose mean is above alpha."""
    steps = 20
    for parts in itertools.product(range(steps + 1), repeat=len(values) - 1):
        if sum(parts) <= steps:
            shares = np.array([steps - sum(parts), *parts]) / steps
            if shares @ np.asarray(values) > alpha:
                yield shares


BINARY, THREE = (0.0, 1.0), (0.0, 0.5, 1.0)
RCPS = [
    ("clopper_pearson", BINARY, 0.4, 8),
    ("hoeffding", BINARY, 0.4, 8),
    ("hoeffding", THREE, 0.4, 8),
    ("hoeffding_bentkus", BINARY, 0.4, 8),
    ("hoeffding_bentkus", THREE, 0.4, 8),
    ("empirical_bernstein", THREE, 0.85, 8),
    ("wsr", BINARY, 0.4, 7),
    ("wsr", THREE, 0.5, 4),
]


@pytest.mark.parametrize(("bound", "values", "alpha", "n"), RCPS)
def test_rcps_breaks_its_level_on_at_most_delta_of_all_sets(bound, values, alpha, n):
    """Bets of `wsr` see the units in an order, so that every sequence counts on its own."""
    ordered = bound == "wsr"
    table = table_of(n, len(values))
    broken = []
    every = sets_of(n, len(values), ordered=ordered)
    for outcomes in every:
        found = cx.calibrate.calibrate_rcps(
            rows_of(table, outcomes, len(values)),
            alpha,
            DELTA,
            Policy(seed=1),
            loss=loss_of(values),
            bound=bound,
        )
        if is_unsafe(found):
            broken.append(outcomes)
    assert 0 < len(broken) < len(every)  # or it says nothing, or always the same
    for shares in laws(values, alpha):
        chances = [chance_of(o, shares, ordered=ordered) for o in broken]
        assert math.fsum(chances) <= DELTA, shares


@pytest.mark.parametrize("correction", ["fixed_sequence", "bonferroni", "holm"])
def test_ltt_certifies_no_false_cut_on_more_than_delta_of_all_sets(correction):
    n, alpha = 8, 0.6 if correction == "fixed_sequence" else 0.8
    table = table_of(n, 3)
    every = sets_of(n, 3, ordered=False)
    broken = [
        outcomes
        for outcomes in every
        if is_unsafe(
            cx.calibrate.calibrate_ltt(
                rows_of(table, outcomes, 3),
                alpha,
                DELTA,
                loss=loss_of(THREE),
                correction=correction,
            )
        )
    ]
    assert 0 < len(broken) < len(every)
    for shares in laws(THREE, alpha):
        chances = [chance_of(o, shares, ordered=False) for o in broken]
        assert math.fsum(chances) <= DELTA, shares


def test_ltt_certifies_no_cut_at_which_either_of_two_losses_is_above_its_level():
    n, first, second = 7, 0.8, 0.85
    one, other = (0.0, 1.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0)
    table = table_of(n, 4)
    every = sets_of(n, 4, ordered=False)
    broken = [
        outcomes
        for outcomes in every
        if is_unsafe(
            cx.calibrate.calibrate_ltt(
                rows_of(table, outcomes, 4),
                first,
                DELTA,
                loss=loss_of(one, "one"),
                also={loss_of(other, "other"): second},
            )
        )
    ]
    assert 0 < len(broken) < len(every)
    either = [*laws(one, first), *laws(other, second)]
    for shares in either[::7]:
        chances = [chance_of(o, shares, ordered=False) for o in broken]
        assert math.fsum(chances) <= DELTA, shares
