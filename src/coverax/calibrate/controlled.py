"""Calibrations that control an expected loss: CRC, RCPS and LTT on loss curves.

RCPS and LTT look at the fixed grid of cuts alone, which was set before any data. CRC
may look at any cuts for a monotone loss, so it takes the cohort's own critical
probabilities too where a second pass counted there.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from coverax.calibrate.ltt import CorrectionName, ltt_threshold
from coverax.calibrate.rcps import BoundName, rcps_threshold
from coverax.calibrate.regions import (
    Part,
    Policy,
    calibrate_parts,
    scope,
    whom,
)
from coverax.calibrate.result import Calibration, Status, Threshold
from coverax.calibrate.risk import (
    Counts,
    crc_threshold,
    dice_loss,
    fnr_loss,
    fpr_loss,
)
from coverax.calibrate.units import CurveTable
from coverax.rational import Level, as_fraction, check_level

LossName = Literal["fnr", "fpr", "dice"]


class RiskTable(CurveTable, Protocol):
    """A score table whose curves may include the cohort's own cuts."""

    def critical_curves(self, region: str) -> Any:
        """Counts of a region's rows at its critical probabilities, or None."""
        ...


class Loss(NamedTuple):
    """A loss of a case, what it is called, and where it is safe.

    Attributes:
        of: Loss of each row and cut.
        words: For statements.
        safe_sign: -1 where small cuts are safe, 1 where large ones are.
        is_monotone: Whether a safer cut never loses more.
    """

    of: Callable[[Counts], np.ndarray]
    words: str
    safe_sign: Literal[-1, 1]
    is_monotone: bool


LOSSES: dict[LossName, Loss] = {
    "fnr": Loss(fnr_loss, "share of its reference that is missed", -1, True),
    "fpr": Loss(fpr_loss, "share of its background that is marked", 1, True),
    "dice": Loss(dice_loss, "1 - Dice coefficient", -1, False),
}
DEFAULT_POLICY = Policy()


def calibrate_crc(
    table: RiskTable,
    alpha: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName = "fnr",
) -> Calibration:
    """Cut at which the expected loss of a new case is at most alpha.

    Marginally over calibration sets, for exchangeable units and a monotone loss; see
    `crc_threshold`. Units that own several cases count by their mean loss.

    Args:
        table: Scores of the calibration cohort, with loss curves.
        alpha: Tolerated expected loss, in (0, 1).
        policy: Which rows count.
        loss: `fnr` or `fpr`.

    Returns:
        One threshold a region and group; INFEASIBLE where no cut passes: the mask is
        then the whole volume (`fnr`) or empty (`fpr`).

    Raises:
        ValueError: The loss is not monotone, the table has no curves, or its cases
            cannot calibrate.
    """
    _check_monotone(loss, "crc")
    found = _Finder(table, policy, loss, refined=True)

    def threshold_of(part: Part) -> Threshold:
        lams, (losses,) = found.losses(part, [loss])
        chosen = crc_threshold(losses, lams, alpha)
        return found.threshold(part, len(losses), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        return _statement(
            thresholds, policy, {loss: alpha}, "marginally over", "exchangeable"
        )

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        method="crc",
        alpha=alpha,
        delta=None,
        options={"loss": loss},
    )


