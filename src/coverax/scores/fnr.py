"""The false-negative-rate family: critical probabilities and voxel counts."""

from typing import Any

import numpy as np

from coverax.scores.batch import Scored
from coverax.table.columns import MIN_FOREGROUND, critical_column
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    # Tolerance 0 is the smallest foreground probability: no foreground voxel is missed.
    return {"tolerances": (0.0, *definition.tolerances)}


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    critical = np.asarray(scored.results.critical_probability)
    sizes = scored.results.sizes
    names = [MIN_FOREGROUND, *map(critical_column, definition.tolerances)]
    return {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        **{name: critical[:, k] for k, name in enumerate(names)},
    }
