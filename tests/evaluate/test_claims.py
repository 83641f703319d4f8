"""What an evaluation claims: held out or not, and a law only where one holds."""

from dataclasses import replace

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
        assert seen["n_units_seen_in_calibration"] == N_CASES
        assert seen["held_out"] is False
    sites = cx.calibrate.calibrate_fnr(
        table, "0.5", unit_column="group", per_unit="one"
    )
    seen = cx.evaluate.evaluate_cohort(sites, cohort, engine="host").summary
    assert seen["results"][0]["n_counted"] == 4  # one case a site, as in calibration
    odd = replace(found, options=found.options | {"unit_column": "scanner"})
    with pytest.raises(ValueError, match=r"column scanner, which cohort\.csv does not"):
        cx.evaluate.evaluate_cohort(odd, cohort, engine="host")


def test_units_that_were_learned_from_are_not_held_out(cohort, table):
    found = cx.calibrate.calibrate_fnr(table, "0.2")
    digests = list(found.unit_digests)
    learned = replace(
        found, unit_digests=(), options=found.options | {"learned_units": digests[:5]}
    )
    seen = cx.evaluate.evaluate_cohort(learned, cohort, engine="host").summary
    assert seen["n_units_seen_in_calibration"] == 5
    assert seen["held_out"] is False


def test_small_groups_count_together_as_promised_and_have_no_law(cohort, table):
    found = cx.calibrate.calibrate_fnr(table, "0.2", group_by="group", group_floor=5)
    results = cx.evaluate.evaluate_groups(found, cohort, engine="host").summary[
        "results"
    ]
    laws = {result["group"]: result["expected_ecr"] for result in results}
    assert laws == {"north": 11 / 13, "other": None}
    assert [result["n_counted"] for result in results] == [12, 12]
    assert all(
        len(r["ecr_band"]) == (2 if r["group"] == "north" else 0) for r in results
    )


def test_all_regions_are_of_cases_that_count_in_every_region(table):
    """A case without one of the structures has no joint score."""
    found = cx.calibrate.calibrate_fnr(table, "0.2")
    (threshold,) = found.thresholds
    both = replace(
        found,
        thresholds=(threshold, replace(threshold, region="rare")),
        options=found.options | {"regions": "joint", "joint": "bonferroni"},
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
    found = joint_over_regions(both, cases)["all_regions"]
    assert (found["n_covered"], found["coverage"]) == (1, 0.5)
    assert joint_over_regions(both, cases[2:4]) == {"all_regions": None}
