"""Changes between two visits: pairs, scores by hand, coverage by leaving each unit out."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from tests import bags

import coverax as cx
from coverax.calibrate import (
    Interval,
    Measured,
    Visit,
    calibrate_volume,
    change_bounds,
    change_score,
    conformal_rank,
    pair_visits,
)

ALPHA = Fraction(1, 5)
RULES = [
    *itertools.product(("cut=0.5", "sum"), ("mass", "none"), (None,)),
    ("cut=0.5", "mass", "at-least"),
    ("sum", "none", "at-most"),
]


@cache
def table_of(n_units, engine="host"):
    """Two visits of every unit, with voxels of different sizes."""
    probs, labels = bags.maps(2 * n_units, seed=1)
    table = cx.scores.score_arrays(
        probs,
        labels,
        [0.1],
        engine=engine,
        case_ids=[f"c{i:02}" for i in range(2 * n_units)],
        units=[f"u{i // 2:02}" for i in range(2 * n_units)],
    )
    visits = np.array([str(i % 2) for i in range(2 * n_units)], object)
    voxel_ml = np.array([0.003 if i % 2 else 0.002 for i in range(2 * n_units)])
    added = {"visit": visits, "voxel_volume_ml": voxel_ml}
    return replace(table, columns=table.columns | added)


def of_unit(table, name):
    """What both maps of a unit say, and the volumes of its references."""
    from coverax.calibrate import measured

    def both(interval):
        rows = np.flatnonzero(table.column("unit") == name)
        rows = rows[np.argsort(table.column("visit")[rows])]
        own = table.select(rows)
        voxel_ml = np.asarray(own.column("voxel_volume_ml"), float)
        true = own.column("n_foreground") * voxel_ml
        return measured(interval, own.columns, voxel_ml), tuple(true.tolist())

    return both


@pytest.mark.parametrize("rule", RULES)
def test_leaving_each_unit_out_covers_exactly_the_rank(rule):
    """By scores, and by the intervals in mL: they hold the change iff the score is served."""
    table, interval = table_of(11), Interval(*rule)
    options = dict(zip(("estimate", "scale", "one_sided"), rule, strict=True))
    units = sorted(set(table.column("unit")))
    scores, hits = [], 0
    for unit in units:
        (first, second), true = of_unit(table, unit)(interval)
        scores.append(change_score(interval, first, second, true))
        rest = table.select(table.column("unit") != unit)
        found = calibrate_volume(rest, ALPHA, change=True, **options)
        (threshold,) = found.thresholds
        assert (threshold.side, threshold.n_units) == ("change", len(units) - 1)
        ends = change_bounds(interval, first, second, threshold.value)
        change = Fraction(true[1]) - Fraction(true[0])
        inside = ends.low_ml <= change <= ends.high_ml
        assert inside == (scores[-1] <= threshold.value)
        hits += inside
    assert len(set(scores)) == len(units)
    assert hits == conformal_rank(len(units) - 1, ALPHA)


def test_a_score_is_the_error_of_the_difference_over_the_sum_of_scales():
    first, second = Measured(10.0, 0.5), Measured(8.0, 1.5)
    true = (9.0, 8.5)  # the change is -0.5, its estimate -2
    assert change_score(Interval(), first, second, true) == 0.75
    assert change_score(Interval(scale="none"), first, second, true) == 1.5
    at_least, at_most = (Interval(one_sided=o) for o in ("at-least", "at-most"))
    assert change_score(at_least, first, second, true) == -0.75
    assert change_score(at_most, first, second, true) == 0.75
    sure = Measured(10.0, 0.0), Measured(8.0, 0.0)
    assert change_score(Interval(), *sure, (2.0, 0.0)) == 0
    assert change_score(Interval(), *sure, true) == math.inf


def test_the_ends_of_an_interval_and_whether_it_excludes_zero():
    first, second = Measured(10.0, 0.5), Measured(8.0, 1.5)
    for threshold, excludes in ((0.75, True), (1.0, False), (math.inf, False)):
        found = change_bounds(Interval(), first, second, threshold)
        assert found.change_ml == -2
        assert found.low_ml <= -2 - 2 * threshold <= found.low_ml + 1e-10 or math.isinf(
            threshold
        )
        assert found.excludes_zero == excludes
    found = change_bounds(Interval(one_sided="at-most"), first, second, 0.5)
    assert found.low_ml == -math.inf
    assert found.high_ml == pytest.approx(-1)
    assert found.excludes_zero


@pytest.mark.parametrize("rule", RULES)
def test_what_a_score_serves_lies_in_the_interval_at_its_very_end(rule):
    """The threshold is the pair's own score: its change is an end of its interval."""
    rng, interval = np.random.default_rng(3), Interval(*rule)
    for _ in range(300):
        values = rng.random(6) * 10.0 ** rng.integers(-3, 4, 6)
        first, second = Measured(*values[:2]), Measured(*values[2:4])
        true = float(values[4]), float(values[5])
        score = change_score(interval, first, second, true)
        found = change_bounds(interval, first, second, score)
        change = Fraction(true[1]) - Fraction(true[0])
        assert found.low_ml <= change <= found.high_ml
        ends = [e for e in (found.low_ml, found.high_ml) if math.isfinite(e)]
        assert min(abs(float(change) - end) for end in ends) <= 1e-9 * max(values)


