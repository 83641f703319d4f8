"""The scores whose promise is validated: one number a case, larger is worse."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from coverax.choices import FnrScore
from coverax.table import ScoreTable, fnr_scores


class Validated(NamedTuple):
    """A score, and what it is of.

    Attributes:
        scores: One a row of the table.
        tolerance: Tolerated share; None where two sides have one each.
        side: `inner`, `outer` or `joint` of sets; None of the missed share.
        transform: Of sets, whose scores they are.
    """

    scores: Float[np.ndarray, " rows"]
    tolerance: float | None
    side: str | None = None
    transform: str | None = None


def scores_of_tolerances(
    table: ScoreTable, score: FnrScore = "critical"
) -> list[Validated]:
    """The missed share at every tolerance of a table."""
    return [Validated(fnr_scores(table, t, score), t) for t in table.tolerances]


def scores_of_sets(
    table: ScoreTable, inner: str | None, outer: str | None
) -> list[Validated]:
    """Both sides of sets on their own, and at once: the larger of both scores.

    Args:
        table: Score table.
        inner: Transform of the inner set; the table's only one by default.
        outer: Transform of the outer set, likewise.

    Raises:
        ValueError: The table lacks a transform, or has several and none is named.
    """
    chosen = [
        table.side_transform("inner", inner),
        table.side_transform("outer", outer),
    ]
    each = [table.side_scores(transform) for transform in chosen]
    sides = [
        Validated(scores, transform.tolerance, transform.side, transform.spec)
        for transform, scores in zip(chosen, each, strict=True)
    ]
    specs = ", ".join(transform.spec for transform in chosen)
    return [*sides, Validated(np.maximum(*each), None, "joint", specs)]
