"""Intervals of volumes: scores by the oracle, coverage by leaving each case out."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
from tests import bags
from tests.oracles import clinic as oracle

import coverax as cx
from coverax.calibrate import Interval, Policy, Status, conformal_rank

VOXEL_ML = 0.003
ALPHA = Fraction(1, 5)
RULES = [
    *product(("cut=0.5", "cut=0.25", "sum"), ("mass", "log", "none"), (None,)),
    *(("cut=0.5", scale, "at-least") for scale in ("mass", "log", "none")),
    ("cut=0.5", "mass", "at-most"),
    ("sum", "log", "at-most"),
]


@cache
def bag(engine, n=12, levels=None, seed=1, **columns):
    probs, labels = bags.maps(n, seed, levels=levels)
    table = cx.scores.score_arrays(
        probs, labels, [0.1], engine=engine, voxel_volume_ml=VOXEL_ML, **columns
    )
    return bags.Bag(table, probs, labels)


def row_of(table, k):
    return {name: values[k : k + 1] for name, values in table.columns.items()}


def scores_of(table, interval):
    voxel_ml = np.asarray(table.column("voxel_volume_ml"), float)
    return interval.scores(table.columns, table.column("n_foreground"), voxel_ml)


def true_ml(table, k):
    return Fraction(int(table.column("n_foreground")[k])) * Fraction(VOXEL_ML)


def holds(calibration, table, k):
    """Whether the interval of a row holds its volume, in exact arithmetic."""
    threshold = calibration.threshold_of(table.column("region")[k]).value
    r = calibration.record
    interval = Interval(r.estimate, r.scale, r.one_sided)
    found = interval.bounds(row_of(table, k), VOXEL_ML, threshold)
    high = found.high_ml if math.isinf(found.high_ml) else Fraction(found.high_ml)
    return Fraction(found.low_ml) <= true_ml(table, k) <= high


@pytest.mark.parametrize(("estimate", "scale", "one_sided"), RULES)
def test_scores_are_those_of_the_definition(engine, estimate, scale, one_sided):
    cases = bag(engine)
    scores = scores_of(cases.table, Interval(estimate, scale, one_sided))
    expected = [
        oracle.volume_score(p, y, estimate, scale, one_sided, VOXEL_ML)
        for p, y in zip(cases.probs, cases.labels, strict=True)
    ]
    # Sums of bins are rounded to float32: 2**-24 each way, of at most 60 voxels.
    assert scores == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_both_engines_give_the_same_bits():
    for rule in RULES:
        one, other = (
            scores_of(bag(e).table, Interval(*rule)) for e in ("host", "device")
        )
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(("estimate", "scale", "one_sided"), RULES)
def test_leaving_each_case_out_covers_exactly_the_rank(estimate, scale, one_sided):
    """By scores exactly, by the interval in mL at least: its ends are rounded outwards."""
    cases = bag("host", 12)
    options = {"estimate": estimate, "scale": scale, "one_sided": one_sided}
    scores = scores_of(cases.table, Interval(*options.values()))
    by_score = by_interval = 0
    for k, unit in enumerate(cases.units):
        found = cx.calibrate.calibrate_volume(cases.without(unit), ALPHA, **options)
        hit = bool(scores[k] <= found.thresholds[0].value)
        by_score += hit
        by_interval += holds(found, cases.table, k)
        assert holds(found, cases.table, k) or not hit
    rank = conformal_rank(len(cases.units) - 1, ALPHA)
    distinct = len(set(scores.tolist())) == scores.size
    assert by_score == rank if distinct else by_score >= rank
    assert by_interval >= by_score
    assert by_interval == by_score or not distinct


@pytest.mark.parametrize("rule", RULES)
def test_what_a_score_serves_lies_in_the_interval_at_its_very_end(rule):
    """The threshold is the case's own score: its volume is an end of its interval."""
    table = bag("host", levels=8, seed=5).table
    interval = Interval(*rule)
    for k, score in enumerate(scores_of(table, interval)):
        found = interval.bounds(row_of(table, k), VOXEL_ML, float(score))
        high = math.inf if math.isinf(found.high_ml) else Fraction(found.high_ml)
        assert Fraction(found.low_ml) <= true_ml(table, k) <= high
        ends = [e for e in (found.low_ml, found.high_ml) if math.isfinite(e)]
        near = min(abs(end - float(true_ml(table, k))) for end in ends)
        assert near < 1e-12 or found.low_ml == 0


def test_ties_cover_at_least_the_rank():
    cases = bag("host", 12, levels=4, seed=3)
    covered = sum(
        holds(
            cx.calibrate.calibrate_volume(cases.without(unit), ALPHA, scale="none"),
            cases.table,
            k,
        )
        for k, unit in enumerate(cases.units)
    )
    assert covered >= conformal_rank(len(cases.units) - 1, ALPHA)


