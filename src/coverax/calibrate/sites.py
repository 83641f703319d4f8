"""CRC, RCPS and LTT from sums of several sites, which keep their tables.

Whole numbers add up to the same whatever was added first, so what is found here is what
the summary of a pooled table gives, to the bit.

What the sites need not be is alike. With units drawn at random from all patients of the
mixture the pooled theorems hold as they stand. With the number of units of each site
fixed beforehand, and units exchangeable (CRC) or independent and alike (RCPS, LTT) within
each site alone: Hoeffding's and Bentkus' bounds need no common law, and bound the mean of
the sites weighted by their units. For CRC, give each of K sites one more unit, N + K in
all, and take the least safe cut at which all their losses sum to at most
`level * (N + K)`: it does not tell the new unit of a site from the others, so the mean
over sites weighted by `n_k + 1` is at most `level` there. It is no safer than the cut in
use wherever `sum + K <= level * (N + K)`, which `sum <= alpha * (N + 1) - 1` implies at
`level = alpha + (K - 1) * (1 - alpha) / (N + K)`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple, get_args

import numpy as np
from jaxtyping import Float, Int

from coverax.calibrate.attainable import smallest_level
from coverax.calibrate.bounds import hoeffding_bentkus_of_mean
from coverax.calibrate.controlled import (
    IDENTICAL,
    MARGINAL,
    all_but,
    monotone_loss,
    note_attainable,
    risk_statement,
)
from coverax.calibrate.loss_tables import threshold_of_lam
from coverax.calibrate.losses import LOSSES, Loss
from coverax.calibrate.ltt import certified_lams
from coverax.calibrate.rcps import from_safe_end
from coverax.calibrate.record import RiskRecord
from coverax.calibrate.result import Calibration, Status, Threshold, with_digest
from coverax.calibrate.risk import RiskThreshold, first_passing
from coverax.calibrate.seal import nothing_known
from coverax.calibrate.summaries import ONE, RegionSums, SiteSummary, Sums
from coverax.choices import CorrectionName, LossName, RiskMethod
from coverax.files import Json, digest_ids
from coverax.rational import Level, as_fraction, check_level
from coverax.table.columns import GRID_CUTS


class MeanLoss(NamedTuple):
    """A loss of many units, of which the sum is all that is known.

    Attributes:
        n: Units.
        sums: At each lam, in parts of `ONE`.
    """

    n: int
    sums: Int[np.ndarray, " lams"]

    @property
    def mean(self) -> Float[np.ndarray, " lams"]:
        """Rounded once: sum and number are whole."""
        return self.sums / (self.n * ONE)

    def p_value(self, risk: Level) -> Float[np.ndarray, " lams"]:
        """P-value of `expected loss >= risk`, see `hoeffding_bentkus_p_value`."""
        n_lost = (-(-self.sums // ONE)).astype(np.float64)
        level = float(as_fraction(risk))
        found = hoeffding_bentkus_of_mean(self.n, self.mean, n_lost, level)
        return np.asarray(found)


class _Asked(NamedTuple):
    """What a calibration of sums was asked for.

    Attributes:
        losses: With their levels, the first to be made small.
        delta: None for CRC.
        correction: Of LTT.
    """

    method: RiskMethod
    losses: Sequence[tuple[Loss, Level]]
    delta: Level | None
    correction: CorrectionName

    @property
    def sign(self) -> int:
        """Of the cuts at the safe end of the first loss."""
        return self.losses[0][0].safe_sign

    @property
    def lams(self) -> Float[np.ndarray, " lams"]:
        """The grid, ascending to the safe end."""
        return (self.sign * GRID_CUTS.astype(np.float64))[:: self.sign]

    def of(self, region: RegionSums) -> list[MeanLoss]:
        """The losses of a region at each lam."""
        return [
            MeanLoss(
                region.n_units, np.array(region.sums[loss.name], np.int64)[:: self.sign]
            )
            for loss, _ in self.losses
        ]

    def at_level(self, place: int, level: Level) -> "_Asked":
        """The same, with another level of one loss."""
        losses = list(self.losses)
        losses[place] = (losses[place][0], level)
        return self._replace(losses=losses)


def calibrate_sites(
    sites: Sequence[SiteSummary],
    alpha: Level,
    delta: Level | None = None,
    *,
    method: RiskMethod,
    loss: LossName = "fnr",
    also: Mapping[LossName, Level] | None = None,
    correction: CorrectionName | None = None,
) -> Calibration:
    """A cut of the grid that controls an expected loss over the mixture of sites.

    The promise is that of `calibrate_crc`, `calibrate_rcps` (by the bound
    `hoeffding_bentkus`) or `calibrate_ltt`, for a new patient of the mixture, whose site is drawn in proportion to the units of each. It is
    none for the patients of one site. Losses are those of the units rounded up to
    `1 / ONE`, so that it holds for the losses themselves.

    Args:
        sites: What each site sent, one each; see `summarise`.
        alpha: Tolerated expected loss, in (0, 1).
        delta: Tolerated share of calibration sets with a larger one; not for `crc`.
        method: `crc`, `rcps` or `ltt`.
        loss: Which loss; every site must have sent its sums.
        also: Of `ltt`, further losses with their levels.
        correction: Of `ltt`, see `calibrate_ltt`.

    Returns:
        One threshold a region, of the sums alone: it knows no case, so that nothing can
        tell whether a new case calibrated, and `monitor` has no maps to compare with.

    Raises:
        ValueError: Sites do not fit together (see `join_sites`) or lack a loss, the
            options do not go with the method, or no region has a unit.
    """
    levels: list[tuple[LossName, Level]] = [(loss, alpha), *(also or {}).items()]
    asked = _asked(method, levels, delta, correction)
    whole = join_sites(sites)
    _check_sent(sites, asked)
    record = _record(sites, asked)
    thresholds = [_threshold(region, asked, record) for region in whole.regions]
    if not any(t.n_units for t in thresholds):
        raise ValueError("no site has a unit that counts: all references are empty")
    over = all_but(delta) if delta is not None else MARGINAL[0]
    units = IDENTICAL if delta is not None else MARGINAL[1]
    statement = risk_statement(
        thresholds, whole.policy, record, asked.losses, over, units
    )
    return with_digest(
        Calibration(
            method=method,
            alpha=float(as_fraction(alpha)),
            delta=None if delta is None else float(as_fraction(delta)),
            n_cases=whole.n_cases,
            n_units=min(t.n_units for t in thresholds),
            thresholds=tuple(thresholds),
            excluded={},
            policy=whole.policy,
            record=record,
            definition=whole.definition,
            cases_digest=digest_ids(site.digest for site in sites),
            unit_digests=(),
            statement=f"{statement} {_mixture(len(sites), thresholds, asked)}",
        )
    )


def join_sites(sites: Sequence[SiteSummary]) -> SiteSummary:
    """The summary that the pooled table of these sites has, but for lost losses.

    Raises:
        ValueError: There is no site, one is there twice, or their definitions or rules
            differ.
    """
    if not sites:
        raise ValueError("no summary of a site was given")
    first, *others = sites
    for k, site in enumerate(others, 1):
        _check_fit(first, site)
        for earlier in sites[:k]:
            _check_apart(earlier, site)
    kinds = [site.definition.map_kind for site in sites]
    storages = {s for kind in kinds if kind for s in kind.storages}
    kind = kinds[0] and replace(kinds[0], storages=tuple(sorted(storages)))
    losses = [name for name in first.losses if all(name in s.losses for s in others)]
    left_out: dict[str, int] = {}
    for site in sites:
        for why, n in site.left_out.items():
            left_out[why] = left_out.get(why, 0) + n
    return SiteSummary(
        definition=replace(first.definition, map_kind=kind),
        policy=first.policy,
        n_cases=sum(site.n_cases for site in sites),
        left_out=dict(sorted(left_out.items())),
        regions=tuple(
            _add_up([site.region(region.region) for site in sites], losses)
            for region in first.regions
        ),
    )


def _asked(
    method: RiskMethod,
    levels: Sequence[tuple[LossName, Level]],
    delta: Level | None,
    correction: CorrectionName | None,
) -> _Asked:
    """The options, checked against each other."""
    if method not in get_args(RiskMethod):
        raise ValueError(f"sums calibrate by crc, rcps or ltt, got method {method!r}")
    if (delta is None) != (method == "crc"):
        raise ValueError("rcps and ltt need a delta, crc has none")
    if method != "ltt" and (len(levels) > 1 or correction is not None):
        raise ValueError("further losses and a correction go with ltt")
    names: list[LossName] = [name for name, _ in levels]
    if len(set(names)) < len(names):
        raise ValueError(f"a loss is named twice: {names}")
    losses = [(LOSSES[name], check_level("alpha", level)) for name, level in levels]
    main = LOSSES[names[0]] if method == "ltt" else monotone_loss(names[0], method)
    if correction is None:
        alone = main.is_monotone and len(levels) == 1
        correction = "fixed_sequence" if alone else "holm"
    return _Asked(method, losses, delta, correction)


def _check_sent(sites: Sequence[SiteSummary], asked: _Asked) -> None:
    """Refuse losses of which a site did not send the sums."""
    for site in sites:
        for loss, _ in asked.losses:
            if loss.name not in site.losses:
                raise ValueError(
                    f"{site.name} has sums of {', '.join(site.losses)} and not of "
                    f"{loss.name}: ask for coverax summarise --loss {loss.name}"
                )


def _check_fit(first: SiteSummary, site: SiteSummary) -> None:
    """Refuse a site whose sums are of something else than the first one's."""
    pairs = (
        ("score definition", _comparable(first), _comparable(site)),
        ("rule", first.policy._asdict(), site.policy._asdict()),
    )
    for what, ours, theirs in pairs:
        differ = [name for name in ours if ours[name] != theirs[name]]
        if differ:
            raise ValueError(
                f"{site.name} does not fit {first.name}: of the {what} they "
                f"differ in {', '.join(differ)}; score and summarise all sites alike"
            )


