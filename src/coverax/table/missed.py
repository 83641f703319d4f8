"""What a table says of the missed share of its cases: one score a row, larger is worse."""

import numpy as np
from jaxtyping import Float

from coverax.choices import FnrScore
from coverax.table.columns import mass_column
from coverax.table.table import ScoreTable


def fnr_scores(
    table: ScoreTable, tolerance: float, score: FnrScore = "critical"
) -> Float[np.ndarray, " rows"]:
    """Scores of the missed share at a tolerance, one per row; larger is worse.

    Args:
        table: Score table.
        tolerance: One of the table's.
        score: `critical`, the negative of the critical probability; or `mass`, the share
            of the mass of a map above it.

    Raises:
        ValueError: The table was scored without it.
    """
    if score == "critical":
        return 0.0 - table.critical_probability(tolerance)
    if not table.definition.mass:
        raise ValueError(
            "the table has no mass scores; score again with mass=True (--score mass)"
        )
    return table.column(mass_column(tolerance))
