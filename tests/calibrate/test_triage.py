"""Releases: the rule against its definition, its identity, and the floors of Dice."""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import bags
from tests.oracles import clinic as oracle

import coverax as cx
from coverax.calibrate import Policy, Status, Triage, conformal_rank, released

ALPHA = Fraction(1, 4)
TRIAGES = [
    Triage(),
    Triage(bad_below="0.55"),
    Triage("fnr", confidence="mass"),
    Triage("missed", cut="0.875"),
    Triage("dice", cut="0.25"),
]


@cache
def bag(engine, n=12, levels=None, seed=1):
    probs, labels = bags.maps(n, seed, levels=levels)
    table = cx.scores.score_arrays(probs, labels, [0.1], engine=engine)
    return bags.Bag(table, probs, labels)


def loss_of(triage, probs, labels):
    mask = probs >= np.float32(triage.cut)
    if triage.bad_below is not None:
        return Fraction(int(oracle.dice(mask, labels) < Fraction(triage.bad_below)))
    if triage.loss == "dice":
        return 1 - oracle.dice(mask, labels)
    hit, true = int((mask & labels).sum()), int(labels.sum())
    if triage.loss == "missed":
        return Fraction(int(true > 0 and hit == 0))
    return Fraction(true - hit, true) if true else Fraction(0)


small = st.fractions(0, 1, max_denominator=6)
bags_of_cases = st.lists(st.tuples(st.integers(0, 4), small), min_size=2, max_size=9)


@given(bags_of_cases, st.fractions("1/20", "19/20", max_denominator=20))
def test_the_losses_of_the_released_sum_to_at_most_alpha_of_the_bag(cases, alpha):
    """Each case decided from all others, ties and all: no randomness, no tolerance."""
    total = Fraction(0)
    for k, (own, loss) in enumerate(cases):
        others = cases[:k] + cases[k + 1 :]
        known, losses = zip(*others, strict=True)
        (out,) = released(np.array(known), losses, np.array([own]), alpha)
        assert out == oracle.released(known, losses, own, alpha)
        total += loss * bool(out)
    assert total <= alpha * len(cases)


def test_the_identity_is_reached():
    """Negative control: an alpha less by any share of 1 / n would be broken."""
    known, losses = np.arange(1, 10), [Fraction(1)] * 9
    assert released(known, losses, np.array([2]), "0.3").all()
    assert not released(
        known, losses, np.array([2]), Fraction(3, 10) - Fraction(1, 10**9)
    )
    assert (
        sum(
            released(np.delete(np.arange(10), k), losses, np.array([k]), "0.3")[0]
            for k in range(10)
        )
        == 3
    )


def test_every_order_of_four_cases_by_enumeration():
    for losses in product((0, Fraction(1, 2), 1), repeat=4):
        for known in product(range(3), repeat=4):
            new = np.arange(-1, 4)
            found = released(np.array(known), list(losses), new, "0.4")
            expected = [oracle.released(known, losses, s, "0.4") for s in new.tolist()]
            assert found.tolist() == expected


@pytest.mark.parametrize("triage", TRIAGES, ids=str)
def test_uncertainties_and_losses_are_those_of_the_definition(engine, triage):
    cases = bag(engine)
    losses = triage.losses(cases.table.columns, cases.column("n_foreground"))
    unsure = triage.uncertainty(cases.table.columns)
    for k, (probs, labels) in enumerate(zip(cases.probs, cases.labels, strict=True)):
        exact = loss_of(triage, probs, labels)
        assert 0 <= Fraction(losses[k]) - exact < Fraction(1, 2**53)
        if triage.confidence == "sdc":
            assert unsure[k] == pytest.approx(1 - oracle.confidence(probs), abs=1e-6)
        else:
            p = probs.astype(float)
            assert unsure[k] == pytest.approx(np.minimum(p, 1 - p).sum() / p.sum())