def _comparable(site: SiteSummary) -> Json:
    """The definition of a site, but for how its maps are stored."""
    plain = site.definition.to_json()
    if plain["map_kind"]:
        del plain["map_kind"]["storages"]
    return plain


def _check_apart(earlier: SiteSummary, site: SiteSummary) -> None:
    """Refuse the same units twice: one file, or other sums of the same ones."""
    pairs = zip(earlier.regions, site.regions, strict=True)
    same = earlier.digest == site.digest or any(
        ours.is_of(theirs) for ours, theirs in pairs
    )
    if same:
        raise ValueError(
            f"{earlier.name} and {site.name} are of the same units: each "
            "site counts once"
        )


def _add_up(parts: Sequence[RegionSums], losses: Sequence[str]) -> RegionSums:
    """One region of all sites."""

    def total(curves: Sequence[Sums]) -> Sums:
        return tuple(map(sum, zip(*curves, strict=True)))

    return RegionSums(
        parts[0].region,
        sum(part.n_units for part in parts),
        {name: total([part.sums[name] for part in parts]) for name in losses},
        {t: total([part.n_above[t] for part in parts]) for t in parts[0].n_above},
    )


def _record(sites: Sequence[SiteSummary], asked: _Asked) -> RiskRecord:
    """What the calibration records of its losses, and of whose sums it is."""
    record = RiskRecord(
        asked.losses[0][0].name,
        sites=[{"digest": site.digest, "n_cases": site.n_cases} for site in sites],
    )
    if asked.method == "rcps":
        return replace(record, bound="hoeffding_bentkus")
    if asked.method == "ltt":
        also = {loss.name: float(as_fraction(a)) for loss, a in asked.losses[1:]}
        return replace(record, also=also, correction=asked.correction)
    return record


