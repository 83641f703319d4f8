"""Each site at the cut of the others: what exceeds is told, and what is alike is not."""

import numpy as np
import pytest
from tests import synthetic

import coverax as cx
from coverax.calibrate import bounds, calibrate_sites, summarise
from coverax.validate import leave_site_out


def summary_of(n, seed, shift=0.0):
    """A site whose maps say less of their lesions by a shift of the logits."""
    rng = np.random.default_rng(seed)
    cases = [synthetic.case((6, 7, 5), int(rng.integers(5, 60)), rng) for _ in range(n)]
    probs, labels = map(np.stack, zip(*cases, strict=True))
    probs = probs / (probs + (1 - probs) * np.exp(np.float32(shift)))
    table = cx.scores.score_arrays(probs, labels, [0.1, 0.3], engine="host")
    return summarise(table, ("fnr", "dice")), probs, labels


@pytest.fixture(scope="module")
def three():
    return [
        summary_of(40, 0),
        summary_of(30, 1),
        summary_of(25, 2, shift=4.0),
    ]


def test_a_site_that_is_worse_exceeds_and_the_others_do_not(three):
    sites = [site for site, _, _ in three]
    found = leave_site_out(sites, ["0.2"], method="crc")
    assert [row.exceeds for row in found.results] == [False, False, True]
    assert [row.n_calibration for row in found.results] == [55, 65, 70]


@pytest.mark.parametrize(
    ("method", "delta"), [("crc", None), ("rcps", "0.1"), ("ltt", "0.1")]
)
def test_what_is_said_of_a_site_is_what_its_masks_at_that_cut_say(three, method, delta):
    sites = [site for site, _, _ in three]
    found = leave_site_out(sites, ["0.3"], delta, method=method)
    for k, row in enumerate(found.results):
        others = sites[:k] + sites[k + 1 :]
        (threshold,) = calibrate_sites(others, "0.3", delta, method=method).thresholds
        assert row.probability_threshold == threshold.probability
        _, probs, labels = three[k]
        labels = labels.astype(bool)
        missed = (labels & (probs < threshold.probability)).sum((1, 2, 3))
        fnr = missed / labels.sum((1, 2, 3))
        # Each loss is rounded up by less than one part.
        assert fnr.mean() <= row.loss_mean + 1e-15
        assert row.loss_mean < fnr.mean() + 1.5e-6
        for above in row.above:
            misses = (fnr > above.tolerance).astype(float)
            assert above.count == misses.sum()
            assert above.high == bounds.clopper_pearson(misses, "0.025")
            assert above.low == 1 - bounds.clopper_pearson(1 - misses, "0.025")
        kept = bounds.hoeffding_bentkus_p_value(1 - fnr, 0.7)
        assert row.p_value == pytest.approx(kept, rel=1e-3)


def test_what_no_cut_of_the_others_meets_is_not_tested(three):
    sites = [site for site, _, _ in three]
    found = leave_site_out(sites, ["0.001"], method="crc")
    for row in found.results:
        assert row.status == "INFEASIBLE"
        assert row.probability_threshold is row.loss_mean is row.exceeds is None


def test_one_site_has_no_others(three):
    with pytest.raises(ValueError, match="two sites or more"):
        leave_site_out([three[0][0]], ["0.2"], method="crc")


def test_a_table_is_not_validated_by_a_method_of_sites():
    rng = np.random.default_rng(0)
    probs = rng.random((12, 4, 4, 4), np.float32)
    table = cx.scores.score_arrays(probs, probs > 0.5, [0.1], engine="host")
    with pytest.raises(ValueError, match="leave_site_out"):
        cx.validate.validate_table(table, cx.validate.Plan(("0.2",), method="crc"))
