"""Several references a case: the worst of them, or one drawn; never counted as units."""

import numpy as np
import pytest
from scipy import stats
from tests.conftest import FALSE_FAIL_RATE
from tests.lidc import RATERS, read_nodules, rows_of

import coverax as cx
from coverax.calibrate import Policy, keep_rows, settle_raters

SHAPE = (6, 5, 4)


def several(n, seed=0, n_raters=3, **more):
    """Cases with `n_raters` references each: rows for `score_arrays`."""
    rng = np.random.default_rng(seed)
    rows = {"probs": [], "labels": [], "case_ids": [], "raters": []}
    for i in range(n):
        field = rng.standard_normal(SHAPE)
        probs = (1 / (1 + np.exp(-2 * field))).astype(np.float32)
        for r in range(n_raters):
            rows["probs"].append(probs)
            rows["labels"].append(field + rng.normal(0, 0.5, SHAPE) > 0.6)
            rows["case_ids"].append(f"c{i:02d}")
            rows["raters"].append(f"r{r}")
    return rows | more


def table_of(rows, tolerances=("0.1",), **more):
    return cx.scores.score_arrays(
        **rows, tolerances=list(tolerances), engine="host", **more
    )


def without(table, case_id):
    """The table of the other cases."""
    return table.select(table.column("case_id") != case_id)


def complies(rows, case_id, cut, tolerance=0.1):
    """Whether the mask of a case misses little enough of every rater's reference."""
    for own, p, y in zip(rows["case_ids"], rows["probs"], rows["labels"], strict=True):
        if own == case_id and (y & (p < cut)).sum() > int(tolerance * y.sum()):
            return False
    return True


def n_covered(rows, threshold_fn):
    """Cases whose mask, by a threshold from all others, complies with every rater."""
    table, cases = table_of(rows), sorted(set(rows["case_ids"]))
    return sum(complies(rows, c, -threshold_fn(without(table, c))) for c in cases)


def worst(table, alpha="0.3"):
    found = cx.calibrate.calibrate_fnr(table, alpha, tolerance="0.1", raters="worst")
    return found.thresholds[0].value


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_leaving_each_case_out_covers_exactly_rank_of_them_against_every_rater(seed):
    rows = several(12, seed)
    assert n_covered(rows, worst) == cx.calibrate.conformal_rank(11, "0.3")


def test_counting_references_as_cases_fails_the_identity():
    """Mutant: every row a unit of its own."""

    def pooled(table):
        scores = -table.critical_probability(0.1)
        return cx.calibrate.split_threshold(scores, "0.3")

    found = [n_covered(several(12, seed), pooled) for seed in range(3)]
    assert max(found) < cx.calibrate.conformal_rank(11, "0.3")


def test_every_rater_of_real_nodules_is_served(shared_data):
    """LIDC, four radiologists: all splits of patients cover exactly r / (n + 1)."""
    nodules = read_nodules(shared_data, 60, most_voxels=12_000)
    rows = rows_of(nodules)
    table = cx.scores.score_arrays(**rows, tolerances=["0.1"], engine="host")
    kept = keep_rows(table, "foreground", Policy(per_unit="one", raters="worst"))
    cases = cx.calibrate.cases_of(
        table.column("case_id"), np.flatnonzero(kept.rows), kept.references
    )
    scores = cases.worst(-table.critical_probability(0.1))
    n = scores.size // 2
    found = cx.validate.all_splits(scores, n, "0.2")
    assert found.coverage_mean == pytest.approx(found.rank / (n + 1), abs=1e-9)
    # Each alone is served at least as often: the worst is the hardest.
    for r in range(len(RATERS)):
        own = -table.critical_probability(0.1)[cases.members[r :: len(RATERS)]]
        assert (own <= scores).all()
    one = cx.calibrate.calibrate_fnr(
        table, "0.2", tolerance="0.1", per_unit="one", raters="worst"
    )
    assert one.n_units == len({unit for _, unit, _ in nodules})
    assert one.options["raters"] == "worst"
    assert "at once against all raters" in one.statement


def test_worst_takes_the_largest_loss_at_every_cut():
    rows = several(20)
    table = table_of(rows)
    found = cx.calibrate.calibrate_crc(table, "0.3", Policy(raters="worst"))
    cut = found.thresholds[0].probability

    def mean_worst(cut):
        losses = {}
        for i, p, y in zip(
            rows["case_ids"], rows["probs"], rows["labels"], strict=True
        ):
            losses[i] = max(losses.get(i, 0), (y & (p < cut)).sum() / y.sum())
        return np.mean(list(losses.values()))

    assert (20 * mean_worst(cut) + 1) / 21 <= 0.3
    assert (20 * mean_worst(cut + 1 / 1024) + 1) / 21 > 0.3
    assert found.n_units == 20


