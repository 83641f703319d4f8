"""The loss-curve family: voxel counts at a fixed grid of cuts.

The counts of a case at a cut give its false-negative rate, false-positive rate, Dice
and volume there. The grid is fixed before any data are seen, so every risk method may
use it; the safest cut, 0, takes the whole volume.
"""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from coverax.engine.switch import Engine
from coverax.scores.batch import ViewBatch
from coverax.table.definition import ScoreDefinition

# A power of two: k / N_CUTS is exact in float32, and so is every comparison with it.
N_CUTS = 1024
GRID_CUTS = np.arange(N_CUTS, dtype=np.float32) / N_CUTS
GRID_PREDICTED = "grid_predicted"
GRID_TRUE_POSITIVE = "grid_true_positive"
CRITICAL_PREDICTED = "critical_predicted"
CRITICAL_TRUE_POSITIVE = "critical_true_positive"


class Curves(NamedTuple):
    """Voxels in `{probs >= cut}`, and foreground among them, of each row and cut."""

    cuts: Float[np.ndarray, " cuts"]
    n_predicted: Int[np.ndarray, "rows cuts"]
    n_true_positive: Int[np.ndarray, "rows cuts"]


def fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns this family adds to the score table."""
    names = (GRID_PREDICTED, GRID_TRUE_POSITIVE) if definition.grid else ()
    return [pa.field(name, pa.list_(pa.field("element", pa.int64()))) for name in names]


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"n_cuts": N_CUTS if definition.grid else 0}


def columns(
    _engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    if not definition.grid:
        return {}
    counts = batch.results.grid
    return {
        GRID_PREDICTED: np.asarray(counts.n_predicted),
        GRID_TRUE_POSITIVE: np.asarray(counts.n_true_positive),
    }
