"""Each site in turn at the cut that the others give: are sites alike at all?"""

from collections.abc import Sequence

import numpy as np

from coverax.calibrate import (
    SiteSummary,
    Threshold,
    bounds,
    calibrate_sites,
    join_sites,
)
from coverax.calibrate.sites import MeanLoss
from coverax.calibrate.summaries import ONE, RegionSums
from coverax.choices import LossName, RiskMethod
from coverax.rational import Level, as_fraction
from coverax.table.columns import GRID_CUTS
from coverax.validate.results import AboveTolerance, LeftOutSite, SitesValidation

_LEVEL = "0.05"
_LEFT_OUT = (
    "Each site is tested at the cut that the sums of all other sites give. The promise is "
    "for the mixture of sites and for none alone: a site that exceeds the level says that "
    "its cases are not like those of the others, and that the mixture does not speak for "
    "it. The test is of the loss at this one cut, wrong in up to "
    f"{_LEVEL} of cohorts, so that of many sites, regions and levels some exceed by "
    "chance; with crc the level is kept in the mean over calibrations, and one cut may "
    "lie above it. That no site exceeds is no proof."
)


def leave_site_out(
    sites: Sequence[SiteSummary],
    alphas: Sequence[Level],
    delta: Level | None = None,
    *,
    method: RiskMethod,
    loss: LossName = "fnr",
) -> SitesValidation:
    """Leave each site out in turn, calibrate on the others, and look at its loss there.

    A diagnosis and no promise. The cut does not depend on the site that is tested, so
    with independent units its p-value holds for any loss in [0, 1] (Hoeffding and
    Bentkus), and the intervals of its counts are exact (Clopper and Pearson). Losses
    were rounded up before they were added: the test takes off all that this can have
    added.

    Args:
        sites: What each site sent; see `coverax.calibrate.summarise`.
        alphas: Tolerated expected losses.
        delta: Of `rcps` and `ltt`.
        method: `crc`, `rcps` or `ltt`.
        loss: Which loss.

    Raises:
        ValueError: There are fewer than two sites, or they do not calibrate together.
    """
    if len(sites) < 2:
        raise ValueError("to leave a site out takes two sites or more")
    join_sites(sites)  # each against each, before some are left out
    results: list[LeftOutSite] = []
    for site in sites:
        others = [other for other in sites if other is not site]
        for alpha in alphas:
            found = calibrate_sites(others, alpha, delta, method=method, loss=loss)
            results += [
                _left_out(site, site.region(t.region), t, loss, alpha)
                for t in found.thresholds
            ]
    return SitesValidation(
        method=method,
        loss=loss,
        delta=None if delta is None else float(as_fraction(delta)),
        score_definition=join_sites(sites).definition,
        evidence={"left_out": _LEFT_OUT},
        results=sorted(results, key=lambda row: (row.region, row.alpha)),
    )


def _left_out(
    site: SiteSummary,
    own: RegionSums,
    threshold: Threshold,
    loss: LossName,
    alpha: Level,
) -> LeftOutSite:
    """One site and region at one threshold of the others."""
    is_cut = bool(np.isfinite(threshold.value))
    mean = p_value = None
    above: list[AboveTolerance] = []
    if is_cut and own.n_units:
        place = int(np.searchsorted(GRID_CUTS, threshold.probability))
        total = own.sums[loss][place]
        mean = total / (own.n_units * ONE)
        p_value = _p_value(own.n_units, total, alpha)
        above = [
            _above(float(tolerance), counts[place], own.n_units)
            for tolerance, counts in own.n_above.items()
        ]
    return LeftOutSite(
        region=threshold.region,
        alpha=float(as_fraction(alpha)),
        site=site.name,
        digest=site.digest,
        n_calibration=threshold.n_units,
        status=threshold.status.name,
        probability_threshold=threshold.probability if is_cut else None,
        n_test=own.n_units,
        loss_mean=mean,
        p_value=p_value,
        exceeds=None if p_value is None else p_value <= float(_LEVEL),
        above=above,
    )


def _p_value(n: int, total: int, alpha: Level) -> float:
    """Of an expected loss of at most alpha: that of its complement, at least the rest."""
    kept = MeanLoss(n, np.array([min(n * ONE, n * ONE - total + n)]))
    return float(kept.p_value(1 - as_fraction(alpha))[0])


def _above(tolerance: float, count: int, n: int) -> AboveTolerance:
    """A count with its two-sided interval."""
    misses = np.arange(n) < count
    half = as_fraction(_LEVEL) / 2
    return AboveTolerance(
        tolerance=tolerance,
        count=count,
        share=count / n,
        level=float(1 - as_fraction(_LEVEL)),
        low=float(1 - bounds.clopper_pearson((~misses).astype(float), half)),
        high=float(bounds.clopper_pearson(misses.astype(float), half)),
    )
