"""Compliance of thirds and groups: every case once, counts and bands by hand."""

import numpy as np
import pytest
from scipy.stats import beta

from coverax.evaluate.audit import audited


def audit(rows, columns=None):
    found = audited(rows, columns)
    return [] if found is None else found.parts


def rows(sizes, hits, groups=None, counted=None, name="covered"):
    n = len(sizes)
    return [
        {
            "n_foreground": size,
            name: hit,
            "group": (groups or [""] * n)[k],
            "counted": (counted or [True] * n)[k],
        }
        for k, (size, hit) in enumerate(zip(sizes, hits, strict=True))
    ]


def test_thirds_hold_every_case_once_and_count_what_complies():
    rng = np.random.default_rng(0)
    sizes, hits = rng.permutation(1000)[:31].tolist(), (rng.random(31) < 0.7).tolist()
    parts = audit(rows(sizes, hits))
    assert [p.part for p in parts] == ["third 1", "third 2", "third 3"]
    assert sum(p.n for p in parts) == 31
    assert sum(p.n_compliant for p in parts) == sum(hits)
    assert max(p.n for p in parts) - min(p.n for p in parts) <= 1
    for p in parts:
        own = [
            h
            for s, h in zip(sizes, hits, strict=True)
            if p.from_value <= s <= p.to_value
        ]
        assert (p.n, p.n_compliant) == (len(own), sum(own))
        low = beta.ppf(0.025, sum(own), len(own) - sum(own) + 1)
        high = beta.ppf(0.975, sum(own) + 1, len(own) - sum(own))
        assert (p.low, p.high) == pytest.approx((low, high))


def test_equal_sizes_stay_together():
    parts = audit(rows([5] * 9, [True] * 9))
    assert [(p.part, p.n, p.high) for p in parts] == [("third 1", 9, 1.0)]


def test_groups_are_counted_where_there_are_several():
    parts = audit(rows([1, 2, 3, 4], [True, False, True, True], list("abab")))
    by = [(p.part, p.n_compliant, p.n) for p in parts if p.by == "group"]
    assert by == [("a", 2, 2), ("b", 1, 2)]


def test_rows_that_do_not_count_are_left_out():
    parts = audit(rows([1, 2, 3], [True] * 3, counted=[True, True, False]))
    assert sum(p.n for p in parts) == 2
    assert audited(rows([1], [True], counted=[False])) is None


def test_a_mean_has_no_audit():
    assert audited(rows([1, 2, 3], [None] * 3, name="calibrated_complies")) is None


def test_columns_of_the_cohort_are_groups_if_they_name_no_single_cases():
    table = rows([1, 2, 3, 4], [True, False, True, True])
    columns = {}
    for k, row in enumerate(table):
        row["case_id"] = f"case_{k}"
        columns[f"case_{k}"] = {"site": "xy"[k % 2], "date": f"2026-01-0{k}"}
    by = [(p.by, p.part, p.n_compliant, p.n) for p in audit(table, columns)]
    assert [row for row in by if row[0] in ("site", "date")] == [
        ("site", "x", 2, 2),
        ("site", "y", 1, 2),
    ]


def test_cases_are_sorted_by_how_far_their_raters_lie_apart():
    """Volumes 10 and 10, 10 and 8, 10 and 2: 1 - smallest / largest."""
    table = rows([10, 10, 10, 8, 10, 2], [True, True, True, True, False, False])
    for k, row in enumerate(table):
        row["case_id"], row["counted"] = f"case_{k // 2}", k % 2 == 0
    parts = [p for p in audit(table) if p.by == "rater_disagreement"]
    assert [(p.to_value, p.n_compliant, p.n) for p in parts] == [
        (0.0, 1, 1),
        (pytest.approx(0.2), 1, 1),
        (pytest.approx(0.8), 0, 1),
    ]


def test_a_cohort_is_audited_case_by_case_under_all_the_others():
    import coverax as cx
    from coverax.validate.audit import complies_with_others

    rng = np.random.default_rng(0)
    for n, alpha in [(9, "0.2"), (30, "0.1"), (5, "0.1")]:
        scores = rng.integers(0, 12, n) / 12
        want = [
            scores[i] <= cx.calibrate.split_threshold(np.delete(scores, i), alpha)
            for i in range(n)
        ]
        assert complies_with_others(scores, alpha).tolist() == want
    probs = rng.random((30, 40), np.float32)
    labels = rng.random((30, 40)) < np.linspace(0.1, 0.6, 30)[:, None]
    table = cx.scores.score_arrays(probs, labels, 0.1, groups=["a", "b"] * 15)
    plan = cx.validate.Plan(alphas=("0.2", "0.1"))
    (result,) = cx.validate.validate_table(table, plan).results
    first, second = result.audit
    assert (first.alpha, second.alpha, first.n_calibration) == (0.2, 0.1, 29)
    by = {p.by for p in first.audit.parts}
    assert by == {"n_foreground", "uncertainty", "group"}
    for name in by:
        own = [p for p in first.audit.parts if p.by == name]
        assert sum(p.n for p in own) == 30
    assert all(
        p.n_compliant <= q.n_compliant
        for p, q in zip(first.audit.parts, second.audit.parts, strict=True)
    )