def test_a_map_alone_gives_the_bits_that_calibrated(engine):
    cases = bag(engine)
    for triage in TRIAGES[:3]:
        blind = cx.scores.score_arrays(
            cases.probs, np.zeros_like(cases.labels), [0.1], engine=engine
        )
        one, other = (triage.uncertainty(t.columns) for t in (cases.table, blind))
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("triage", TRIAGES, ids=str)
def test_leaving_each_case_out_keeps_the_promise_on_real_tables(triage):
    """What goes out sums to at most alpha of the bag; floors hold exactly as often."""
    cases = bag("host")
    unsure, total, above = triage.uncertainty(cases.table.columns), Fraction(0), 0
    for k, unit in enumerate(cases.units):
        found = cx.calibrate.calibrate_triage(cases.without(unit), ALPHA, triage=triage)
        out = cx.calibrate.is_released(unsure[k : k + 1], found.thresholds[0].value)[0]
        probs, labels = cases.probs[k], cases.labels[k]
        total += loss_of(triage, probs, labels) * bool(out)
        if triage.has_floor:
            limit = found.threshold_of("foreground", "floor").value
            floor = triage.floor(float(unsure[k]), limit)
            above += oracle.dice(probs >= np.float32(triage.cut), labels) >= floor
    assert total <= ALPHA * len(cases.units)
    if triage.has_floor:
        assert above == conformal_rank(len(cases.units) - 1, ALPHA)


def test_raters_count_by_the_one_that_loses_most():
    table = bags.raters("host").table
    binned = cx.scores.score_arrays(
        bags.raters("host").probs,
        bags.raters("host").labels,
        [0.1],
        case_ids=table.column("case_id").tolist(),
        units=table.column("unit").tolist(),
        raters=table.column("rater").tolist(),
        engine="host",
    )
    policy = Policy(empty="include", raters="worst")
    found = cx.calibrate.calibrate_triage(binned, ALPHA, policy)
    losses = Triage().losses(binned.columns, binned.column("n_foreground"))
    unsure, ids = Triage().uncertainty(binned.columns), binned.column("case_id")
    names = list(dict.fromkeys(ids))
    worst = [max(losses[ids == name]) for name in names]
    own = np.array([unsure[ids == name][0] for name in names])
    assert found.thresholds[0].value == cx.calibrate.release_limit(own, worst, ALPHA)


def test_a_file_gives_the_calibration_back(tmp_path):
    triage = Triage(bad_below="0.55", confidence="mass")
    found = cx.calibrate.calibrate_triage(bag("host").table, "0.9", triage=triage)
    found.write(tmp_path / "c.json")
    again = cx.calibrate.read_calibration(tmp_path / "c.json")
    assert again == found
    assert again.kind == "release"
    # All go out: that is no vacuous promise.
    assert found.threshold_of("foreground", "release").value == np.inf
    assert found.status == Status.OK


def test_too_few_cases_release_nothing():
    found = cx.calibrate.calibrate_triage(bag("host").table, "0.05")
    assert [t.status for t in found.thresholds] == [Status.TOO_FEW_CASES] * 2
    assert found.thresholds[0].value == -np.inf
    with pytest.raises(ValueError, match="Nothing may be released"):
        found.raise_if_bad()


def refused(losses=(0, 1), known=(0.0, 1.0), alpha="0.5"):
    return lambda: released(np.array(known), list(losses), np.array([0.5]), alpha)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (refused(losses=(0, 1.5)), r"in \[0, 1\], got 1\.5"),
        (refused(losses=(-0.1, 1)), r"in \[0, 1\]"),
        (refused(losses=(float("nan"), 1)), r"in \[0, 1\]"),
        (refused(known=(0, float("nan"))), "not finite"),
        (refused(known=(0, float("inf"))), "not finite"),
        (refused(losses=(0,)), "one loss and one confidence"),
        (refused(alpha="1"), "alpha"),
        (lambda: Triage(bad_below="1.2"), "bad_below"),
        (lambda: Triage("fnr", bad_below="0.8"), "loss dice"),
        (lambda: Triage(cut="0.3"), "nearest is"),
    ],
)
def test_what_cannot_be_decided_is_one_line(call, words):
    with pytest.raises(ValueError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_table_without_sums_is_refused():
    table = bag("host").table
    lean = replace(table, definition=replace(table.definition, n_bins=0))
    with pytest.raises(ValueError, match="even number of bins"):
        cx.calibrate.calibrate_triage(lean, "0.2")
    with pytest.raises(ValueError, match="one case of each unit"):
        cx.calibrate.calibrate_triage(table, "0.2", Policy("include", per_unit="all"))
