"""One case of a unit is drawn over all groups in calibration, and so it is judged."""

import logging

import numpy as np

import coverax as cx


def arrays(n_units, seed, groups_of):
    """Two cases a unit; the groups of both as given."""
    rng = np.random.default_rng(seed)
    labels = rng.random((2 * n_units, 5, 5)) < 0.5
    labels[:, 0, 0] = True
    names = [f"{seed}-{i // 2}" for i in range(2 * n_units)]
    groups = [groups_of(i) for i in range(2 * n_units)]
    probs = rng.random(labels.shape).astype(np.float32)
    about = {"units": names, "groups": groups, "engine": "host"}
    about["case_ids"] = [f"{seed}-case-{i}" for i in range(2 * n_units)]
    return probs, labels, about


def evaluated(groups_of, per_unit):
    probs, labels, about = arrays(12, 1, groups_of)
    table = cx.scores.score_arrays(probs, labels, [0.1], **about)
    found = cx.calibrate.calibrate_fnr(
        table, "0.4", per_unit=per_unit, group_by="group"
    )
    probs, labels, about = arrays(9, 2, groups_of)
    return cx.evaluate.evaluate_arrays(found, probs, labels, **about).summary


def across(i):
    return "ab"[i % 2]


def within(i):
    return "ab"[i // 2 % 2]


def test_units_of_several_groups_have_no_law_where_one_case_was_drawn(caplog):
    """A group has a unit in calibration as often as the draw falls there.

    A unit of 1 case in a group and 9 elsewhere weighs 1/10 there; drawn within the group
    it would weigh as much as one that lies in it whole.
    """
    with caplog.at_level(logging.WARNING, "coverax"):
        found = evaluated(across, "one")
    assert found.held_out
    assert [r.expected_ecr for r in found.results] == [None, None]
    assert not any(r.ecr_band for r in found.results)
    assert "9 units have cases in several groups" in caplog.text


def test_units_of_one_group_have_the_law(caplog):
    with caplog.at_level(logging.WARNING, "coverax"):
        found = evaluated(within, "one")
    assert all(r.expected_ecr is not None and r.ecr_band for r in found.results)
    assert "several groups" not in caplog.text
