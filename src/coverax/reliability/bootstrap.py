"""Bootstrap over units: intervals of pooled errors, paired comparison of two models.

Voxels of a patient are not independent, patients are: whole units are drawn, with all
their cases. Since statistics are sums, a draw is a weighted sum of rows; no volume and
no case is looked at again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from coverax.engine.results import BinStatistics
from coverax.reliability.statistics import Bins

# Pooled measures that have no lower end.
ONE_SIDED = ("mce",)


class Interval(NamedTuple):
    """A percentile interval.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


def unit_weights(
    n_units: int, n_draws: int, seed: int
) -> Int[np.ndarray, "draws units"]:
    """How often each unit is drawn in each bootstrap sample.

    Raises:
        ValueError: There are no units or no draws.
    """
    if n_units < 1 or n_draws < 1:
        raise ValueError(f"cannot draw {n_draws} samples of {n_units} units")
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_units, np.full(n_units, 1 / n_units), size=n_draws)


def drawn_weights(
    units: Sequence[str], n_draws: int, seed: int
) -> Int[np.ndarray, "draws units"] | None:
    """How often each of the units, sorted, is drawn; None where there is no spread.

    That is so without draws, and with fewer than two units: every sample of one unit is
    that unit, and an interval of no width would claim to know what was never seen.
    """
    n_units = len(set(units))
    if n_draws < 1 or n_units < 2:
        return None
    return unit_weights(n_units, n_draws, seed)


def unit_sums(
    values: Num[np.ndarray, "rows *rest"], units: Sequence[str]
) -> Float[np.ndarray, "units *rest"]:
    """Add up the rows of each unit, units in sorted order."""
    names, index = np.unique(np.asarray(units), return_inverse=True)
    out = np.zeros((len(names), *np.shape(values)[1:]))
    np.add.at(out, index, np.asarray(values, np.float64))
    return out


def resampled(
    statistics: Bins,
    units: Sequence[str],
    weights: Int[np.ndarray, "draws units"],
) -> Bins:
    """Pooled statistics of every bootstrap sample, `[draws, bins]`."""

    def draw(values):
        values = np.asarray(values)
        sums = weights @ unit_sums(values, units)
        return np.rint(sums).astype(np.int64) if values.dtype.kind in "iu" else sums

    return type(statistics)(*[draw(values) for values in statistics])


def interval(draws: Float[np.ndarray, " draws"], level: float = 0.95) -> Interval:
    """Percentile interval of bootstrap draws: two of their order statistics.

    NaN draws (samples in which the statistic does not exist) are left out.
    """
    kept = np.sort(draws[~np.isnan(draws)])
    if not kept.size:
        return Interval(float("nan"), float("nan"))
    rank = int((kept.size + 1) * (1 - level) / 2)
    rank = min(max(rank, 1), (kept.size + 1) // 2)
    return Interval(float(kept[rank - 1]), float(kept[-rank]))


def intervals(
    draws: Mapping[str, Float[np.ndarray, " draws"]] | None, level: float
) -> dict[str, list[float] | None] | None:
    """Ends of the percentile interval of each measure; None without draws.

    A measure that no draw has is None as well.
    """
    if draws is None:
        return None
    ends = {name: interval(values, level) for name, values in draws.items()}
    return {k: None if np.isnan(v.low) else list(v) for k, v in ends.items()}


def pooled_intervals(
    draws: Mapping[str, Float[np.ndarray, " draws"]] | None, level: float
) -> dict[str, list[float | None] | None] | None:
    """As `intervals`, for pooled measures: the maximum of gaps has its upper end alone.

    The largest of noisy gaps lies above the largest gap, in the cohort and more so in its
    draws, so that where gaps are small the whole interval lies above the truth (it held
    the truth in 0 to 82 % of simulated cohorts, every miss on that side). The upper end
    held in 93 to 100 % of them, from 10 patients on.
    """
    found: dict[str, Any] = intervals(draws, level) or {}
    for name in set(ONE_SIDED) & found.keys():
        if found[name] is not None:
            found[name] = [None, found[name][1]]
    return found if draws is not None else None


def compare_models(
    first: BinStatistics,
    second: BinStatistics,
    units: Sequence[str],
    error_fn: Callable[[BinStatistics], Float[np.ndarray, " draws"]],
    *,
    level: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of `error(second) - error(first)` for two models on the same cases.

    Both models see the same drawn units, so that what varies between patients cancels.
    It is a percentile interval: approximate, and too short for a few dozen units.

    Args:
        first: Statistics of one model, a row a case.
        second: Statistics of the other model, the same rows.
        units: Unit of each row.
        error_fn: Error of pooled statistics, for example
            `lambda s: calibration_errors(s).ece`.
        level: Nominal level.
        n_draws: Bootstrap samples.
        seed: Seed of the draws.

    Returns:
        NaN ends with one unit, which has no spread.

    Raises:
        ValueError: There are no units or no draws.
    """
    weights = unit_weights(len(set(units)), n_draws, seed)
    if weights.shape[1] < 2:
        return Interval(float("nan"), float("nan"))
    a, b = (error_fn(resampled(s, units, weights)) for s in (first, second))
    return interval(b - a, level)