def test_both_engines_give_the_same_threshold():
    found = [
        calibrate_volume(table_of(9, engine=e), ALPHA, change=True).thresholds[0].value
        for e in ("host", "device")
    ]
    assert found[0].hex() == found[1].hex()


def test_groups_raters_order_and_exchanged_rows_change_nothing_of_a_pair():
    table = table_of(12)
    whole = calibrate_volume(table, ALPHA, change=True)
    order = np.random.default_rng(0).permutation(table.n_rows)
    again = calibrate_volume(table.select(order), ALPHA, change=True)
    assert again.thresholds == whole.thresholds
    assert whole.n_cases == 24
    assert len(whole.case_digests) == 24  # the earlier visits are known too
    sites = np.array([f"s{(i // 2) % 2}" for i in range(24)], object)
    grouped = replace(table, columns=table.columns | {"site": sites})
    policy = cx.calibrate.Policy(empty="include", group_by="site")
    by_site = calibrate_volume(grouped, ALPHA, policy, change=True)
    alone = table.select(sites == "s0")
    (own,) = calibrate_volume(alone, ALPHA, change=True).thresholds
    assert by_site.thresholds[0].value == own.value
    assert "of a new unit of a calibrated site" in by_site.statement
    mixed = np.array([f"s{i % 2}" for i in range(24)], object)
    moved = replace(table, columns=table.columns | {"site": mixed})
    with pytest.raises(ValueError, match="visits are of groups s0 and s1"):
        calibrate_volume(moved, ALPHA, policy, change=True)


@pytest.mark.parametrize("earlier", [True, False])
def test_visits_of_several_models_are_refused_whichever_visit_has_them(earlier):
    """A score is of both maps: the earlier ones of two models are two populations too."""
    table = table_of(8)
    folds = [f"f{i // 2 % 2 if (i % 2 == 0) == earlier else 0}" for i in range(16)]
    added = {"fold": np.array(folds, object)}
    mixed = replace(table, columns=table.columns | added)
    with pytest.raises(ValueError, match="maps of 2 folds"):
        calibrate_volume(mixed, ALPHA, change=True)


VISITS = {
    "numbers": (["2", "10"], ["10", "2"]),
    "dates": (["2024-12-31", "2025-01-01"], ["2025-01-01", "2024-12-31"]),
    "words": (["ses-2", "ses-10"], ["ses-10", "ses-2"]),
}


@pytest.mark.parametrize("kind", VISITS)
def test_visits_are_ordered_as_numbers_dates_or_by_their_number(kind):
    for names in VISITS[kind]:
        visits = {f"c{n}": Visit("u", n) for n in names}
        first, second = VISITS[kind][0]
        assert pair_visits(visits) == {"u": (f"c{first}", f"c{second}")}


REFUSED = {
    "one visit": ({"a": ("u", "1")}, "unit u: a change needs two different visits"),
    "three": ({c: ("u", c) for c in "123"}, "there is 1 .1., 2 .2., 3 .3."),
    "twice the same": ({"a": ("u", "1"), "b": ("u", "01")}, "two different visits"),
    "two scans of one": (
        {"a": ("u", "1"), "b": ("u", "2"), "c": ("u", "2")},
        "one case each",
    ),
    "no name": ({"a": ("u", "1"), "b": ("u", "")}, "case b: no visit is named"),
    "no order": ({"a": ("u", "before"), "b": ("u", "after")}, "have no order"),
    "two words": ({"a": ("u", "M1"), "b": ("u", "V2")}, "have no order"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_pair_is_refused_by_name(kind):
    visits, why = REFUSED[kind]
    with pytest.raises(ValueError, match=why):
        pair_visits({case: Visit(*own) for case, own in visits.items()})


def test_tables_and_options_without_a_change_are_refused():
    table = table_of(6)
    bare = {k: v for k, v in table.columns.items() if k != "visit"}
    with pytest.raises(ValueError, match="no column visit"):
        calibrate_volume(replace(table, columns=bare), ALPHA, change=True)
    with pytest.raises(ValueError, match="1 of 6 units"):
        calibrate_volume(table.select(np.arange(11)), ALPHA, change=True)
    for policy, options, why in (
        ({"empty": "exclude"}, {}, "an empty one is of volume 0"),
        ({"per_unit": "one"}, {}, "counts once"),
        ({}, {"scale": "log"}, "must be mass or none"),
    ):
        asked = cx.calibrate.Policy(**({"empty": "include"} | policy))
        with pytest.raises(ValueError, match=why):
            calibrate_volume(table, ALPHA, asked, change=True, **options)
    found = calibrate_volume(table, ALPHA, change=True)
    with pytest.raises(ValueError, match="arrays in memory name none"):
        cx.predict.apply(found, [np.zeros((2, 2, 2))])
