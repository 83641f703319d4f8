"""Intervals by group: what has a law, and what is said of all regions at once."""

import numpy as np
import pytest

import coverax as cx
from coverax.calibrate import Policy, calibrate_volume

REGIONS = ("one=0:1", "two=1:2")


def arrays(groups, seed):
    """Maps of two regions; estimates are off by more voxels in later groups, on average."""
    rng, n = np.random.default_rng(seed), len(groups)
    labels = rng.integers(0, 3, (n, 4, 4, 4))
    probs = rng.random((n, 4, 4, 4, 2)).astype(np.float32)
    about = {"case_ids": [f"{seed}-{i}" for i in range(n)], "groups": groups}
    return probs, labels, about | {"engine": "host"}


def calibrated(groups, **options):
    probs, labels, about = arrays(groups, 1)
    table = cx.scores.score_arrays(
        probs, labels, [0.1], regions=REGIONS, voxel_volume_ml=0.001, **about
    )
    floor = options.pop("group_floor", 0)
    policy = Policy(empty="include", group_by="group", group_floor=floor)
    return calibrate_volume(table, "0.4", policy, **options)


def evaluated(found, groups, seed=2):
    probs, labels, about = arrays(groups, seed)
    return cx.evaluate.evaluate_arrays(
        found, probs, labels, spacing_mm=(1, 1, 1), **about
    )


def test_small_groups_that_count_as_one_have_no_law():
    """Groups of just enough units set the threshold of `other` too and are not among it."""
    found = calibrated(["a"] * 9 + ["b"] * 4 + ["c"] * 3, group_floor=4)
    results = evaluated(found, ["a"] * 5 + ["c"] * 6 + ["new"] * 2).summary.results
    laws = {(r.group, r.n_counted, r.interval.law is None) for r in results}
    assert laws == {("a", 5, False), ("other", 8, True)}
    for result in results:
        own = result.interval
        assert (own.expected is None) == (own.band is None) == (own.law is None)


def test_a_law_of_other_would_be_false():
    """Two right units stand alone and count for the one wrong unit, which is never held."""
    right, wrong = np.full((4, 4), 0.2, np.float32), np.full((4, 4), 0.8, np.float32)
    right[0], wrong[0] = 0.8, 0.2
    labels = np.arange(4)[:, None] == np.zeros(4, int)
    about = {"groups": ["a", "a", "b"], "engine": "host", "allow_duplicates": True}
    table = cx.scores.score_arrays(
        [right, right, wrong], [labels] * 3, [0.1], voxel_volume_ml=1.0, **about
    )
    policy = Policy(empty="include", group_by="group", group_floor=2)
    found = calibrate_volume(table, "0.5", policy, scale="none")
    (other,) = [t for t in found.thresholds if t.group == "other"]
    assert (other.n_units, other.rank, other.value) == (3, 2, 0.0)
    new = wrong.copy()
    new[3, 3] = 0.7  # another map
    (result,) = cx.evaluate.evaluate_arrays(
        found, [new], [labels], groups=["b"], case_ids=["n"], spacing_mm=(10, 10)
    ).summary.results
    assert result.interval.coverage == 0
    assert result.interval.law is None  # that of the rank would expect 2 of 4


@pytest.mark.parametrize("floor", [0, 4])
def test_all_regions_at_once_are_those_of_every_group(floor):
    """Not of the first group alone; of several groups no one law is that of all."""
    found = calibrated(
        ["a"] * 9 + ["b"] * 4 + ["c"] * 3, regions="joint", group_floor=floor
    )
    whole = evaluated(found, ["a"] * 5 + ["b"] * 4 + ["c"] * 6)
    held: dict[str, bool] = {}
    for row in whole.cases:
        held[row["case_id"]] = held.get(row["case_id"], True) and row["covered"]
    every = whole.summary.all_regions
    assert every is not None
    assert every.found is not None
    assert (every.n_counted, every.found.n_covered) == (15, sum(held.values()))
    assert every.found.coverage == sum(held.values()) / 15
    assert (every.found.law, every.found.expected, every.found.band) == (None,) * 3
    assert "15 cases" in cx.evaluate.all_regions_words(whole.summary)
    alone = evaluated(found, ["a"] * 5).summary.all_regions
    assert alone is not None
    assert alone.found is not None
    assert (alone.n_counted, alone.found.expected) == (5, 0.6)
