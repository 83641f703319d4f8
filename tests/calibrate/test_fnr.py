"""The CLS calibration of a table: the guarantee on masks, policies, statuses, file."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import synthetic

import coverax as cx
from coverax.calibrate import Status


def table_of(n=20, seed=0, *, shape=(6, 7, 5), tolerances=(0.1, 0.3), **kwargs):
    rng = np.random.default_rng(seed)
    cases = [synthetic.case(shape, int(rng.integers(1, 60)), rng) for _ in range(n)]
    probs, labels = map(np.stack, zip(*cases, strict=True))
    table = cx.scores.score_arrays(probs, labels, tolerances, engine="host", **kwargs)
    return table, probs, labels


@given(
    seed=st.integers(0, 2**32 - 1),
    alpha=st.sampled_from(["0.1", "0.2", "0.5"]),
    tolerance=st.sampled_from(["0.1", "0.3"]),
)
def test_masks_of_left_out_cases_comply_rank_times(seed, alpha, tolerance):
    """The theorem on the product's own masks: leave each case out, threshold, count."""
    n = 12
    table, probs, labels = table_of(n, seed)
    scores = -table.critical_probability(float(tolerance))
    served = 0
    for i in range(n):
        cut = -cx.calibrate.split_threshold(np.delete(scores, i), alpha)
        mask = cx.predict.threshold_mask(probs[i], cut)
        missed = np.count_nonzero(labels[i] & ~mask)
        served += Fraction(missed, int(labels[i].sum())) <= Fraction(tolerance)
    rank = cx.calibrate.conformal_rank(n - 1, alpha)
    if len(set(scores)) == n:
        assert served == min(rank, n)
    else:
        assert served >= min(rank, n)


def test_threshold_is_the_rank_th_score_and_survives_its_file(tmp_path):
    table, _, _ = table_of(30)
    calibration = cx.calibrate.calibrate_fnr(table, "0.1", tolerance="0.3")
    only = calibration.thresholds[0]
    scores = np.sort(-table.critical_probability(0.3))
    assert only.rank == 28
    assert only.value == scores[27]
    assert only.status is Status.OK
    path = tmp_path / "calibration.json"
    calibration.write(path)
    assert cx.calibrate.read_calibration(path) == calibration
    content = json.loads(path.read_text())
    assert float.fromhex(content["threshold"]["hex"]) == only.value
    assert float.fromhex(content["probability_threshold"]["hex"]) == -only.value
    assert content["statement"].startswith("With probability at least 0.9,")


def test_too_few_cases_is_a_status_never_a_number():
    table, _, _ = table_of(8)
    calibration = cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.1)
    assert calibration.status is Status.TOO_FEW_CASES
    assert calibration.thresholds[0].value == math.inf
    assert calibration.to_json()["threshold"] == {"value": None, "hex": "inf"}
    assert calibration.to_json()["probability_threshold"]["hex"] == "-inf"
    assert "NO INFORMATIVE GUARANTEE" in calibration.statement
    with pytest.raises(ValueError, match=r"TOO_FEW_CASES \(rank 9 of 8 units\)"):
        calibration.raise_if_bad()


def test_pac_uses_its_own_rank_and_says_so():
    table, _, _ = table_of(40)
    calibration = cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.1, delta=0.05)
    assert calibration.thresholds[0].rank == cx.calibrate.pac_rank(40, 0.1, 0.05)
    assert "all but a share 0.05 of calibration sets" in calibration.statement
    few = cx.calibrate.calibrate_fnr(table_of(20)[0], 0.1, tolerance=0.1, delta=0.05)
    assert few.status is Status.INFEASIBLE


def test_empty_references_follow_the_policy():
    probs = np.full((12, 4, 4), 0.5, np.float32)
    labels = np.zeros((12, 4, 4), bool)
    labels[:9, 0, 0] = True
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    excluded = cx.calibrate.calibrate_fnr(table, 0.1)
    assert excluded.n_units == 9
    assert excluded.excluded["empty_reference"] == ("case_10", "case_11", "case_9")
    assert "non-empty reference" in excluded.statement
    included = cx.calibrate.calibrate_fnr(table, 0.1, empty="include")
    assert included.n_units == 12
    assert "non-empty" not in included.statement
    with pytest.raises(ValueError, match="3 references are empty: case_9"):
        cx.calibrate.calibrate_fnr(table, 0.1, empty="refuse")
    none = cx.scores.score_arrays(probs, labels & False, [0.1], engine="host")
    with pytest.raises(ValueError, match="all 12 references are empty"):
        cx.calibrate.calibrate_fnr(none, 0.1)


@pytest.mark.parametrize(("alpha", "value"), [("0.1", -0.5), ("0.7", -math.inf)])
def test_included_empty_references_are_served_before_all_others(alpha, value):
    """Any mask complies with an empty reference: its score lies below all scores."""
    probs = np.full((12, 4, 4), 0.5, np.float32)
    labels = np.zeros(probs.shape, bool)
    labels[:7, 0, 0] = True
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    (found,) = cx.calibrate.calibrate_fnr(table, alpha, empty="include").thresholds
    assert (found.value, found.status, found.n_units) == (value, Status.OK, 12)
    assert found.rank == cx.calibrate.conformal_rank(12, alpha)


def test_several_cases_a_unit_are_refused_or_drawn():
    units = [f"patient_{i // 2}" for i in range(40)]
    table, _, _ = table_of(40, units=units)
    with pytest.raises(
        ValueError, match=r"20 units own 40 cases \(unit patient_0 owns 2"
    ):
        cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.1)
    drawn = cx.calibrate.calibrate_fnr(
        table, 0.1, tolerance=0.1, per_unit="one", seed=3
    )
    assert drawn.n_units == 20
    assert len(drawn.excluded["not_drawn"]) == 20
    assert drawn.options["seed"] == 3
    assert "drawn at random from a new unit" in drawn.statement


def test_the_draw_ignores_table_order_and_scores():
    units = np.array([f"p{i // 3}" for i in range(30)])
    ids = np.array([f"c{i}" for i in range(30)])
    kept = np.ones(30, bool)
    drawn = cx.calibrate.draw_one_per_unit(ids, units, kept, seed=1)
    order = np.random.default_rng(5).permutation(30)
    again = cx.calibrate.draw_one_per_unit(ids[order], units[order], kept, seed=1)
    assert set(ids[drawn]) == set(ids[order][again])
    assert len(set(units[drawn])) == drawn.sum() == 10
    other = cx.calibrate.draw_one_per_unit(ids, units, kept, seed=2)
    assert set(ids[other]) != set(ids[drawn])


def test_a_tolerance_the_table_does_not_have_is_refused():
    table, _, _ = table_of(12)
    with pytest.raises(
        ValueError, match=r"no scores for tolerance 0.2, only for 0.1, 0.3"
    ):
        cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.2)
    with pytest.raises(ValueError, match="choose one"):
        cx.calibrate.calibrate_fnr(table, 0.1)


def test_a_lesion_voxel_of_probability_zero_means_the_whole_volume():
    probs = np.zeros((12, 5), np.float32)
    labels = np.ones((12, 5), bool)
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    calibration = cx.calibrate.calibrate_fnr(table, 0.1)
    assert calibration.status is Status.VACUOUS
    with pytest.raises(ValueError, match=r"whole volume alone.*--allow-vacuous"):
        calibration.raise_if_bad()
    assert calibration.thresholds[0].probability == 0.0
    assert "threshold is probability 0" in calibration.statement
    assert calibration.thresholds[0].n_tied == 12
