"""The family of inner and outer scores, one column a transform.

With `set_sizes` it also keeps how many voxels the set of each transform would hold at a
fixed grid of thresholds: enough to choose a transform without reading a map again.
"""

import bisect
import math
from typing import Any

import numpy as np

from coverax.engine.plan import SetScore
from coverax.engine.switch import Engine
from coverax.scores.batch import ViewBatch
from coverax.scores.maps import map_name
from coverax.table.columns import score_column, size_column, size_cuts
from coverax.table.definition import ScoreDefinition
from coverax.table.transforms import Transform


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"sets": tuple(_asked(t, definition) for t in definition.transforms)}


def _asked(transform: Transform, definition: ScoreDefinition) -> SetScore:
    cuts = tuple(size_cuts(transform).tolist()) if definition.set_sizes else ()
    return SetScore(transform.side, map_name(transform), transform.tolerance, cuts)


def columns(batch: ViewBatch, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    found = batch.results
    out: dict[str, np.ndarray] = {}
    for transform, score in zip(definition.transforms, found.set_scores, strict=True):
        column = score_column(transform.side, transform.spec)
        out[column] = _on_scale(transform, score)
    if definition.set_sizes:
        for transform, counts in zip(
            definition.transforms, found.set_counts, strict=True
        ):
            out[size_column(transform.side, transform.spec)] = np.asarray(counts)
    return out


def set_scores(
    engine: Engine, batch: ViewBatch, transform: Transform, values: np.ndarray
) -> np.ndarray:
    """Scores of one transform from its map: elements of it (or minus them), float64."""
    score = getattr(engine.ops, f"{transform.side}_score")(
        values, batch.labels, tolerance=transform.tolerance, valid=batch.valid
    )
    return _on_scale(transform, score)


def _on_scale(transform: Transform, score: Any) -> np.ndarray:
    """Scores of a map in float64, as log-odds where that is the transform."""
    score = np.asarray(score).astype(np.float64)
    if transform.name != "logit":
        return score
    sign = 1 if transform.side == "inner" else -1
    return np.array([sign * _logit(sign * value) for value in score.tolist()])


def set_cut(transform: Transform, threshold: float) -> np.float32:
    """The float32 cut of the score map whose `{map >= cut}` is the set at a threshold.

    The inner set is `{map > threshold}`, the outer one `{map >= -threshold}`. Maps are
    float32 and thresholds float64, so the cut is rounded up, never to the nearest; NaN,
    which no voxel reaches, is the empty inner set of an infinite threshold.
    """
    inner = transform.side == "inner"
    level = threshold if inner else -threshold
    if inner and level == math.inf:
        return np.float32(np.nan)
    if transform.name == "logit":
        return _probability_cut(level, strict=inner)
    with np.errstate(over="ignore"):
        cut = np.float32(level)
    # As Python floats: NumPy would round the level to float32 before it compares.
    if float(cut) < level or (inner and float(cut) == level):
        cut = np.nextafter(cut, np.float32(np.inf))
    return cut


def _logit(p: float) -> float:
    """Log-odds; scalar arithmetic, so that the same p always gives the same bits."""
    if p <= 0:
        return -math.inf
    return math.inf if p >= 1 else math.log(p) - math.log1p(-p)


def _probability_cut(level: float, *, strict: bool) -> np.float32:
    """Smallest float32 probability whose log-odds reach (or, strict, exceed) a level."""
    if level == -math.inf and not strict:
        return np.float32(-np.inf)
    # Bit patterns of non-negative floats are ordered as the floats are.
    n_patterns = int(np.float32(1).view(np.int32)) + 1

    def log_odds(pattern: int) -> float:
        return _logit(float(np.int32(pattern).view(np.float32)))

    find = bisect.bisect_right if strict else bisect.bisect_left
    pattern = find(range(n_patterns), level, key=log_odds)
    if pattern == n_patterns:
        return np.float32(np.nan)
    return np.int32(pattern).view(np.float32)
