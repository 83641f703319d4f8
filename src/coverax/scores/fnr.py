"""The false-negative-rate family: critical probabilities and voxel counts."""

import numpy as np
import pyarrow as pa

from coverax.scores.batch import ViewBatch
from coverax.scores.definition import ScoreDefinition
from coverax.scores.engine import Engine

MIN_FOREGROUND = "min_foreground_probability"


def column_name(tolerance: float) -> str:
    """Column of the critical probability at a tolerance."""
    return f"critical_probability@{tolerance!r}"


def fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns this family adds to the score table."""
    names = [MIN_FOREGROUND, *map(column_name, definition.tolerances)]
    return [pa.field(name, pa.float32()) for name in names]


def columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """Compute the columns of a batch of flat cases."""
    # Tolerance 0 is the smallest foreground probability: no foreground voxel is missed.
    tolerances = (0.0, *definition.tolerances)
    critical = np.asarray(
        engine.ops.critical_probability(
            batch.probs, batch.labels, tolerances, valid=batch.valid
        )
    )
    sizes = engine.ops.sizes(batch.labels, valid=batch.valid)
    names = [MIN_FOREGROUND, *map(column_name, definition.tolerances)]
    return {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        **{name: critical[:, k] for k, name in enumerate(names)},
    }