def _threshold(region: RegionSums, asked: _Asked, record: RiskRecord) -> Threshold:
    """The cut of one region, and what would have passed where none does."""
    if not region.n_units:
        return replace(nothing_known(-asked.sign * np.inf), region=region.region)
    found = asked.of(region)
    chosen = choose(found, asked)
    if chosen.status != Status.OK and asked.method != "crc":
        for place, (loss, _) in enumerate(asked.losses):
            level = _smallest(found, asked, place)
            alone = asked._replace(losses=[asked.losses[place]])
            own = level if len(found) == 1 else _smallest([found[place]], alone, 0)
            note_attainable(record, region.region, "", {loss.name: (level, own)})
    return threshold_of_lam(
        region.region, "", region.n_units, asked.sign, chosen.lam, chosen.status
    )


def _smallest(found: list[MeanLoss], asked: _Asked, place: int) -> float | None:
    """Smallest level of one loss at which some lam would have passed."""
    return smallest_level(
        lambda level: choose(found, asked.at_level(place, level)).status == Status.OK
    )


def choose(found: list[MeanLoss], asked: _Asked) -> RiskThreshold:
    """The least safe lam that the sums of the losses allow."""
    main, level = found[0], asked.losses[0][1]
    if asked.losses[0][0].is_monotone and (np.diff(main.sums) > 0).any():
        raise ValueError("sums of a monotone loss rise towards the safe end")
    if asked.method == "ltt":
        levels = [level for _, level in asked.losses]
        pairs = zip(found, levels, strict=True)
        p_values = np.max([loss.p_value(level) for loss, level in pairs], axis=0)
        certified = certified_lams(
            p_values, asked.lams, asked.delta or 0, correction=asked.correction
        )
        place = int(np.searchsorted(asked.lams, certified.lam))
        return RiskThreshold(certified.lam, certified.status, place)
    if asked.method == "rcps":
        passes = main.p_value(level) <= float(as_fraction(asked.delta or 0))
        return from_safe_end(passes, asked.lams)
    room = (as_fraction(level) * (main.n + 1) - 1) * ONE
    return first_passing(
        asked.lams, int(np.count_nonzero(main.sums > math.floor(room)))
    )


