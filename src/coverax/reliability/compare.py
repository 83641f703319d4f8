"""Two models on the same cases: differences of pooled measures, with intervals."""

from typing import Any

import numpy as np

from coverax.reliability.bootstrap import interval, unit_sums, unit_weights
from coverax.reliability.summary import (
    LEVEL,
    class_sums,
    drawn_measures,
    plain,
    pooled_measures,
    softmax_scores,
)
from coverax.scores import ScoreTable


def compare(
    first: ScoreTable, second: ScoreTable, *, n_draws: int = 2000, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """Pooled measures of two models on the same cases, with paired unit intervals.

    Both see the same drawn units, so that what differs between patients cancels. The
    percentile interval is approximate, and too short for a few dozen units.

    Returns:
        For each class (and `softmax`, all classes together) and measure: `first`, `second`, `difference` (second less first)
        and `interval` of the difference.

    Raises:
        ValueError: The tables hold other cases, classes or bins.
    """
    keys = ["case_id", "region", "unit", "rater"]
    a, b = (t.rows.sort_by([(k, "ascending") for k in keys]) for t in (first, second))
    if not a.select(keys).equals(b.select(keys)):
        raise ValueError(
            "the two tables hold different cases, regions, units or raters"
        )
    if first.definition.softmax != second.definition.softmax:
        raise ValueError("one table is of a softmax, the other is not")
    softmax = first.definition.softmax
    names = list(dict.fromkeys(a.column("region").to_pylist()))
    out = {}
    for name in ["background", *names] if softmax else names:
        sums = [class_sums(rows, name, softmax) for rows in (a, b)]
        weights = unit_weights(len(set(sums[0].units)), n_draws, seed)
        points = [pooled_measures(s.statistics, s.proper) for s in sums]
        draws = [drawn_measures(s, weights) for s in sums]
        out[name] = {
            k: _difference(points[0][k], points[1][k], draws[1][k] - draws[0][k])
            for k in points[0]
        }
    if softmax:
        every = ["background", *names]
        models = [[class_sums(rows, name, True) for name in every] for rows in (a, b)]
        points = [softmax_scores(classes) for classes in models]
        units = models[0][0].units
        weights = unit_weights(len(set(units)), n_draws, seed)
        draws = [_drawnsoftmax_scores(classes, weights) for classes in models]
        out["softmax"] = {
            k: _difference(points[0][k], points[1][k], draws[1][k] - draws[0][k])
            for k in points[0]
        }
    return out


def _difference(first, second, draws) -> dict[str, Any]:
    difference = None
    if first is not None and second is not None:
        difference = second - first
    return {
        "first": first,
        "second": second,
        "difference": difference,
        "interval": [plain(end) for end in interval(draws, LEVEL)],
    }


def _drawnsoftmax_scores(classes, weights) -> dict[str, np.ndarray]:
    units = classes[0].units
    whole = weights @ unit_sums(np.asarray(classes[0].statistics.count).sum(1), units)
    losses = np.sum([c.proper.sum_log_loss[:, 1] for c in classes], axis=0)
    squares = np.sum([c.proper.sum_squares.sum(1) for c in classes], axis=0)
    return {
        "nll": weights @ unit_sums(losses, units) / whole,
        "brier": weights @ unit_sums(squares, units) / whole,
    }
