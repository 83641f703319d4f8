"""Calibrations that control an expected loss: CRC, RCPS and LTT on loss curves.

RCPS and LTT look at the fixed grid of cuts alone, which was set before any data. CRC
may look at any cuts for a monotone loss, so it takes the cohort's own critical
probabilities too where a second pass counted there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from coverax.calibrate.loss_tables import LossTables
from coverax.calibrate.losses import Loss, LossCurves, find_loss, is_own
from coverax.calibrate.ltt import attainable_levels, ltt_threshold
from coverax.calibrate.policy import DEFAULT_POLICY, Policy
from coverax.calibrate.rcps import attainable_level, rcps_threshold
from coverax.calibrate.record import Attainable, RiskRecord
from coverax.calibrate.refusals import attainable_words, mask_words
from coverax.calibrate.result import Calibration, Status, Threshold
from coverax.calibrate.risk import crc_threshold
from coverax.calibrate.seal import (
    Part,
    calibrate_parts,
    scope,
    whom,
)
from coverax.calibrate.statements import lost_first
from coverax.choices import BoundName, CorrectionName, LossName
from coverax.rational import Level, as_fraction, check_level
from coverax.table import ScoreTable


def calibrate_crc(
    table: ScoreTable,
    alpha: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName | Loss | LossCurves = "fnr",
) -> Calibration:
    """Cut at which the expected loss of a new case is at most alpha.

    Marginally over calibration sets, for exchangeable units and a monotone loss; see
    `crc_threshold`. Units that own several cases count by their mean loss.

    Args:
        table: Scores of the calibration cohort, with loss curves.
        alpha: Tolerated expected loss, in (0, 1).
        policy: Which rows count.
        loss: `fnr`, `fpr`, `missed_lesions`, or a loss of one's own.

    Returns:
        One threshold a region and group; INFEASIBLE where no cut passes: the mask is
        then the whole volume (`fnr`) or empty (`fpr`).

    Raises:
        ValueError: The loss is not monotone or, the user's own, above `alpha` at the
            safest cut; the table has no curves, or its cases cannot calibrate.
    """
    main = monotone_loss(loss, "crc")
    found = LossTables(table, policy.unit_column, main, refined=True)
    record = _record(main)

    def threshold_of(part: Part) -> Threshold:
        lams, (losses,) = found.of_part(part, [main])
        chosen = crc_threshold(losses, lams, alpha, bound=main.bound)
        if is_own(main):
            _check_safest(main.name, losses, alpha)
        return found.threshold(part, len(losses), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        text = risk_statement(thresholds, policy, record, [(main, alpha)], *MARGINAL)
        return f"{text} {_OWN_SAFEST}" if is_own(main) else text

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        found.nothing,
        method="crc",
        alpha=alpha,
        delta=None,
        record=record,
    )


def calibrate_rcps(
    table: ScoreTable,
    alpha: Level,
    delta: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName | Loss | LossCurves = "fnr",
    bound: BoundName = "wsr",
) -> Calibration:
    """Cut whose expected loss is at most alpha, with confidence `1 - delta`.

    For i.i.d. units and a monotone loss; see `rcps_threshold`. Rows are ordered by unit
    and permuted by the policy's seed, which is recorded.

    Args:
        table: Scores of the calibration cohort, with loss curves.
        alpha: Tolerated expected loss, in (0, 1).
        delta: Tolerated share of calibration sets with a larger one.
        policy: Which rows count.
        loss: `fnr`, `fpr`, `missed_lesions`, or a loss of one's own.
        bound: Upper bound of the mean loss.

    Raises:
        ValueError: The loss is not monotone, the table has no curves, or its cases
            cannot calibrate.
    """
    main = monotone_loss(loss, "rcps")
    _check_unit_bound([main])
    found = LossTables(table, policy.unit_column, main)
    record = replace(_record(main), bound=bound, order_seed=policy.seed)

    def threshold_of(part: Part) -> Threshold:
        lams, (losses,) = found.of_part(part, [main])
        chosen = rcps_threshold(
            losses, lams, alpha, delta, method=bound, seed=policy.seed
        )
        if chosen.status != Status.OK:
            level = attainable_level(losses, delta, method=bound, seed=policy.seed)
            note_attainable(
                record, part.region, part.group, {main.name: (level, level)}
            )
        return found.threshold(part, len(losses), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        return risk_statement(
            thresholds, policy, record, [(main, alpha)], all_but(delta), IDENTICAL
        )

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        found.nothing,
        method="rcps",
        alpha=alpha,
        delta=delta,
        record=record,
    )


def calibrate_ltt(
    table: ScoreTable,
    alpha: Level,
    delta: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName | Loss | LossCurves = "fnr",
    also: Mapping[LossName | Loss, Level] | None = None,
    correction: CorrectionName | None = None,
) -> Calibration:
    """Cut at which several expected losses are controlled, with confidence `1 - delta`.

    For i.i.d. units and any losses; see `ltt_threshold`. Of the certified cuts it takes
    the least safe one for the first loss: the smallest mask for `fnr` and `dice`.

    Args:
        table: Scores of the calibration cohort, with loss curves.
        alpha: Tolerated expectation of `loss`, in (0, 1).
        delta: Tolerated share of calibration sets with any loss above its level.
        policy: Which rows count.
        loss: any of `LOSSES`, or a loss of one's own.
        also: Further losses with their levels.
        correction: How multiple tests are paid for: `fixed_sequence` from the safe end for one
            monotone loss, `holm` otherwise.

    Raises:
        ValueError: The table has no curves, a loss is named twice, or its cases cannot
            calibrate.
    """
    main = find_loss(loss)
    levels = [
        (main, alpha),
        *((find_loss(name), a) for name, a in (also or {}).items()),
    ]
    losses = [each for each, _ in levels]
    if len({each.name for each in losses}) < len(losses):
        raise ValueError(f"a loss is named twice: {[each.name for each in losses]}")
    _check_unit_bound(losses)
    if correction is None:
        alone = main.is_monotone and not also
        correction = "fixed_sequence" if alone else "holm"
    how, alphas = correction, [a for _, a in levels]
    found = LossTables(table, policy.unit_column, main)
    record = replace(
        _record(main),
        also={each.name: float(as_fraction(a)) for each, a in levels[1:]},
        correction=how,
    )

    def threshold_of(part: Part) -> Threshold:
        lams, tables = found.of_part(part, losses)
        chosen = ltt_threshold(tables, lams, alphas, delta, correction=how)
        if chosen.status != Status.OK:
            each = attainable_levels(tables, lams, alphas, delta, correction=how)
            names = [loss.name for loss in losses]
            levels_of = dict(zip(names, each, strict=True))
            note_attainable(record, part.region, part.group, levels_of)
        return found.threshold(part, len(tables[0]), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        return risk_statement(
            thresholds, policy, record, levels, all_but(delta), IDENTICAL
        )

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        found.nothing,
        method="ltt",
        alpha=alpha,
        delta=delta,
        record=record,
    )


def monotone_loss(loss: LossName | Loss | LossCurves, method: str) -> Loss | LossCurves:
    """The loss of a name, for methods that need it monotone.

    Raises:
        ValueError: It is not.
    """
    found = find_loss(loss)
    if not found.is_monotone:
        raise ValueError(
            f"loss {found.name} is not monotone in the cut: {method} cannot control it, "
            "ltt can"
        )
    return found


def _check_unit_bound(losses: list[Loss | LossCurves]) -> None:
    for loss in losses:
        if loss.bound != 1:
            raise ValueError(
                f"loss {loss.name} has bound {loss.bound}; bounds of the mean are for "
                "losses in [0, 1]: divide it by its bound"
            )


def _record(loss: Loss | LossCurves) -> RiskRecord:
    """What a calibration records of its loss; more of one that is the user's own."""
    record = RiskRecord(loss.name)
    if is_own(loss):
        record = replace(
            record,
            own_loss=loss.words,
            loss_bound=loss.bound,
            loss_safe="small cuts" if loss.safe_sign < 0 else "large cuts",
        )
    digest = loss.digest if isinstance(loss, LossCurves) else None
    return replace(record, loss_digest=digest)


