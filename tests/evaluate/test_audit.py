"""Compliance of thirds and groups: every case once, counts and bands by hand."""

import numpy as np
import pytest
from scipy.stats import beta

from coverax.evaluate.audit import audit, audited


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
