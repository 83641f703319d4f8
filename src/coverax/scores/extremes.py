"""The family of inner and outer scores, one column a transform.

With `set_sizes` it also keeps how many voxels the set of each transform would hold at a
fixed grid of thresholds: enough to choose a transform without reading a map again.
"""

from typing import Any

import numpy as np

from coverax.engine.plan import SetScore
from coverax.engine.switch import Engine
from coverax.scores.batch import Scored, ViewBatch
from coverax.table.columns import score_column, size_column, size_cuts
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform, on_scale


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"sets": tuple(_asked(t, definition) for t in definition.transforms)}


def _asked(transform: Transform, definition: ScoreDefinition) -> SetScore:
    cuts = tuple(size_cuts(transform).tolist()) if definition.set_sizes else ()
    return SetScore(transform.side, transform.map_name, transform.tolerance, cuts)


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    found = scored.results
    out: dict[str, np.ndarray] = {}
    for transform, score in zip(definition.transforms, found.set_scores, strict=True):
        column = score_column(transform.side, transform.spec)
        out[column] = on_scale(transform, score)
    if definition.set_sizes:
        for transform, counts in zip(
            definition.transforms, found.set_counts, strict=True
        ):
            out[size_column(transform.side, transform.spec)] = np.asarray(counts)
    return out


def side_scores(
    engine: Engine, batch: ViewBatch, transform: Transform, values: np.ndarray
) -> np.ndarray:
    """Scores of one transform from its map: elements of it (or minus them), float64."""
    arrays = (values, batch.labels, batch.valid)
    values, labels, valid = (batch.place(engine, a) for a in arrays)
    score = getattr(engine.ops, f"{transform.side}_score")(
        values, labels, tolerance=transform.tolerance, valid=valid
    )
    return on_scale(transform, score)