def test_sets_hold_against_every_rater():
    rows = several(15, 4)
    table = table_of(rows, transforms=["inner=identity", "outer=identity"])
    found = cx.calibrate.calibrate_sets(table, "0.3", joint="each", raters="worst")
    rank = cx.calibrate.conformal_rank(15, "0.3")
    for side, extreme in (
        ("inner", lambda p, y: p[~y].max()),
        ("outer", lambda p, y: -p[y].min()),
    ):
        scores = {}
        for i, p, y in zip(
            rows["case_ids"], rows["probs"], rows["labels"], strict=True
        ):
            scores[i] = max(scores.get(i, -np.inf), extreme(p, y))
        expected = sorted(scores.values())[rank - 1]
        assert found.threshold_of("foreground", side).value == expected


def test_a_draw_takes_one_rater_a_case_and_knows_names_alone():
    rows = several(80, n_raters=4)
    table = table_of(rows)
    kept = keep_rows(table, "foreground", Policy(raters="draw", seed=5))
    assert kept.rows.sum() == 80
    np.testing.assert_array_equal(kept.rows, kept.references)
    # Each rater as often as another: chi-square at the suite's rate.
    drawn = np.unique(table.column("rater")[kept.rows], return_counts=True)[1]
    assert stats.chisquare(drawn).pvalue > FALSE_FAIL_RATE
    ids, raters = table.column("case_id"), table.column("rater")
    order = np.random.default_rng(0).permutation(len(ids))
    again = settle_raters(ids[order], raters[order], np.ones(len(ids), bool), "draw", 5)
    np.testing.assert_array_equal(again, kept.references[order])
    other = keep_rows(table, "foreground", Policy(raters="draw", seed=6))
    assert (other.rows != kept.rows).any()
    found = cx.calibrate.calibrate_fnr(
        table, "0.2", tolerance="0.1", raters="draw", seed=5
    )
    scores = -table.critical_probability(0.1)[kept.rows]
    assert found.thresholds[0].value == cx.calibrate.split_threshold(scores, "0.2")
    assert (found.options["raters"], found.options["seed"]) == ("draw", 5)
    assert "drawn at random" in found.statement


def test_no_rule_is_refused():
    table = table_of(several(5))
    with pytest.raises(ValueError, match=r"5 cases have several references \(case c00"):
        cx.calibrate.calibrate_fnr(table, "0.3", tolerance="0.1")
    with pytest.raises(ValueError, match="case_ids must differ"):
        table_of(several(5) | {"raters": ["same"] * 15})


def test_an_empty_reference_of_one_rater_is_put_aside_and_recorded():
    rows = several(6)
    rows["labels"][0] = np.zeros(SHAPE, bool)
    for k in (3, 4, 5):
        rows["labels"][k] = np.zeros(SHAPE, bool)
    found = cx.calibrate.calibrate_fnr(
        table_of(rows), "0.4", tolerance="0.1", raters="worst"
    )
    assert found.n_units == 5
    assert found.excluded == {
        "empty_reference": ("c01",),
        "empty_reference_of_a_rater": ("c00",),
    }
    # Drawn before anyone looks: an empty one that was drawn is left out.
    table = table_of(rows)
    drawn = [
        keep_rows(table, "foreground", Policy(raters="draw", seed=s)).rows.sum()
        for s in range(30)
    ]
    assert set(drawn) == {4, 5}


def test_units_with_several_cases_and_raters_are_drawn_once():
    rows = several(12, units=[f"p{i // 6}" for i in range(36)])
    table = table_of(rows)
    with pytest.raises(ValueError, match="6 units own 12 cases"):
        cx.calibrate.calibrate_fnr(table, "0.3", tolerance="0.1", raters="worst")
    one = keep_rows(table, "foreground", Policy(per_unit="one", raters="worst"))
    assert (one.rows.sum(), one.references.sum()) == (6, 18)
    every = cx.calibrate.calibrate_fnr(
        table, "0.3", tolerance="0.1", per_unit="all", raters="worst"
    )
    cases = cx.calibrate.cases_of(
        table.column("case_id"), np.arange(0, 36, 3), np.ones(36, bool)
    )
    scores = cases.worst(-table.critical_probability(0.1))
    units = table.column("unit")[::3]
    expected = cx.calibrate.hierarchical_threshold(scores, units, "0.3")
    assert every.thresholds[0].value == expected


def test_learning_takes_the_worst_of_raters_too():
    rows = several(20, 3)
    transforms = ["inner=identity", "inner=logit", "outer=identity"]
    table = table_of(rows, transforms=transforms, set_sizes=True)
    with pytest.raises(ValueError, match="20 cases have several references"):
        cx.calibrate.learn_sets(table, "0.3")
    learned = cx.calibrate.learn_sets(table, "0.3", raters="worst")
    assert len(learned.unit_digests) == 20
    cases = cx.calibrate.cases_of(
        table.column("case_id"), np.arange(0, 60, 3), np.ones(60, bool)
    )
    own = table.side_transform("outer", learned.outer)
    expected = np.sort(cases.worst(table.side_scores(own)))
    assert learned.scores["foreground", "outer"] == tuple(expected)
