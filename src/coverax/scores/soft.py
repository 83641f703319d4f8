"""The soft-bin family: weighted sums of triangular bins of each case and region.

A voxel shares itself between the two nearest bin centres, so that a bin's sums move
little where a probability crosses an edge: what soft-binned losses train on, measured.
"""

from typing import Any

import numpy as np

from coverax.scores.batch import Scored
from coverax.table.columns import SOFT
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"n_soft_bins": definition.n_soft_bins}


def columns(scored: Scored, _definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    bins = scored.results.soft_bins
    if bins is None:  # none were asked for
        return {}
    return {SOFT + name: np.asarray(value) for name, value in bins._asdict().items()}
