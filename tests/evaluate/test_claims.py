"""What an evaluation claims: held out or not, and a law only where one holds."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from tests import synthetic

import coverax as cx
from coverax.evaluate.sets import joint_over_regions
from coverax.volumes import Cohort

N_CASES = 24


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folders = synthetic.write_cohort(
        tmp_path_factory.mktemp("cohort"), N_CASES, (6, 7, 5), 40
    )
    cases = cx.volumes.match_folders(*folders).cases
    sites = ["north"] * 12 + ["east"] * 4 + ["west"] * 4 + ["south"] * 4
    renamed = [
        replace(case, unit=f"u{case.case_id}", group=site)
        for case, site in zip(cases, sites, strict=True)
    ]
    return Cohort(tuple(renamed), {})


@pytest.fixture(scope="module")
def table(cohort):
    definition = cx.scores.ScoreDefinition(tolerances=(0.1,))
    return cx.scores.score_cohort(cohort, definition, engine="host")


def test_units_are_recognised_by_the_column_that_calibrated(cohort, table):
    """Or cases that calibrated pass for held out."""
    for column in ("unit", "case_id"):
        found = cx.calibrate.calibrate_fnr(table, "0.2", unit_column=column)
        seen = cx.evaluate.evaluate_cohort(found, cohort, engine="host").summary
        assert seen.n_units_seen_in_calibration == N_CASES
        assert seen.held_out is False
    sites = cx.calibrate.calibrate_fnr(
        table, "0.5", unit_column="group", per_unit="one"
    )
    seen = cx.evaluate.evaluate_cohort(sites, cohort, engine="host").summary
    assert seen.results[0].n_counted == 4  # one case a site, as in calibration
    odd = replace(found, policy=found.policy._replace(unit_column="scanner"))
    with pytest.raises(
        ValueError, match=r"of column scanner, and .*has no column scanner"
    ):
        cx.evaluate.evaluate_cohort(odd, cohort, engine="host")


def test_units_that_were_learned_from_are_not_held_out(cohort, table):
    found = cx.calibrate.calibrate_fnr(table, "0.2")
    digests = list(found.unit_digests)
    learned = replace(
        synthetic.forgetful(found),
        record=cx.calibrate.SetsRecord(
            *("each", "each", "identity", "identity", "1/10", "1/10"),
            learned_units=digests[:1],
        ),
    )
    seen = cx.evaluate.evaluate_cohort(learned, cohort, engine="host").summary
    assert seen.n_units_seen_in_calibration == 1  # one is one too many
    assert seen.held_out is False


def test_small_groups_count_together_as_promised_and_have_no_law(cohort, table):
    found = cx.calibrate.calibrate_fnr(table, "0.2", group_by="group", group_floor=5)
    found = synthetic.forgetful(found)  # as if these cases were new
    results = cx.evaluate.evaluate_groups(found, cohort, engine="host").summary.results
    laws = {result.group: result.expected_ecr for result in results}
    assert laws == {"north": 11 / 13, "other": None}
    assert [result.n_counted for result in results] == [12, 12]
    assert all(len(r.ecr_band) == (2 if r.group == "north" else 0) for r in results)


def test_the_law_is_that_of_the_calibration_units_for_as_many_new_ones(cohort, table):
    found = synthetic.forgetful(cx.calibrate.calibrate_fnr(table, "0.2"))
    (threshold,) = found.thresholds
    # Not the case that set the threshold: with it a score ties, and the law is one-sided.
    apart = 0.0 - table.critical_probability(0.1) != threshold.value
    new = Cohort(tuple(itertools.compress(cohort.cases, apart))[:10], {})
    (result,) = cx.evaluate.evaluate_cohort(found, new, engine="host").summary.results
    n, rank = N_CASES, cx.calibrate.conformal_rank(N_CASES, "0.2")
    assert (threshold.rank, result.n_counted) == (rank, 10)
    assert result.expected_ecr == rank / (n + 1)
    for band in result.ecr_band:
        ends = cx.calibrate.compliance_band(n, rank, 10, band.level)
        assert (band.low, band.high) == ends
    assert [band.level for band in result.ecr_band] == [0.95, 0.999]


def test_empty_references_count_only_where_they_calibrated(tmp_path, cohort, table):
    """An empty reference complies with any mask: counted it would flatter the mask."""
    folders = synthetic.write_cohort(tmp_path, 6, (6, 7, 5), 40, seed=9)
    for path in sorted(folders[1].iterdir())[:4]:
        synthetic.write_nifti(path, np.zeros((6, 7, 5), np.uint8))
    new = cx.volumes.match_folders(*folders)
    for empty, n_counted in (("exclude", 2), ("refuse", 2), ("include", 6)):
        found = cx.calibrate.calibrate_fnr(table, "0.9", empty=empty)
        (result,) = cx.evaluate.evaluate_cohort(
            found, new, engine="host"
        ).summary.results
        assert (result.n_counted, result.n_empty_reference) == (n_counted, 4)
        n_empty = n_counted - 2
        assert n_empty <= result.calibrated.n_compliant <= n_empty + 1


def test_all_regions_are_of_cases_that_count_in_every_region(table):
    """A case without one of the structures has no joint score."""
    found = cx.calibrate.calibrate_fnr(table, "0.2")
    (threshold,) = found.thresholds
    both = replace(
        found,
        thresholds=(threshold, replace(threshold, region="rare")),
        method="sets",
        record=cx.calibrate.SetsRecord(
            "bonferroni", "joint", "identity", "identity", "1/10", "1/10"
        ),
    )

    def row(case_id, region, hit, counted=True):
        return {
            "case_id": case_id,
            "region": region,
            "counted": counted,
            "joint_covered": hit,
            "tied": False,
        }

    cases = [
        row("a", "foreground", True),
        row("a", "rare", False),
        row("b", "foreground", True),
        row("b", "rare", True, counted=False),
        row("c", "foreground", True),
        row("c", "rare", True),
    ]
    every = joint_over_regions(both, cases)
    found = every.to_json()
    assert (found["n_covered"], found["coverage"]) == (1, 0.5)
    nothing = joint_over_regions(both, cases[2:4])
    assert nothing.to_json() is None


def test_a_case_at_its_tolerance_stands_with_those_that_comply():
    """Bars of the FNR histogram are right-inclusive, 0 in the first."""
    missed = np.arange(11)
    column = {
        "n_voxels": np.full(11, 100),
        "n_foreground": np.full(11, 10),
        "n_predicted": (10 - missed)[:, None],
        "n_true_positive": (10 - missed)[:, None],
        "voxel_volume_ml": np.ones(11),
    }
    from coverax.evaluate.summary import metrics_at, summary_at

    metrics = metrics_at(column, np.zeros(11, int))
    for allowed in range(11):
        summary = summary_at(0.5, missed <= allowed, metrics, np.ones(11, bool))
        counts = summary.fnr_histogram.counts
        assert sum(counts[: max(allowed, 1)]) >= summary.n_compliant
        assert counts == [2, *[1] * 9]


def test_a_loss_that_does_not_apply_to_a_case_is_none_and_counts():
    """As in calibration: no background has no false positives, no lesion none missed."""
    from coverax.calibrate import Cases
    from coverax.evaluate.references import Counted
    from coverax.evaluate.summary import counts_at, risks_of

    column = {
        "n_voxels": np.array([10, 10, 10]),
        "n_foreground": np.array([10, 4, 0]),
        "n_predicted": np.array([[5], [5], [5]]),
        "n_true_positive": np.array([[5], [2], [0]]),
        "n_lesions": np.array([1, 2, 0]),
        "n_lesions_hit": np.array([[1], [1], [0]]),
        "n_components": np.array([[2], [4], [0]]),
        "n_false_components": np.array([[1], [1], [0]]),
    }
    losses = {"fnr": 0.5, "fpr": 0.1, "dice": 0.3, "missed_lesions": 0.4}
    losses |= {"precision": 0.2, "iou": 0.3, "relative_volume": 0.6, "own": 0.1}
    losses["false_lesions"] = 0.2
    each = np.arange(3)
    counted = Counted(np.ones(3, bool), Cases(each, each, each))
    risks = risks_of(losses, counts_at(column, np.zeros(3, int)), counted)
    means = {risk.loss: risk.mean for risk in risks}
    assert {risk.loss: risk.level for risk in risks} == losses
    assert means["fnr"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert means["fpr"] == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert means["dice"] == pytest.approx((1 / 3 + 5 / 9 + 1) / 3)
    assert means["missed_lesions"] == pytest.approx((0 + 0.5 + 0) / 3)
    assert means["precision"] == pytest.approx((0 + 3 / 5 + 1) / 3)
    assert means["iou"] == pytest.approx((1 / 2 + 5 / 7 + 1) / 3)
    assert means["relative_volume"] == pytest.approx((1 / 2 + 1 / 4 + 1) / 3)
    assert means["false_lesions"] == pytest.approx((1 / 2 + 1 / 4 + 0) / 3)
    assert means["own"] is None
