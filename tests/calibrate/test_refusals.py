"""Where a guarantee cannot be given: the words are right, and only that part is refused."""

import numpy as np
import pytest
from tests import bags

import coverax as cx
from coverax.calibrate import Loss, Policy, Status

OWN = Loss(lambda c: c.n_true_positive * 0.0 + 1, "own", -1, True, "own")


def rare(n_rare):
    """Twenty cases with a common region; a rare one in few, or in none."""
    probs, labels = bags.maps(20, 1)
    few = labels.copy()
    few[n_rare:] = False
    tables = [
        cx.scores.score_arrays(probs, y, [0.1], region=name, engine="host", n_bins=0)
        for name, y in (("rare", few), ("common", labels))
    ]
    return bags.joined(tables, ("rare", "common"))


@pytest.mark.parametrize(
    ("loss", "also"),
    [("dice", {}), ("fnr", {"fpr": 0.01}), ("fpr", {"fnr": 0.01}), (OWN, {})],
)
def test_no_mask_is_called_safe_where_none_is(loss, also):
    """The whole volume marks all of the background; its Dice loss may be near 1."""
    found = cx.calibrate.calibrate_ltt(
        bags.distinct("host").table, 0.01, 0.1, loss=loss, also=also
    )
    assert found.status is Status.INFEASIBLE
    with pytest.raises(ValueError, match="no guarantee") as refused:
        found.raise_if_bad()
    for text in (str(refused.value), found.statement):
        assert "only safe mask" not in text
        assert "o mask is known to be safe" in text
        assert "coverax plan" not in text


@pytest.mark.parametrize("method", ["fnr", "crc", "rcps", "ltt", "sets"])
def test_a_statement_opens_with_what_it_cannot_keep(method):
    table = bags.sets("host", 3, ("inner=surface", "outer=surface")).table
    found = {
        "fnr": lambda: cx.calibrate.calibrate_fnr(table, 0.001),
        "crc": lambda: cx.calibrate.calibrate_crc(table, 0.001),
        "rcps": lambda: cx.calibrate.calibrate_rcps(table, 0.001, 0.1),
        "ltt": lambda: cx.calibrate.calibrate_ltt(table, 0.001, 0.1),
        "sets": lambda: cx.calibrate.calibrate_sets(table, 0.001),
    }[method]()
    lost, promise = found.statement.split("What was asked for, and is NOT promised: ")
    assert lost.startswith(("In region", "Region"))
    assert "NO INFORMATIVE GUARANTEE" in lost
    assert "0.99" in promise or "0.001" in promise


def test_levels_that_would_have_passed_are_told_and_do_pass():
    table = bags.distinct("host").table
    also = {"fpr": 0.05}
    found = cx.calibrate.calibrate_ltt(table, 0.1, 0.2, also=also)
    rows = {row["loss"]: row for row in found.options["attainable"]}
    for loss, row in rows.items():
        alone = cx.calibrate.calibrate_ltt(
            table, row["alone"], 0.2, loss=loss, correction="holm"
        )
        assert alone.status is Status.OK
        less = cx.calibrate.calibrate_ltt(
            table, row["alone"] - 0.001, 0.2, loss=loss, correction="holm"
        )
        assert less.status is Status.INFEASIBLE
    assert rows["fpr"]["level"] is None  # at fnr 0.1 no level of the other helps
    assert "needs other cases to calibrate on" in found.statement
    for bound in ("hoeffding", "wsr"):
        lost = cx.calibrate.calibrate_rcps(table, 0.01, 0.2, bound=bound)
        (row,) = lost.options["attainable"]
        for level, status in (
            (row["level"], Status.OK),
            (row["level"] - 0.001, Status.INFEASIBLE),
        ):
            again = cx.calibrate.calibrate_rcps(table, level, 0.2, bound=bound)
            assert again.status is status


