"""The loss-curve family: voxel counts at a fixed grid of cuts.

The counts of a case at a cut give its false-negative rate, false-positive rate, Dice
and volume there. The grid is fixed before any data are seen, so every risk method may
use it; the safest cut, 0, takes the whole volume.
"""

from typing import Any

import numpy as np

from coverax.scores.batch import Scored
from coverax.table.columns import GRID_PREDICTED, GRID_TRUE_POSITIVE, N_CUTS
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"n_cuts": N_CUTS if definition.grid else 0}


def columns(scored: Scored, _definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    counts = scored.results.grid
    if counts is None:  # was not asked for
        return {}
    return {
        GRID_PREDICTED: np.asarray(counts.n_predicted),
        GRID_TRUE_POSITIVE: np.asarray(counts.n_true_positive),
    }
