"""What a floor of groups can promise: counted over all calibration sets, by hand."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import coverax as cx
from coverax.calibrate import MERGED, Policy
from coverax.calibrate.groups import group_parts

HALF = Fraction(1, 2)
RARE = Fraction(1, 100)
SHARES = {"a": (1 - RARE) / 2, "b": (1 - RARE) / 2, "rare": RARE}
FLOOR, N = 1, 3
REFUSED = "no confidence can be promised"


def share_of_sets_that_fail():
    """Sets whose `other` serves groups of which it covers less than half.

    Units of the rare group score 1, all others 0.
    """
    failing = Fraction(0)
    for groups in itertools.product(SHARES, repeat=N):
        parts = group_parts(groups, range(N), FLOOR)
        served = SHARES.keys() - (parts.rows.keys() - {MERGED})
        pool = sorted(groups[i] == "rare" for i in parts.rows.get(MERGED, ()))
        rank = cx.calibrate.pac_rank(len(pool), HALF, HALF)
        if served and rank <= len(pool) and not pool[rank - 1]:
            covered = sum(SHARES[g] for g in served - {"rare"})
            chance = math.prod(SHARES[g] for g in groups)
            failing += chance * (covered < HALF * sum(SHARES[g] for g in served))
    return failing


def table_of(groups, **options):
    rng = np.random.default_rng(3)
    labels = rng.random((len(groups), 4, 4)) < 0.5
    labels[:, 0, 0] = True
    return cx.scores.score_arrays(
        rng.random(labels.shape).astype(np.float32),
        labels,
        [0.1],
        groups=groups,
        engine="host",
        **options,
    )


def test_confidence_with_a_floor_is_refused_since_too_many_sets_fail():
    assert share_of_sets_that_fail() > HALF + Fraction(1, 5)
    table = table_of(["a", "b"] * 6)
    policy = Policy(group_by="group", group_floor=4)
    with pytest.raises(ValueError, match=REFUSED):
        cx.calibrate.calibrate_fnr(
            table, "0.5", delta="0.5", group_by="group", group_floor=4
        )
    with pytest.raises(ValueError, match=REFUSED):
        cx.calibrate.calibrate_rcps(table, "0.5", "0.5", policy)
    with pytest.raises(ValueError, match=REFUSED):
        cx.calibrate.calibrate_ltt(table, "0.5", "0.5", policy)


def test_a_floor_is_refused_where_a_unit_is_of_several_groups():
    """Whom `other` serves would depend on the new unit, which is of several."""
    table = table_of(["a", "b", "a", "a", "b"], units=["u", "u", "v", "w", "x"])
    options = {"group_by": "group", "group_floor": 2}
    with pytest.raises(ValueError, match="unit u is of several groups"):
        cx.calibrate.calibrate_fnr(table, "0.5", per_unit="all", **options)
    found = cx.calibrate.calibrate_fnr(table, "0.5", per_unit="one", **options)
    assert {t.group for t in found.thresholds} <= {"a", "b", MERGED}


def test_cases_of_a_unit_are_drawn_within_the_group_where_each_unit_weighs_the_same():
    """Drawn from the whole unit, one that has few of its cases there would weigh less.

    Unit u has its bad case in group a and nine others in b: of a draw from all cases of
    a unit that falls in a, u is 1 in 11, of a draw within a 1 in 2.
    """
    table = table_of(["a", "b", "a", "b", "a"], units=["u", "u", "v", "w", "x"])
    found = cx.calibrate.calibrate_fnr(table, "0.5", per_unit="all", group_by="group")
    assert "a case drawn at random from those of a new unit" in found.statement
