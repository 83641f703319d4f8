"""Summaries: intervals of sites, macro means and means over regions."""

import csv

import numpy as np
import pytest

UNITS = ["a", "a", "b", "c", "d", "d", "e"]
GROUPS = ["x", "x", "x", "x", "y", "y", "z"]


@pytest.fixture(scope="module")
def table():
    from coverax.scores import score_arrays

    rng = np.random.default_rng(5)
    p = rng.random((7, 6, 5, 4), dtype=np.float32)
    y = rng.random(p.shape) < p**2
    y[3] = False
    return score_arrays(p, y, [0.1], units=UNITS, groups=GROUPS)


def test_macro_intervals_are_means_over_the_cases_of_drawn_units(table):
    from coverax.reliability import interval, summarise, unit_weights

    found = summarise(table, n_draws=300, seed=7)
    result = found.summary.regions[0]
    rng_weights = unit_weights(5, 300, 7)
    names = sorted(set(UNITS))
    draws = []
    for row in rng_weights:  # one drawn cohort after the other, case by case
        cases = [
            case["ece"]
            for case in found.cases
            for _ in range(row[names.index(case["unit"])])
            if case["n_foreground"]
        ]
        draws.append(np.mean(cases))
    want = interval(np.array(draws))
    np.testing.assert_allclose(result.macro_interval["ece"], want, rtol=1e-12)
    # One region: the mean over regions is that region.
    mean = found.summary.mean_over_regions
    for how in ("macro", "pooled"):
        assert getattr(mean, f"{how}_interval") == getattr(result, f"{how}_interval")


def test_groups_draw_their_own_units_and_one_unit_has_no_interval(table):
    from coverax.reliability import summarise

    groups = summarise(table, n_draws=100).summary.regions[0].groups
    alone = table.select(np.arange(4))
    want = summarise(alone, n_draws=100).summary.regions[0]
    for key in ("pooled", "pooled_interval", "macro", "macro_interval", "n_absent"):
        assert getattr(groups["x"], key) == getattr(want, key)
    assert groups["x"].n_units == 3
    for name in ("y", "z"):
        assert groups[name].n_units == 1
        assert groups[name].pooled_interval is None
        assert groups[name].macro_interval is None


def test_groups_csv_has_every_group_with_the_ends_of_intervals(table, tmp_path):
    from coverax.reliability import summarise, write_reliability

    found = summarise(table, n_draws=100)
    write_reliability(found, tmp_path / "out")
    with (tmp_path / "out" / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["x", "y", "z"]
    x = found.summary.regions[0].groups["x"]
    low, high = x.pooled_interval["ece"]
    assert float(rows[0]["pooled_ece"]) == x.pooled["ece"]
    assert float(rows[0]["pooled_ece_low"]) == low
    assert float(rows[0]["pooled_ece_high"]) == high
    assert float(rows[0]["macro_nll"]) == x.macro["nll"]
    assert rows[1]["pooled_ece_low"] == rows[1]["macro_ece_high"] == ""


def test_regions_of_different_units_have_a_mean_and_its_interval():
    from coverax.reliability import summarise
    from coverax.scores import ScoreDefinition, ScoreTable, score_arrays
    from coverax.volumes import parse_regions

    rng = np.random.default_rng(8)
    p = rng.random((6, 5, 5), dtype=np.float32)
    y = rng.random(p.shape) < p
    one = score_arrays(p, y, [0.1], region="one").columns
    two = score_arrays(p[:4], y[:4], [0.1], region="two").columns
    definition = ScoreDefinition(regions=parse_regions(["one=0:1", "two=0:1"]))
    columns = {name: np.concatenate([one[name], two[name]]) for name in one}
    both = ScoreTable(columns, definition, {})
    mean = summarise(both, n_draws=200).summary.mean_over_regions
    for how in ("macro", "pooled"):
        low, high = getattr(mean, f"{how}_interval")["brier"]
        assert low < getattr(mean, how)["brier"] < high


def test_without_draws_there_is_no_interval(table):
    from coverax.reliability import summarise

    summary = summarise(table, n_draws=0).summary
    for part in (summary.mean_over_regions, summary.regions[0]):
        assert part.pooled_interval is None
        assert part.macro_interval is None
