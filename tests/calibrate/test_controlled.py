"""CRC, RCPS and LTT on score tables; groups, weights and units of the FNR method."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from tests import synthetic

import coverax as cx
from coverax.calibrate import Policy, Status
from coverax.volumes import Region


def table_of(n=40, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    cases = [synthetic.case((6, 7, 5), int(rng.integers(5, 60)), rng) for _ in range(n)]
    probs, labels = map(np.stack, zip(*cases, strict=True))
    table = cx.scores.score_arrays(probs, labels, [0.1, 0.3], engine="host", **kwargs)
    return table, probs, labels


def mean_loss_at(cut, probs, labels, loss):
    losses = []
    for p, y in zip(probs, labels, strict=True):
        mask = p >= cut
        if loss == "fnr":
            losses.append((y & ~mask).sum() / y.sum())
        else:
            losses.append((mask & ~y).sum() / (~y).sum())
    return float(np.mean(losses))


@pytest.mark.parametrize("loss", ["fnr", "fpr"])
def test_crc_takes_the_least_safe_grid_cut_that_passes_on_the_masks(loss):
    n, alpha = 40, 0.1
    table, probs, labels = table_of(n)
    found = cx.calibrate.calibrate_crc(table, alpha, loss=loss)
    cut = found.thresholds[0].probability
    step = 1 / 1024 if loss == "fnr" else -1 / 1024

    def corrected(cut):
        return (n * mean_loss_at(cut, probs, labels, loss) + 1) / (n + 1)

    assert corrected(cut) <= alpha < corrected(cut + step)
    assert found.method == "crc"
    assert "in expectation" not in found.statement
    assert "mean over new cases, not of every case" in found.statement


def test_crc_uses_the_cohorts_own_cuts_after_a_second_pass(tmp_path):
    probs, labels = synthetic.write_cohort(tmp_path, 15, (8, 9, 7), 60, seed=1)
    cohort = cx.volumes.match_folders(probs, labels)
    definition = cx.scores.ScoreDefinition(tolerances=(0.1, 0.3))
    table = cx.scores.score_cohort(cohort, definition, engine="host")
    refined = cx.scores.add_critical_curves(table, cohort, engine="host")
    path = tmp_path / "t.parquet"
    refined.write(path)
    refined = cx.scores.read_table(path)
    for alpha in ("0.1", "0.2", "0.3"):
        grid = cx.calibrate.calibrate_crc(table, alpha).thresholds[0]
        own = cx.calibrate.calibrate_crc(refined, alpha).thresholds[0]
        assert own.value <= grid.value
        # RCPS must not look at cuts that depend on the data.
        assert cx.calibrate.calibrate_rcps(
            refined, alpha, 0.3
        ) == cx.calibrate.calibrate_rcps(table, alpha, 0.3)


@pytest.mark.parametrize("alpha", ["0.1", "0.2", "0.3"])
def test_crc_is_safe_and_within_one_known_cut_of_the_exact_one(tmp_path, alpha):
    """Against the volumes: every foreground value is a jump of the mean loss.

    The cut found lies at or below the exact one, so its expected loss is no larger, and
    no other known cut lies between: the next one fails.
    """
    probs, labels = synthetic.write_cohort(tmp_path, 15, (8, 9, 7), 60, seed=1)
    cohort = cx.volumes.match_folders(probs, labels)
    definition = cx.scores.ScoreDefinition(tolerances=(0.1, 0.3))
    table = cx.scores.score_cohort(cohort, definition, engine="host")
    table = cx.scores.add_critical_curves(table, cohort, engine="host")
    found = cx.calibrate.calibrate_crc(table, alpha).thresholds[0].probability
    values = [
        np.sort(
            cx.volumes.read_probs(case.probs, channels=(0,)).probs[0][labels_of(case)]
        )
        for case in cohort.cases
    ]

    def passes(cut):
        losses = [Fraction(int(np.searchsorted(v, cut)), v.size) for v in values]
        return (sum(losses) + 1) / 16 <= Fraction(alpha)

    exact = max(v for v in np.concatenate(values) if passes(v))
    known = np.append(table.grid_curves().cuts, table.critical_cuts("foreground"))
    assert found <= exact
    assert passes(found)
    assert not passes(known[known > found].min())
    assert exact - found < 1 / 1024


def labels_of(case):
    return cx.volumes.read_labels(case.labels)[0] == 1


def test_second_pass_counts_agree_with_the_volumes_on_both_engines(tmp_path, engine):
    rng = np.random.default_rng(2)
    arrays = [synthetic.case((6, 5, 7), 30, rng) for _ in range(5)]
    for i, (p, y) in enumerate(arrays):
        synthetic.write_nifti(tmp_path / "p" / f"c{i}.nii.gz", p)
        synthetic.write_nifti(tmp_path / "y" / f"c{i}.nii.gz", y)
    cohort = cx.volumes.match_folders(tmp_path / "p", tmp_path / "y")
    definition = cx.scores.ScoreDefinition(tolerances=(0.1,))
    table = cx.scores.score_cohort(cohort, definition, engine=engine)
    whole = cx.scores.add_critical_curves(table, cohort, engine=engine)
    for rows in ([0, 1, 2, 3, 4], [3, 1], [2]):  # of a part its own cuts alone
        part = whole.select(np.array(rows))
        curves = part.critical_curves("foreground")
        critical = part.critical_probability(0.1)
        np.testing.assert_array_equal(curves.cuts, np.unique(critical))
        assert curves.n_predicted.shape == (len(rows), curves.cuts.size)
        for (i, row), cut in itertools.product(enumerate(rows), critical):
            (p, y), j = arrays[row], int(np.searchsorted(curves.cuts, cut))
            assert curves.n_predicted[i, j] == (p >= cut).sum()
            assert curves.n_true_positive[i, j] == ((p >= cut) & y).sum()


def test_risk_methods_take_unit_means_and_say_whom_they_speak_of():
    units = [f"p{i // 4}" for i in range(40)]
    table, probs, labels = table_of(40, units=units)
    with pytest.raises(ValueError, match="per-unit one"):
        cx.calibrate.calibrate_crc(table, 0.2)
    found = cx.calibrate.calibrate_crc(table, 0.2, Policy(per_unit="all"))
    assert found.n_units == 10
    assert "drawn at random from a new unit" in found.statement
    cut = found.thresholds[0].probability
    means = [
        mean_loss_at(cut, probs[k : k + 4], labels[k : k + 4], "fnr")
        for k in range(0, 40, 4)
    ]
    assert (10 * np.mean(means) + 1) / 11 <= 0.2


def test_infeasible_requests_are_a_status_and_the_safe_mask():
    table, _, _ = table_of(8)
    found = cx.calibrate.calibrate_crc(table, 0.1)
    assert (found.status, found.thresholds[0].value) == (Status.INFEASIBLE, math.inf)
    with pytest.raises(ValueError, match=r"INFEASIBLE \(8 units\).*whole volume"):
        found.raise_if_bad()
    fpr = cx.calibrate.calibrate_crc(table, 0.1, loss="fpr")
    assert fpr.thresholds[0].value == -math.inf
    with pytest.raises(ValueError, match="the empty one"):
        fpr.raise_if_bad()
    assert cx.calibrate.calibrate_rcps(table, 0.1, 0.1).status is Status.INFEASIBLE
    assert cx.calibrate.calibrate_ltt(table, 0.1, 0.1).status is Status.INFEASIBLE


def test_a_loss_that_is_not_monotone_goes_to_ltt():
    table, _, _ = table_of(60)
    for call in (
        lambda: cx.calibrate.calibrate_crc(table, 0.5, loss="dice"),
        lambda: cx.calibrate.calibrate_rcps(table, 0.5, 0.1, loss="dice"),
    ):
        with pytest.raises(ValueError, match=r"not monotone in the cut: .* ltt can"):
            call()
    found = cx.calibrate.calibrate_ltt(table, "0.9", "0.1", loss="dice")
    assert found.status is Status.OK
    assert found.options["correction"] == "holm"


def test_ltt_controls_two_opposed_losses_or_says_it_cannot():
    table, probs, labels = table_of(120)
    found = cx.calibrate.calibrate_ltt(table, 0.5, 0.1, also={"fpr": 0.5})
    cut = found.thresholds[0].probability
    assert found.status is Status.OK
    assert mean_loss_at(cut, probs, labels, "fnr") < 0.5
    assert mean_loss_at(cut, probs, labels, "fpr") < 0.5
    assert "0.5 and expected share of its background" in found.statement
    both = cx.calibrate.calibrate_ltt(table, 0.01, 0.1, also={"fpr": 0.01})
    assert both.status is Status.INFEASIBLE
    with pytest.raises(ValueError, match="named twice"):
        cx.calibrate.calibrate_ltt(table, 0.5, 0.1, also={"fnr": 0.5})


def test_every_method_survives_its_file(tmp_path):
    table, _, _ = table_of(100, groups=["a", "b"] * 50)
    policy = Policy(group_by="group")
    for k, found in enumerate(
        [
            cx.calibrate.calibrate_fnr(table, 0.2, tolerance=0.1, group_by="group"),
            cx.calibrate.calibrate_crc(table, 0.3, policy),
            cx.calibrate.calibrate_rcps(table, 0.4, 0.3, policy),
            cx.calibrate.calibrate_ltt(table, 0.4, 0.3, policy),
        ]
    ):
        assert [t.group for t in found.thresholds] == ["a", "b"]
        assert [t.n_units for t in found.thresholds] == [50, 50]
        assert "within each group" in found.statement
        path = tmp_path / f"{k}.json"
        found.write(path)
        assert cx.calibrate.read_calibration(path) == found


def test_groups_are_calibrated_by_their_own_scores_and_unseen_ones_refused():
    groups = ["a"] * 30 + ["b"] * 25 + ["c"] * 5
    table, _, _ = table_of(60, groups=groups)
    found = cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.1, group_by="group")
    scores = -table.critical_probability(0.1)
    by_hand = cx.calibrate.group_thresholds(scores, np.array(groups), 0.1)
    assert {t.group: t.value for t in found.thresholds} == by_hand
    assert found.status is Status.TOO_FEW_CASES
    with pytest.raises(ValueError, match=r"region foreground, group c: TOO_FEW"):
        found.raise_if_bad()
    with pytest.raises(ValueError, match=r"group 'z' was not calibrated.*a, b, c"):
        found.of_group("z")
    with pytest.raises(ValueError, match="name the group of each case"):
        found.threshold_of("foreground")
    assert found.of_group("b").threshold_of("foreground").value == by_hand["b"]
    merged = cx.calibrate.calibrate_fnr(
        table, 0.1, tolerance=0.1, group_by="group", group_floor=26
    )
    assert [t.group for t in merged.thresholds] == ["a", "other"]
    assert merged.options["merged_groups"] == {"foreground": ["b", "c"]}
    assert merged.of_group("c").threshold_of("foreground").n_units == 30
    bare, _, _ = table_of(5)
    with pytest.raises(ValueError, match="5 cases have no group, the first is case"):
        cx.calibrate.calibrate_fnr(bare, 0.1, tolerance=0.1, group_by="group")


def test_a_group_that_is_small_in_one_region_keeps_its_own_threshold_in_another():
    """Or a case would be served by the threshold of others, without a promise."""
    groups = ["a"] * 30 + ["b"] * 20 + ["c"] * 5 + ["d"] * 5
    _, probs, labels = table_of(60)
    absent = labels.copy()
    absent[35:50] = False  # of b only 5 have the rare structure
    absent[55:] = False  # of d none has
    options = {"engine": "host", "groups": groups}
    tables = [
        cx.scores.score_arrays(probs, each, [0.1], region=name, **options)
        for name, each in (("common", labels), ("rare", absent))
    ]
    both = cx.scores.ScoreTable(
        {
            name: np.concatenate([table.column(name) for table in tables])
            for name in tables[0].columns
        },
        replace(
            tables[0].definition,
            regions=(Region("common", (0,), (1,)), Region("rare", (0,), (1,))),
        ),
        {},
    )
    found = cx.calibrate.calibrate_fnr(both, 0.2, group_by="group", group_floor=10)
    of = {g: found.of_group(g) for g in "abcd"}
    sizes = {g: {t.region: (t.group, t.n_units) for t in of[g].thresholds} for g in of}
    assert sizes == {
        "a": {"common": ("a", 30), "rare": ("a", 30)},
        "b": {"common": ("b", 20), "rare": ("other", 10)},
        "c": {"common": ("other", 10), "rare": ("other", 10)},
        "d": {"common": ("other", 10), "rare": ("other", 10)},
    }
    assert "so do those never met: it holds for all of them" in found.statement
    plain = cx.calibrate.calibrate_fnr(both, 0.2, group_by="group")
    with pytest.raises(ValueError, match=r"'d' was not calibrated in region rare"):
        plain.of_group("d")


def test_features_of_scans_leave_no_empty_reference_out_and_count_units_once():
    """New scans have no reference, so none can be left out for an empty one."""
    rng = np.random.default_rng(0)
    probs = rng.random((30, 4, 4, 4)).astype(np.float32)
    labels = np.ones(probs.shape, bool)
    labels[10:] = False
    units = [f"p{i // 2}" for i in range(30)]
    for names, per_unit, n in (
        (None, None, 30),
        (units, "all", 15),
        (units, "one", 15),
    ):
        table = cx.scores.score_arrays(probs, labels, [0.1], units=names, engine="host")
        found = cx.calibrate.calibrate_fnr(table, 0.4, per_unit=per_unit)
        features = found.options["reference"]["foreground"]
        assert {len(values) for values in features.values()} == {n}


def test_crc_refuses_a_loss_that_no_cut_brings_down():
    """With cases beyond help the mean loss is above alpha however the cut is chosen."""
    n, cuts = 40, np.array([0.0, 0.5], np.float32)
    table, _, _ = table_of(n)
    hopeless = {f"case_{i}": np.array([i < 1, True], float) for i in range(n)}
    curves = cx.calibrate.LossCurves(cuts, hopeless, -1)
    with pytest.raises(
        ValueError, match=r"1\.0 at the safest cut, more than alpha 0.1"
    ):
        cx.calibrate.calibrate_crc(table, 0.1, loss=curves)
    fine = {case: values / 20 for case, values in hopeless.items()}
    curves = cx.calibrate.LossCurves(cuts, fine, -1)
    found = cx.calibrate.calibrate_crc(table, 0.1, loss=curves)
    assert found.statement.endswith("at most its level at the safest cut.")


def test_weights_give_the_weighted_threshold_and_name_the_largest():
    weights = np.round(np.random.default_rng(0).exponential(size=50), 2) + 0.01
    table, _, _ = table_of(50, weights=weights.tolist())
    scores = -table.critical_probability(0.1)
    found = cx.calibrate.calibrate_fnr(table, 0.2, tolerance=0.1, weights="weight")
    expected = cx.calibrate.weighted_threshold(scores, weights, weights.max(), 0.2)
    assert found.thresholds[0].value == expected
    assert f"weight at most {weights.max()}" in found.statement
    heavy = cx.calibrate.calibrate_fnr(
        table, 0.2, tolerance=0.1, weights="weight", largest_weight=1000
    )
    assert heavy.status is Status.TOO_FEW_CASES
    with pytest.raises(ValueError, match="delta and weights cannot be combined"):
        cx.calibrate.calibrate_fnr(
            table, 0.2, tolerance=0.1, weights="weight", delta=0.1
        )
    zero, _, _ = table_of(5, weights=[0.0] * 5)
    with pytest.raises(ValueError, match="all weights are 0"):
        cx.calibrate.calibrate_fnr(zero, 0.2, tolerance=0.1, weights="weight")


def test_the_largest_weight_is_that_of_the_column_whether_its_case_counts_or_not():
    """A case as heavy as one put aside is still one that may come."""
    rng = np.random.default_rng(3)
    probs = rng.random((12, 4, 5), dtype=np.float32)
    labels = np.arange(12)[:, None, None] > np.zeros((12, 4, 5))  # the first is empty
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], weights=[9.0] + [1.0] * 11, engine="host"
    )
    found = cx.calibrate.calibrate_fnr(table, "0.6", weights="weight")
    assert found.options["largest_weight"] == 9.0
    scores = -table.critical_probability(0.1)[1:]
    expected = cx.calibrate.weighted_threshold(scores, np.ones(11), 9, "0.6")
    assert found.thresholds[0].value == expected < np.inf


def test_all_cases_of_units_give_the_hierarchical_threshold():
    units = np.array([f"p{i // 2}" for i in range(40)])
    table, _, _ = table_of(40, units=units.tolist())
    scores = -table.critical_probability(0.1)
    found = cx.calibrate.calibrate_fnr(table, 0.1, tolerance=0.1, per_unit="all")
    expected = cx.calibrate.hierarchical_threshold(scores, units, 0.1)
    assert (found.thresholds[0].value, found.n_units) == (expected, 20)
    assert found.thresholds[0].rank is None
    few = cx.calibrate.calibrate_fnr(table, 0.01, tolerance=0.1, per_unit="all")
    assert few.status is Status.TOO_FEW_CASES


def test_crc_left_out_on_masks_keeps_the_mean_below_alpha():
    """The identity on the product's own path: grid curves, cut, masks."""
    n, alpha = 12, "0.3"
    _, probs, labels = table_of(n, seed=4)
    total = Fraction(0)
    for i in range(n):
        keep = np.arange(n) != i
        rest = cx.scores.score_arrays(probs[keep], labels[keep], [0.1], engine="host")
        cut = cx.calibrate.calibrate_crc(rest, alpha).thresholds[0].probability
        missed = np.count_nonzero(labels[i] & ~(probs[i] >= cut))
        total += Fraction(missed, int(labels[i].sum()))
    assert total / n <= Fraction(alpha)