def calibrate_rcps(
    table: RiskTable,
    alpha: Level,
    delta: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName = "fnr",
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
        loss: `fnr` or `fpr`.
        bound: Upper bound of the mean loss.

    Raises:
        ValueError: The loss is not monotone, the table has no curves, or its cases
            cannot calibrate.
    """
    _check_monotone(loss, "rcps")
    found = _Finder(table, policy, loss)

    def threshold_of(part: Part) -> Threshold:
        lams, (losses,) = found.losses(part, [loss])
        chosen = rcps_threshold(
            losses, lams, alpha, delta, method=bound, seed=policy.seed
        )
        return found.threshold(part, len(losses), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        return _statement(
            thresholds, policy, {loss: alpha}, _all_but(delta), _IDENTICAL
        )

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        method="rcps",
        alpha=alpha,
        delta=delta,
        options={"loss": loss, "bound": bound, "order_seed": policy.seed},
    )


def calibrate_ltt(
    table: RiskTable,
    alpha: Level,
    delta: Level,
    policy: Policy = DEFAULT_POLICY,
    *,
    loss: LossName = "fnr",
    also: Mapping[LossName, Level] | None = None,
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
        loss: `fnr`, `fpr` or `dice`.
        also: Further losses with their levels.
        correction: Of multiple tests; `fixed_sequence` from the safe end for one
            monotone loss, `holm` otherwise.

    Raises:
        ValueError: The table has no curves, a loss is named twice, or its cases cannot
            calibrate.
    """
    also = dict(also or {})
    if loss in also:
        raise ValueError(f"loss {loss} is named twice")
    levels: dict[LossName, Level] = {loss: alpha, **also}
    if correction is None:
        alone = LOSSES[loss].is_monotone and not also
        correction = "fixed_sequence" if alone else "holm"
    how = correction
    found = _Finder(table, policy, loss)

    def threshold_of(part: Part) -> Threshold:
        lams, tables = found.losses(part, list(levels))
        chosen = ltt_threshold(
            tables, lams, list(levels.values()), delta, correction=how
        )
        return found.threshold(part, len(tables[0]), chosen.lam, chosen.status)

    def statement(thresholds: list[Threshold]) -> str:
        return _statement(thresholds, policy, levels, _all_but(delta), _IDENTICAL)

    return calibrate_parts(
        table,
        threshold_of,
        statement,
        policy,
        method="ltt",
        alpha=alpha,
        delta=delta,
        options={
            "loss": loss,
            "also": {name: float(as_fraction(a)) for name, a in also.items()},
            "correction": how,
        },
    )


class _Finder:
    """Losses of a part in the direction of its main loss, and thresholds from lams."""

    def __init__(
        self, table: RiskTable, policy: Policy, loss: LossName, *, refined: bool = False
    ):
        self.table, self.sign, self.refined = table, LOSSES[loss].safe_sign, refined
        self.units = table.column(policy.unit_column)
        self.grid = table.grid_curves()

    def losses(
        self, part: Part, names: list[LossName]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Lams, ascending to the safe end, and one table of unit means a loss."""
        counts = self._counts(part)
        order = np.argsort(self.sign * counts.cuts, kind="stable")
        lams = self.sign * counts.cuts[order].astype(np.float64)
        units = self.units[part.rows]
        return lams, [
            unit_means(LOSSES[name].of(counts)[:, order], units) for name in names
        ]

    def threshold(
        self, part: Part, n_units: int, lam: float, status: Status
    ) -> Threshold:
        """A lam as a threshold of scores; what is infeasible takes everything or nothing."""
        everything = -self.sign * np.inf
        return Threshold(
            region=part.region,
            group=part.group,
            side="lesion",
            tolerance=None,
            n_units=n_units,
            rank=None,
            status=status,
            value=-self.sign * lam if status == Status.OK else everything,
        )

    def _counts(self, part: Part) -> Counts:
        rows = part.rows
        cuts = self.grid.cuts
        predicted = self.grid.n_predicted[rows]
        hits = self.grid.n_true_positive[rows]
        more = self.table.critical_curves(part.region) if self.refined else None
        if more is not None:
            # Curves of a region have its rows alone, in the order of the table.
            mine = np.flatnonzero(self.table.column("region") == part.region)
            own = np.searchsorted(mine, rows)
            cuts, first = np.unique(np.append(cuts, more.cuts), return_index=True)
            predicted = np.hstack([predicted, more.n_predicted[own]])[:, first]
            hits = np.hstack([hits, more.n_true_positive[own]])[:, first]
        return Counts(
            cuts,
            self.table.column("n_voxels")[rows, None],
            self.table.column("n_foreground")[rows, None],
            predicted,
            hits,
        )


def unit_means(losses: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Mean loss of each unit's cases, in the order of unit names: free of the scores."""
    names, of_row = np.unique(units.astype(str), return_inverse=True)
    sums = np.zeros((names.size, losses.shape[1]))
    np.add.at(sums, of_row, losses)
    return sums / np.bincount(of_row)[:, None]


def _check_monotone(loss: LossName, method: str) -> None:
    if not LOSSES[loss].is_monotone:
        raise ValueError(
            f"loss {loss} is not monotone in the cut: {method} cannot control it, ltt can"
        )


_IDENTICAL = "independent and identically distributed"


def _all_but(delta: Level) -> str:
    share = float(check_level("delta", delta))
    return f"for all but a share {share} of"


def _statement(
    thresholds: list[Threshold],
    policy: Policy,
    levels: Mapping[LossName, Level],
    over: str,
    units: str,
) -> str:
    """The guarantee in words, with its assumptions and what it does not say."""
    each = " and ".join(
        f"expected {LOSSES[name].words} is at most {float(as_fraction(level))}"
        for name, level in levels.items()
    )
    text = (
        f"For the mask of {whom(policy)} the {each}, {over} calibration sets. It speaks "
        "of the mean over new cases, not of every case, and needs the units to be "
        f"{units}. It assumes that the model never saw a calibration or new unit, and "
        "that method, loss and levels were fixed before looking. "
    )
    text += scope(thresholds, policy)
    for t in thresholds:
        if t.status != Status.OK:
            what = "the whole volume" if t.value > 0 else "empty"
            text += (
                f"In {t.name}: NO INFORMATIVE GUARANTEE ({t.status.name}): the mask is "
                f"{what}. "
            )
    return text.strip()
