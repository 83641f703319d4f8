"""One case of a unit is drawn over all groups in calibration, and so it is judged."""

from collections import Counter
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

import coverax as cx
from coverax.calibrate import Policy, conformal_rank, group_thresholds, keep_rows

ALPHA = Fraction(2, 5)
# Group and score of each case of a unit. Those in `a` with little are the bad ones there.
UNITS = [
    [("a", 1), ("a", 2)],
    [("a", 3), ("a", 4)],
    [("a", 5), ("b", 6)],
    [("a", 20), ("b", 7)],
    [("a", 21), ("b", 8), ("b", 9)],
]


def covered(drawn, k, case):
    """Whether a case of unit k is covered by the drawn cases of the others."""
    others = [own for i, own in enumerate(drawn) if i != k and own[0] == case[0]]
    if not others:
        return True
    groups, scores = zip(*others, strict=True)
    limits = group_thresholds(np.array(scores, float), np.array(groups), ALPHA)
    return case[1] <= limits[case[0]]


def test_drawn_before_grouping_exactly_the_rank_of_each_group_is_covered():
    """Every draw of the bag, each unit left out once: the law within a group, given it."""
    for drawn in product(*UNITS):
        for group in "ab":
            mine = [k for k, case in enumerate(drawn) if case[0] == group]
            hits = sum(covered(drawn, k, drawn[k]) for k in mine)
            n = len(mine) - 1
            assert hits == (min(conformal_rank(n, ALPHA), n + 1) if n > 0 else n + 1)


def test_drawn_within_each_group_units_of_few_cases_weigh_too_much():
    """In Fractions over all draws: what is promised holds for the one draw alone."""
    before, within = Counter(), Counter()
    for drawn in product(*UNITS):
        for k, unit in enumerate(UNITS):
            if drawn[k][0] == "a":
                before[covered(drawn, k, drawn[k])] += 1
            of_a = [case for case in unit if case[0] == "a"]
            for case in of_a:
                within[covered(drawn, k, case)] += Fraction(1, len(of_a))
    share, other = (Fraction(c[True]) / sum(c.values()) for c in (before, within))
    assert share >= 1 - ALPHA
    assert other < share


def arrays(n_units, seed, groups_of, n_empty=0):
    """Two cases a unit; the groups of both as given, the first cases without foreground."""
    rng = np.random.default_rng(seed)
    labels = rng.random((2 * n_units, 5, 5)) < 0.5
    labels[:, 0, 0] = True
    labels[:n_empty] = False
    names = [f"{seed}-{i // 2}" for i in range(2 * n_units)]
    groups = [groups_of(i) for i in range(2 * n_units)]
    probs = rng.random(labels.shape).astype(np.float32)
    about = {"units": names, "groups": groups, "engine": "host"}
    about["case_ids"] = [f"{seed}-case-{i}" for i in range(2 * n_units)]
    return probs, labels, about


def calibrated(groups_of, n_units=12, alpha="0.4"):
    probs, labels, about = arrays(n_units, 1, groups_of)
    table = cx.scores.score_arrays(probs, labels, [0.1], **about)
    return cx.calibrate.calibrate_fnr(table, alpha, per_unit="one", group_by="group")


def across(i):
    return "ab"[i % 2]


def within(i):
    return "ab"[i // 2 % 2]


@pytest.mark.parametrize("groups_of", [across, within])
@pytest.mark.parametrize("n_empty", [0, 7])
def test_the_case_that_counts_is_the_one_that_calibration_would_draw(
    groups_of, n_empty
):
    """Of the references that count: an empty one is put aside before the draw."""
    found = calibrated(groups_of)
    probs, labels, about = arrays(9, 2, groups_of, n_empty)
    whole = cx.evaluate.evaluate_arrays(found, probs, labels, seed=5, **about)
    counted = {row["case_id"] for row in whole.cases if row["counted"]}
    table = cx.scores.score_arrays(probs, labels, [0.1], **about)
    kept = keep_rows(table, found.thresholds[0].region, Policy(per_unit="one", seed=5))
    assert counted == set(table.column("case_id")[kept.rows])
    units = Counter(row["unit"] for row in whole.cases if row["counted"])
    assert set(units.values()) == {1}
    results = whole.summary.results
    assert sum(r.n_counted for r in results) == units.total() == 9 - n_empty // 2
    assert all(r.expected_ecr is not None and r.ecr_band for r in results)


def test_a_group_of_which_no_case_is_drawn_says_so():
    found = calibrated(across)
    probs, labels, about = arrays(1, 2, across)
    summary = cx.evaluate.evaluate_arrays(found, probs, labels, **about).summary
    assert [r.n_counted for r in summary.results] == [1]
    (why,) = summary.not_evaluated.values()
    assert "other groups" in why


def test_beside_a_refused_group_there_is_no_law(caplog):
    """Its cases were drawn in calibration, and here they get no score."""

    def rare(i):
        return "b" if i in (1, 3) else "a"

    found = calibrated(rare, n_units=20, alpha="0.3").promised()
    assert found.refused_parts
    probs, labels, about = arrays(9, 2, lambda _: "a")
    summary = cx.evaluate.evaluate_arrays(found, probs, labels, **about).summary
    assert [r.expected_ecr for r in summary.results] == [None]
    assert not any(r.ecr_band for r in summary.results)
    assert "groups that it then refused" in caplog.text