@pytest.mark.parametrize(
    ("calibrate", "command"),
    [
        (lambda t: cx.calibrate.calibrate_fnr(t, 0.01), "plan --alpha 0.01`"),
        (
            lambda t: cx.calibrate.calibrate_fnr(t, 0.01, delta=0.1),
            "plan --alpha 0.01 --delta 0.1`",
        ),
        (lambda t: cx.calibrate.calibrate_crc(t, 0.01), "plan --alpha 0.01`"),
        (lambda t: cx.calibrate.calibrate_crc(t, 0.01, loss="fpr"), None),
        (lambda t: cx.calibrate.calibrate_rcps(t, 0.01, 0.1), None),
        (lambda t: cx.calibrate.calibrate_fnr(t, 0.01, weights="weight"), None),
        (
            lambda t: cx.calibrate.calibrate_sets(t, 0.01, alpha_inner=0.002),
            "plan --alpha 0.002`",
        ),
        (
            lambda t: cx.calibrate.calibrate_sets(t, 0.01, delta=0.1),
            "plan --alpha 0.005 --delta 0.05`",
        ),
        (
            lambda t: cx.calibrate.calibrate_sets(
                t, 0.01, delta=0.1, bound="hoeffding"
            ),
            None,
        ),
    ],
)
def test_plan_is_named_where_it_knows_the_answer(calibrate, command):
    found = calibrate(bags.sets("host", 3, ("inner=surface", "outer=surface")).table)
    with pytest.raises(ValueError, match="no guarantee") as refused:
        found.raise_if_bad()
    assert ("coverax plan" in str(refused.value)) == (command is not None)
    assert command is None or command in str(refused.value)


@pytest.mark.parametrize("n_rare", [0, 3])
def test_a_scarce_region_is_refused_and_the_others_are_calibrated(n_rare, tmp_path):
    table = rare(n_rare)
    calls = [
        lambda: cx.calibrate.calibrate_fnr(table, 0.2),
        lambda: cx.calibrate.calibrate_crc(table, 0.2),
        lambda: cx.calibrate.calibrate_ltt(table, 0.5, 0.05, Policy()),
    ]
    common = table.select(table.column("region") == "common")
    alone = cx.calibrate.calibrate_fnr(common, 0.2)
    for call in calls:
        found = call()
        status = {t.region: t.status for t in found.thresholds}
        assert status["common"] is Status.OK
        assert status["rare"] is not Status.OK
        assert (status["rare"] is Status.EMPTY_GROUP) == (n_rare == 0)
        with pytest.raises(ValueError, match=r"region rare: .*--allow-scarce"):
            found.raise_if_bad()
        kept = found.promised()
        kept.raise_if_bad()
        assert [t.region for t in kept.thresholds] == ["common"]
        assert (kept.refused("rare"), kept.refused("common")) == (
            status["rare"].name,
            None,
        )
        kept.write(tmp_path / "c.json")
        assert cx.calibrate.read_calibration(tmp_path / "c.json") == kept
    assert calls[0]().promised().thresholds == alone.thresholds


def test_a_refused_group_is_not_served_by_others():
    """Or it would get a threshold of units that are not exchangeable with it."""
    groups = ["a"] * 15 + ["b"] * 6 + ["c"] * 5 + ["d"] * 4
    table = bags.scored(*bags.maps(30, 3), "host", groups=groups).table
    found = cx.calibrate.calibrate_fnr(table, 0.1, group_by="group", group_floor=6)
    assert {t.group: t.status.name for t in found.thresholds} == {
        "a": "OK",
        "b": "TOO_FEW_CASES",
        "other": "OK",
    }
    kept = found.promised()
    assert kept.of_group("new").thresholds == kept.of_group("d").thresholds
    with pytest.raises(ValueError, match=r"'b' was refused .*TOO_FEW_CASES"):
        kept.of_group("b")
    with pytest.raises(ValueError, match="no group is named"):
        kept.of_group("")


def test_sets_of_a_region_without_a_case_are_refused_alone():
    transforms = ("inner=surface", "outer=surface")
    bag = bags.two_regions("host", 3, transforms)
    n = np.where(bag.column("region") == "right", 0, bag.column("n_foreground"))
    table = bags.with_column(bag.table, "n_foreground", n)
    found = cx.calibrate.calibrate_sets(table, 0.2, joint="max", empty="exclude")
    assert {(t.region, t.side): t.status.name for t in found.thresholds} == {
        ("left", "inner"): "OK",
        ("left", "outer"): "OK",
        ("right", "inner"): "EMPTY_GROUP",
        ("right", "outer"): "EMPTY_GROUP",
    }
    assert {t.region for t in found.promised().thresholds} == {"left"}
    with pytest.raises(ValueError, match="empty inner and an outer of the whole"):
        found.raise_if_bad()