def _mixture(n_sites: int, thresholds: Sequence[Threshold], asked: _Asked) -> str:
    """What it means that the units are of several sites, and that no case is known."""
    text = (
        f"Sites whose units these are: {n_sites}. The new case is one of their mixture, "
        "and nothing is promised for the cases of one site alone. "
    )
    if asked.delta is not None:
        text += (
            "The number of units of each site may have been fixed beforehand: it is then "
            "the mean over sites, weighted by their units, that is kept. "
        )
    elif n_sites > 1:
        level = max(
            fixed_sizes_level(asked.losses[0][1], t.n_units, n_sites)
            for t in thresholds
            if t.n_units
        )
        text += (
            "Where the number of units of each site was fixed beforehand, and not left to "
            "chance as that of a new case is, the mean over sites, weighted by their "
            f"units plus one, is at most {float(level):.6g}. "
        )
    return text + (
        "Sums name no case: that no patient is in two sites is assumed, and `evaluate` "
        "cannot tell whether a new case calibrated."
    )


def fixed_sizes_level(alpha: Level, n_units: int, n_sites: int) -> Fraction:
    """What CRC promises where the number of units of each site was fixed beforehand.

    Of a new unit whose site has its number of units plus one as weight; see above.
    """
    level = as_fraction(alpha)
    return level + (n_sites - 1) * (1 - level) / (n_units + n_sites)
