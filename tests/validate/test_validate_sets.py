"""Every split of a table of sets, against calibrating each of them."""

import itertools

import numpy as np
import pytest

import coverax as cx
from coverax.calibrate import calibrate_sets
from coverax.validate import Plan, validate_table

N, N_CAL, ALPHA = 8, 4, "0.4"


@pytest.fixture(scope="module")
def table():
    """Discs and maps of discs a little larger or smaller; distances tie.

    Without ties the law is one whatever the scores.
    """
    rng = np.random.default_rng(1)
    place = np.stack(np.meshgrid(np.arange(9), np.arange(10), indexing="ij"))
    centres, radii = rng.uniform(3, 6, (N, 2, 1, 1)), rng.uniform(1.5, 4, (N, 1, 1))
    away = np.sqrt(((place - centres) ** 2).sum(1))
    labels = away <= radii
    labels[-1] = False  # a healthy case counts
    probs = 1 / (1 + np.exp(away - radii - rng.normal(0, 1.2, (N, 1, 1))))
    return cx.scores.score_arrays(
        probs.astype(np.float32),
        labels,
        ["0.1"],
        transforms=("inner=distance", "outer=distance", "outer=distance:tolerance=0.2"),
        spacing_mm=[(1.0, 1.0)] * N,
        engine="host",
    )


def calibrated_on(table, rows, joint):
    found = calibrate_sets(
        table.select(np.array(rows)),
        ALPHA,
        inner="distance",
        outer="distance",
        joint=joint,
    )
    return {t.side: t.value for t in found.thresholds}


def test_the_closed_form_is_the_mean_over_calibrations_of_every_split(table):
    plan = Plan((ALPHA,), method="sets", inner="distance", outer="distance")
    results = validate_table(table, plan).results
    assert [r.side for r in results] == ["inner", "outer", "joint"]
    scores = {t.side: table.side_scores(t) for t in table.definition.transforms[:2]}
    shares = {"inner": [], "outer": [], "joint": []}
    for rows in itertools.combinations(range(N), N_CAL):
        rest = np.setdiff1d(np.arange(N), rows)
        each, both = (calibrated_on(table, rows, joint) for joint in ("each", "max"))
        for side in ("inner", "outer"):
            shares[side].append((scores[side][rest] <= each[side]).mean())
        held = [scores[side][rest] <= both[side] for side in ("inner", "outer")]
        shares["joint"].append((held[0] & held[1]).mean())
    assert len({np.mean(own) for own in shares.values()}) == 3
    for result in results:
        (entry,) = result.splits
        own = shares[result.side]
        # Sums of at most 70 shares, each rounded once.
        assert entry.coverage_mean == pytest.approx(np.mean(own), rel=1e-12)
        assert entry.coverage_sd == pytest.approx(np.std(own), rel=1e-9)
        assert result.n_units == N


def test_a_method_is_asked_for_and_transforms_are_those_of_sets(table):
    with pytest.raises(ValueError, match="name method='sets'"):
        validate_table(table, Plan((ALPHA,)))
    with pytest.raises(ValueError, match="choose one with --outer"):
        validate_table(table, Plan((ALPHA,), method="sets"))
    with pytest.raises(ValueError, match="go with method sets"):
        validate_table(table, Plan((ALPHA,), method="fnr", inner="distance"))


def test_healthy_cases_count_for_sets_and_not_for_the_missed_share(table):
    plan = Plan((ALPHA,), method="sets", outer="distance:tolerance=0.2")
    of_sets = validate_table(table, plan).results
    (of_share,) = validate_table(table, Plan((ALPHA,), method="fnr")).results
    assert {r.n_units for r in of_sets} == {N}
    assert of_share.n_units == N - 1
    assert [r.tolerance for r in of_sets] == [0.0, 0.2, None]
