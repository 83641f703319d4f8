"""Scores of inner and outer sets on the host; twins of `coverax.kernels.extremes`."""

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.checks import takes_numpy
from coverax.rational import Level, allowed_misses, tolerance_terms

_Map = Float[np.ndarray, "batch *spatial"]
_Labels = Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"]
_Valid = Bool[np.ndarray, "batch *spatial"] | None


@takes_numpy
def extreme_scores(
    inner_map: _Map, outer_map: _Map, labels: _Labels, *, valid: _Valid = None
) -> tuple[Float[np.ndarray, " batch"], Float[np.ndarray, " batch"]]:
    """Twin of `coverax.kernels.extreme_scores`: the same bits."""
    return (
        inner_score(inner_map, labels, valid=valid),
        outer_score(outer_map, labels, valid=valid),
    )


@takes_numpy
def inner_score(
    score_map: _Map, labels: _Labels, *, tolerance: Level = 0, valid: _Valid = None
) -> Float[np.ndarray, " batch"]:
    """Twin of `coverax.kernels.inner_score`: the same bits."""
    out = np.empty(len(score_map), np.float32)
    for i, (values, n_foreground, _, background) in enumerate(
        _cases(score_map, labels, valid)
    ):
        allowed = _allowed(n_foreground, tolerance)
        out[i] = -_ordered(-values[background], allowed)
    return out + np.float32(0)  # -0.0 counts as 0


@takes_numpy
def outer_score(
    score_map: _Map, labels: _Labels, *, tolerance: Level = 0, valid: _Valid = None
) -> Float[np.ndarray, " batch"]:
    """Twin of `coverax.kernels.outer_score`: the same bits."""
    out = np.empty(len(score_map), np.float32)
    for i, (values, n_foreground, foreground, _) in enumerate(
        _cases(score_map, labels, valid)
    ):
        allowed = _allowed(n_foreground, tolerance)
        out[i] = _ordered(values[foreground], allowed)
    return np.float32(0) - out


def _cases(score_map, labels, valid):
    for i, values in enumerate(score_map):
        foreground, background = labels[i], ~labels[i]
        if valid is not None:
            foreground, background = foreground & valid[i], background & valid[i]
        yield values, int(np.count_nonzero(foreground)), foreground, background


def _allowed(n_foreground: int, tolerance: Level) -> int:
    return int(allowed_misses(n_foreground, *tolerance_terms([tolerance]))[0])


def _ordered(values: np.ndarray, below: int):
    """The smallest value but for `below` of them; `inf` where no more are left."""
    if below >= values.size:
        return np.inf
    return values.min() if below == 0 else np.partition(values, below)[below]