def note_attainable(
    record: RiskRecord,
    region: str,
    group: str,
    levels: Mapping[str, tuple[float | None, float | None]],
) -> None:
    """Record the levels that would have passed: beside the others, and alone."""
    record.attainable.extend(
        Attainable(region, group, loss, level, alone)
        for loss, (level, alone) in levels.items()
    )


MARGINAL = ("marginally over", "exchangeable")
IDENTICAL = "independent and identically distributed"
_OWN_LOSS = (
    "The loss is the user's own: that it is what its name says, that its cuts were fixed "
    "beforehand and that its bound holds for every case is assumed; range and "
    "direction were checked on these cases alone. "
)


_OWN_SAFEST = "It assumes, too, that the loss of every case is at most its level at the safest cut."


def _check_safest(name: str, losses: np.ndarray, alpha: Level) -> None:
    """Refuse a loss that no cut can bring down: the built-in ones fall to 0."""
    worst = losses[:, -1].max()
    if as_fraction(worst) > as_fraction(alpha):
        raise ValueError(
            f"loss {name} of a unit is {worst} at the safest cut, more than alpha "
            f"{alpha}: crc needs a cut at which every unit loses at most alpha; rcps and "
            "ltt do not"
        )


def all_but(delta: Level) -> str:
    """Of how many calibration sets a statement with confidence speaks."""
    share = float(check_level("delta", delta))
    return f"for all but a share {share} of"


def risk_statement(
    thresholds: list[Threshold],
    policy: Policy,
    record: RiskRecord,
    levels: Sequence[tuple[Loss | LossCurves, Level]],
    over: str,
    units: str,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    each = " and ".join(
        f"expected {loss.words} is at most {float(as_fraction(level))}"
        for loss, level in levels
    )
    text = (
        f"For the mask of {whom(policy)} the {each}, {over} calibration sets. It speaks "
        "of the mean over new cases, not of every case, and needs the units to be "
        f"{units}. It assumes that the model never saw a calibration or new unit, and "
        "that method, loss and levels were fixed before looking. "
    )
    if any(is_own(loss) for loss, _ in levels):
        text += _OWN_LOSS
    text += scope(thresholds, policy)
    some_hold = any(t.status == Status.OK for t in thresholds)
    return lost_first(text, _lost(thresholds, record), some_hold=some_hold).strip()


def _lost(thresholds: list[Threshold], record: RiskRecord) -> str:
    """Where nothing can be promised, and what could have been."""
    safe = (
        "the only safe mask is"
        if record.is_safe
        else "no mask is known to be safe, the one at the safe end is"
    )
    text = "".join(
        f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): {safe} "
        f"{mask_words(t.value)}. "
        for t in thresholds
        if t.status != Status.OK
    )
    attained = attainable_words(record.attainable)
    return f"{text}{attained} " if attained else text
