"""What `validate` writes of groups held out and of an order, against its definition."""

import numpy as np
import pytest

import coverax as cx
from coverax.validate import Plan, order_test, validate_table

SITES = np.array([*"aaaaaaa", *"bbbbbbbbbbbb", *"ccccc"])
ALPHAS = ("0.2", "0.5")


@pytest.fixture(scope="module")
def table():
    """24 cases of three sites, at one of which the maps are worse; names in no order."""
    rng = np.random.default_rng(0)
    labels = rng.random((SITES.size, 6, 5)) < 0.4
    probs = rng.random(labels.shape) ** np.where(SITES == "b", 3, 1)[:, None, None]
    return cx.scores.score_arrays(
        probs.astype(np.float32),
        labels,
        ["0.1"],
        case_ids=[f"c{i:02d}" for i in rng.permutation(SITES.size)],
        groups=SITES.tolist(),
        engine="host",
    )


def test_a_site_held_out_is_judged_by_the_others_alone(table):
    scores = -table.critical_probability(0.1)
    plan = Plan(ALPHAS, hold_out_by="group")
    (result,) = validate_table(table, plan).results
    rows = {(row.group, row.alpha): row for row in result.hold_out}
    assert len(rows) == 6
    for site in "abc":
        mine, rest = scores[site == SITES], scores[site != SITES]
        for alpha in ALPHAS:
            rank = cx.calibrate.conformal_rank(rest.size, alpha)
            coverage = (mine <= np.sort(rest)[rank - 1]).mean()
            low, high = cx.calibrate.compliance_band(rest.size, rank, mine.size, 0.95)
            row = rows[site, float(alpha)]
            assert (row.n_calibration, row.n_test) == (rest.size, mine.size)
            assert (row.rank, row.coverage) == (rank, coverage)
            assert row.band.to_json() == {"level": 0.95, "low": low, "high": high}
            assert row.in_band == (low <= coverage <= high)
            p_values = [(1 + (rest >= s).sum()) / (rest.size + 1) for s in mine]
            assert row.median_p_value == pytest.approx(np.median(p_values))
    assert not rows["b", 0.5].in_band


def test_the_order_is_that_of_its_column(table):
    scores = -table.critical_probability(0.1)
    order = np.argsort(table.column("case_id"))
    (result,) = validate_table(table, Plan(ALPHAS, order_by="case_id")).results
    found, unsorted = (order_test(s, seed=0) for s in (scores[order], scores))
    assert result.order.max_capital == found.max_capital
    assert result.order.p_value_uniform == found.p_value_uniform
    assert found.p_value_uniform != unsorted.p_value_uniform
