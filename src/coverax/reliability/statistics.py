"""Bin statistics of many cases: pooled in an order-free way, chosen, added."""

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int

from coverax.engine.results import BinStatistics, SoftBinStatistics

Bins = TypeVar("Bins", BinStatistics, SoftBinStatistics)


def plain(value: Any) -> float | None:
    """A JSON number; what does not exist is null."""
    number = float(value)
    return number if math.isfinite(number) else None


def exact_sum(values: Float[np.ndarray, "rows *rest"]) -> Float[np.ndarray, "*rest"]:
    """Sum over the first axis, correctly rounded: the order of rows changes no bit."""
    rows = np.asarray(values, np.float64)
    columns = rows.reshape(len(rows), -1).T
    return np.array([math.fsum(c.tolist()) for c in columns]).reshape(rows.shape[1:])


def mean_of_known(
    values: Float[np.ndarray, "rows *rest"],
) -> Float[np.ndarray, "*rest"]:
    """Mean over the first axis of what is not NaN; NaN where everything is."""
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    total = np.where(known, values, 0).sum(axis=0)
    return np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)


def pooled(statistics: Bins) -> Bins:
    """Statistics of all cases together, as one case; the same bits in any order."""

    def total(values):
        values = np.asarray(values)
        if values.dtype.kind in "iu":
            return values.sum(axis=0, dtype=np.int64, keepdims=True)
        return exact_sum(values)[None]

    return type(statistics)(*[total(values) for values in statistics])


def select(
    statistics: Bins,
    rows: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " batch"],
) -> Bins:
    """Statistics of some of the cases."""
    return type(statistics)(*[np.asarray(values)[rows] for values in statistics])


def add(parts: Sequence[Bins]) -> Bins:
    """Cases of several parts (shards, machines) in one; pool them afterwards.

    Raises:
        ValueError: There is no part, or the parts have different bins, or hard and soft
            ones.
    """
    if not parts:
        raise ValueError("there are no statistics to add")
    (kind, *others) = {type(part) for part in parts}
    if others:
        raise ValueError("some parts have hard bins and others soft ones")
    widths = sorted({np.shape(part.sum_p)[1] for part in parts})
    if len(widths) > 1:
        raise ValueError(f"the parts have different numbers of bins: {widths}")
    columns = zip(*parts, strict=True)
    return kind(*[np.concatenate([np.asarray(c) for c in x]) for x in columns])
