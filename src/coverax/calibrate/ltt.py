"""Learn then Test: risk control as multiple testing, for any losses, several at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from coverax.calibrate.attainable import smallest_level
from coverax.calibrate.bounds import hoeffding_bentkus_p_value
from coverax.calibrate.result import Status
from coverax.calibrate.risk import Lams, LossTable, check_table
from coverax.choices import CorrectionName
from coverax.rational import Level, check_level

PValues = Float[np.ndarray, " lams"]
Order = Int[np.ndarray, " lams"]


@dataclass(frozen=True, slots=True)
class CertifiedLams:
    """What the tests certified.

    Attributes:
        certified: Whether every risk is controlled at each lam.
        p_values: P-value of each lam: the largest over the risks.
        lam: The smallest certified lam; the largest lam where none is.
        status: OK, or INFEASIBLE where none is certified.
    """

    certified: Bool[np.ndarray, " lams"]
    p_values: PValues
    lam: float
    status: Status


def ltt_threshold(
    loss_tables: Sequence[LossTable],
    lams: Lams,
    alphas: Sequence[Level],
    delta: Level,
    *,
    correction: CorrectionName = "fixed_sequence",
    order: Order | None = None,
) -> CertifiedLams:
    """Lams at which several risks are all controlled, with confidence `1 - delta`.

    With i.i.d. units and losses in [0, 1] on lams fixed beforehand, for all but a share
    `delta` of calibration sets every certified lam has each expected loss at most its
    alpha: jointly over lams, so that any of them may be chosen afterwards. Losses need
    not be monotone.

    Args:
        loss_tables: One table a risk, rows the same units.
        lams: Ascending, fixed without the data.
        alphas: Tolerated risk of each table, in (0, 1).
        delta: Tolerated share of calibration sets with any false certificate.
        correction: How many tests are paid for: `bonferroni`, `holm` (never certifies
            less), or `fixed_sequence` (tests in `order`, stops at the first failure).
        order: Indices of lams in the order of `fixed_sequence`, set without the data;
            from the largest lam down by default.

    Returns:
        The certified lams; status INFEASIBLE where there is none.

    Raises:
        ValueError: Tables or levels do not match, or a loss lies outside [0, 1].

    References:
        Angelopoulos, Bates, Candes, Jordan and Lei (2021), Learn then Test.
    """
    if len(loss_tables) != len(alphas) or not alphas:
        raise ValueError(f"{len(loss_tables)} loss tables for {len(alphas)} alphas")
    if len({len(table) for table in loss_tables}) > 1:
        raise ValueError("the loss tables have different numbers of rows")
    checked = [check_table(table, lams)[0] for table in loss_tables]
    levels = [float(check_level("alpha", alpha)) for alpha in alphas]
    p_values = np.max(
        [
            hoeffding_bentkus_p_value(table, level)
            for table, level in zip(checked, levels, strict=True)
        ],
        axis=0,
    )
    return certified_lams(p_values, lams, delta, correction=correction, order=order)


def certified_lams(
    p_values: PValues,
    lams: Lams,
    delta: Level,
    *,
    correction: CorrectionName = "fixed_sequence",
    order: Order | None = None,
) -> CertifiedLams:
    """What p-values certify; takes the options of `ltt_threshold`.

    Raises:
        ValueError: There is no such correction, or an order goes with another.
    """
    d = float(check_level("delta", delta))
    if correction not in CORRECTIONS:
        raise ValueError(
            f"correction must be one of {', '.join(CORRECTIONS)}, got {correction!r}"
        )
    if order is not None and correction != "fixed_sequence":
        raise ValueError(f"order is for fixed_sequence, not for {correction}")
    if order is None:
        certified = CORRECTIONS[correction](p_values, d)
    else:
        certified = fixed_sequence(p_values, d, order)
    lams = np.asarray(lams)
    found = certified.any()
    return CertifiedLams(
        certified=certified,
        p_values=p_values,
        lam=float(lams[certified.argmax()] if found else lams[-1]),
        status=Status.OK if found else Status.INFEASIBLE,
    )


def attainable_levels(
    loss_tables: Sequence[LossTable],
    lams: Lams,
    alphas: Sequence[Level],
    delta: Level,
    *,
    correction: CorrectionName,
) -> list[tuple[float | None, float | None]]:
    """Smallest levels at which some lam would have been certified: a description.

    Takes the options of `ltt_threshold`; see `smallest_level`.

    Returns:
        For each risk the smallest level beside the other levels as they are, and the
        smallest one of this risk alone.
    """

    def smallest(tables: Sequence[LossTable], levels: list[Level], k: int):
        def passes(level: Level) -> bool:
            asked = [*levels[:k], level, *levels[k + 1 :]]
            found = ltt_threshold(tables, lams, asked, delta, correction=correction)
            return found.status == Status.OK

        return smallest_level(passes)

    return [
        (smallest(loss_tables, list(alphas), k), smallest([table], [alphas[k]], 0))
        for k, table in enumerate(loss_tables)
    ]


def bonferroni(p_values: PValues, delta: float) -> Bool[np.ndarray, " lams"]:
    """Reject what is below an equal share of delta, whatever the dependence."""
    return p_values <= delta / p_values.size


def holm(p_values: PValues, delta: float) -> Bool[np.ndarray, " lams"]:
    """Step down: the k-th smallest p-value pays for the hypotheses still standing.

    References:
        Holm (1979), A Simple Sequentially Rejective Multiple Test Procedure.
    """
    order = np.argsort(p_values, kind="stable")
    standing = p_values.size - np.arange(p_values.size)
    passes = p_values[order] <= delta / standing
    rejected = np.zeros(p_values.size, bool)
    rejected[order] = np.logical_and.accumulate(passes)
    return rejected


def fixed_sequence(
    p_values: PValues, delta: float, order: Order | None = None
) -> Bool[np.ndarray, " lams"]:
    """Each test at the full delta, in an order set without the data, until one fails.

    Raises:
        ValueError: `order` is not a permutation of the lams.
    """
    n = p_values.size
    order = np.arange(n)[::-1] if order is None else np.asarray(order)
    if sorted(order.tolist()) != list(range(n)):
        raise ValueError("order must name every lam once")
    rejected = np.zeros(n, bool)
    rejected[order] = np.logical_and.accumulate(p_values[order] <= delta)
    return rejected


CORRECTIONS: dict[str, Callable[[PValues, float], Bool[np.ndarray, " lams"]]] = {
    "bonferroni": bonferroni,
    "holm": holm,
    "fixed_sequence": fixed_sequence,
}