def test_regions_jointly_cover_every_region_of_exactly_rank_cases():
    one, other = (bag("host", seed=seed).table for seed in (6, 7))
    names = ("left", "right")
    tables = [
        bags.with_column(t, "region", np.full(t.n_rows, name, object))
        for t, name in zip((one, other), names, strict=True)
    ]
    both = bags.joined(tables, names)
    cases = bags.Bag(both, None, None)
    covered = 0
    for unit in cases.units:
        found = cx.calibrate.calibrate_volume(
            cases.without(unit), ALPHA, regions="joint"
        )
        assert len({t.value for t in found.thresholds}) == 1
        covered += all(holds(found, both, k) for k in cases.rows(unit))
    assert covered == conformal_rank(len(cases.units) - 1, ALPHA)
    assert "jointly" in found.statement


def test_raters_count_by_the_one_that_is_farthest():
    n = 12
    probs, labels = bags.maps(n, 8)
    _, others = bags.maps(n, 9)
    table = cx.scores.score_arrays(
        np.concatenate([probs, probs]),
        np.concatenate([labels, labels | others]),
        [0.1],
        case_ids=[f"c{k}" for k in range(n)] * 2,
        units=[f"c{k}" for k in range(n)] * 2,
        raters=["a"] * n + ["b"] * n,
        voxel_volume_ml=VOXEL_ML,
        engine="host",
    )
    cases = bags.Bag(table, None, None)
    policy = Policy(empty="include", raters="worst")
    covered = 0
    for unit in cases.units:
        found = cx.calibrate.calibrate_volume(cases.without(unit), ALPHA, policy)
        covered += all(holds(found, table, k) for k in cases.rows(unit))
    assert covered == conformal_rank(n - 1, ALPHA)


def test_an_empty_reference_has_volume_zero_and_counts():
    probs, labels = bags.maps(12, 10)
    labels[:3] = False
    table = cx.scores.score_arrays(
        probs, labels, [0.1], voxel_volume_ml=VOXEL_ML, engine="host"
    )
    assert cx.calibrate.calibrate_volume(table, "0.2").n_units == 12
    aside = cx.calibrate.calibrate_volume(table, "0.2", Policy(empty="exclude"))
    assert aside.n_units == 9
    # Nothing true where something is found: no ratio is wide enough.
    ratio = cx.calibrate.calibrate_volume(table, "0.2", scale="log")
    assert ratio.status == Status.VACUOUS
    with pytest.raises(ValueError, match="VACUOUS"):
        ratio.raise_if_bad()


def test_a_file_gives_the_calibration_back(tmp_path):
    found = cx.calibrate.calibrate_volume(
        bag("host").table, "0.2", estimate="sum", one_sided="at-most"
    )
    found.write(tmp_path / "c.json")
    again = cx.calibrate.read_calibration(tmp_path / "c.json")
    assert again == found
    assert again.kind == "interval"
    assert "probability_threshold" not in again.to_json()


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"grid": False}, {}, "--no-grid"),
        ({"n_bins": 0}, {}, "even number"),
        ({"n_bins": 5}, {"estimate": "sum", "scale": "log"}, "even number"),
        ({"ignore_label": 9}, {}, "ignore-label"),
        ({}, {"estimate": "cut=0.3"}, "nearest is 0.2998046875"),
        ({}, {"estimate": "cut=1"}, "between 0 and 1"),
        ({}, {"estimate": "mean"}, "cut=C"),
        ({}, {"alpha": "1.5"}, "alpha"),
        ({}, {"regions": "joint", "policy": Policy()}, "volume 0"),
    ],
)
def test_what_cannot_be_promised_is_refused_in_one_line(change, options, words):
    table = bag("host").table
    table = replace(table, definition=replace(table.definition, **change))
    alpha = options.pop("alpha", "0.2")
    with pytest.raises(ValueError, match=words) as caught:
        cx.calibrate.calibrate_volume(table, alpha, **options)
    assert "\n" not in str(caught.value)


def test_maps_without_a_spacing_have_no_volume():
    probs, labels = bags.maps(12, 1)
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    with pytest.raises(ValueError, match=r"12 cases .* first is case"):
        cx.calibrate.calibrate_volume(table, "0.2")


def test_a_level_beyond_the_units_is_refused_and_named():
    found = cx.calibrate.calibrate_volume(bag("host").table, "0.01")
    assert found.status == Status.TOO_FEW_CASES
    with pytest.raises(ValueError, match=r"coverax plan --alpha 0\.01"):
        found.raise_if_bad()
    assert "NO INFORMATIVE GUARANTEE" in found.statement
