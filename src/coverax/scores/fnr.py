"""The false-negative-rate family: critical probabilities and voxel counts."""

from typing import Any

import numpy as np
import pyarrow as pa

from coverax.engine.switch import Engine
from coverax.scores.batch import ViewBatch
from coverax.table.definition import ScoreDefinition

MIN_FOREGROUND = "min_foreground_probability"


def column_name(tolerance: float) -> str:
    """Column of the critical probability at a tolerance."""
    return f"critical_probability@{tolerance!r}"


def fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns this family adds to the score table."""
    names = [MIN_FOREGROUND, *map(column_name, definition.tolerances)]
    return [pa.field(name, pa.float32()) for name in names]


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    # Tolerance 0 is the smallest foreground probability: no foreground voxel is missed.
    return {"tolerances": (0.0, *definition.tolerances)}


def columns(
    _engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    critical = np.asarray(batch.results.critical_probability)
    sizes = batch.results.sizes
    names = [MIN_FOREGROUND, *map(column_name, definition.tolerances)]
    return {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        **{name: critical[:, k] for k, name in enumerate(names)},
    }
