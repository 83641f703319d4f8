"""The interval of a pooled maximum calibration error: an upper end, and no lower one."""

import numpy as np
from scipy import stats
from tests import bags
from tests.conftest import FALSE_FAIL_RATE

import coverax as cx
from coverax.host import BinStatistics
from coverax.reliability.bootstrap import interval, resampled, unit_weights

N_BINS, N_UNITS, N_COHORTS = 10, 30, 80
SMALL = np.where(np.arange(N_BINS) % 2, 0.02, -0.02)
LARGE = np.where(np.arange(N_BINS) == 9, -0.3, 0.0)


def ends(gaps, seed):
    """Ends of the percentile interval of one cohort: patients shift, on average by 0."""
    rng = np.random.default_rng(seed)
    middle = (np.arange(N_BINS) + 0.5) / N_BINS
    count = rng.multinomial(2000, np.full(N_BINS, 1 / N_BINS), size=N_UNITS)
    frequency = np.clip(middle + gaps + rng.normal(0, 0.02, (N_UNITS, 1)), 0, 1)
    sums = dict.fromkeys(BinStatistics._fields, np.zeros(count.shape))
    sums |= {
        "count": count,
        "sum_p": count * middle,
        "sum_y": rng.binomial(count, frequency).astype(float),
    }
    weights = unit_weights(N_UNITS, 200, seed)
    drawn = resampled(
        BinStatistics(**sums), [f"{i:02d}" for i in range(N_UNITS)], weights
    )
    return interval(cx.reliability.calibration_errors(drawn).mce)


def test_the_upper_end_holds_and_the_lower_one_would_not():
    """Nominal 97.5 %; 90 % is what is asked of it here."""
    least = stats.binom.ppf(FALSE_FAIL_RATE / 2, N_COHORTS, 0.9)
    lower = 0
    for gaps, mce in ((SMALL, 0.02), (LARGE, 0.3)):
        found = [ends(gaps, seed) for seed in range(N_COHORTS)]
        assert sum(mce <= each.high for each in found) >= least
        lower += sum(each.low <= mce for each in found) < least
    assert lower == 1  # where gaps are small, the lower end lies above them


def test_a_pooled_mce_has_no_lower_end_and_a_macro_one_has():
    probs, labels = bags.maps(12, 1)
    table = cx.scores.score_arrays(probs, labels, [0.1], engine="host")
    summary = cx.reliability.summarise(table, n_draws=50).summary
    (region,) = summary.regions
    for found in (region, summary.mean_over_regions):
        low, high = found.pooled_interval["mce"]
        assert low is None
        assert high > 0
        assert None not in found.pooled_interval["ece"]
        assert None not in found.macro_interval["mce"]
    assert "mce" in summary.one_sided
