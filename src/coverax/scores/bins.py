"""The calibration family: bin statistics and proper scores of each case and region.

Every column is a sum over voxels, so that errors per case, per site and pooled follow
from the table alone. Bins are fixed-size lists, one list a row. Of a softmax map, each
class has its row; what needs all classes of a voxel at once (the top label) is a second
set of bins, the same in every row of the case.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from coverax import host
from coverax.scores.batch import View, ViewBatch
from coverax.scores.definition import ScoreDefinition
from coverax.scores.engine import Engine

_INTEGERS = ("count", "sum_y", "zero_count", "zero_sum_y", "n_refused")
_REGION, _TOP_LABEL = "bin_", "top_label_"
# Rounding of a stored softmax (float16, scaled integers), not of a wrong one.
_SUM_TOLERANCE = 5e-3


def fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns this family adds to the score table; none for 0 bins."""
    if not definition.n_bins:
        return []
    pair = [("sum_squares", pa.float64()), ("sum_log_loss", pa.float64())]
    pair.append(("n_clipped", pa.int64()))
    out = _bin_fields(_REGION, definition.n_bins)
    out += [pa.field(name, pa.list_(kind, 2)) for name, kind in pair]
    if definition.softmax:
        out += _bin_fields(_TOP_LABEL, definition.n_bins)
    return out


def columns(
    engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """Compute the columns of a batch of flat cases."""
    if not definition.n_bins:
        return {}
    bins = engine.ops.bin_statistics(
        batch.probs, batch.labels, definition.n_bins, valid=batch.valid
    )
    scores = engine.ops.proper_scores(batch.probs, batch.labels, valid=batch.valid)
    out = {_REGION + name: value for name, value in bins._asdict().items()}
    out |= scores._asdict()
    return {name: np.asarray(value) for name, value in out.items()}


def top_label(views: Sequence[View], definition: ScoreDefinition) -> dict[str, Any]:
    """Columns of the most probable class of each voxel: is it right that often?

    Computed where all classes of a case are in memory, on the reader's thread and thus
    on the host whatever the engine. Ties go to the first class, a recorded convention.

    Raises:
        ValueError: The probabilities of the classes do not sum to 1.
    """
    probs = np.stack([view.probs for view in views])
    totals = probs.sum(axis=0)
    far = float(np.abs(totals - 1).max())
    if far > _SUM_TOLERANCE:
        worst = float(totals[np.abs(totals - 1).argmax()])
        raise ValueError(
            f"the classes of a softmax must sum to 1, got {worst:.6g} at a voxel; "
            "for independent (sigmoid) channels leave out --softmax"
        )
    if not definition.n_bins:
        return {}
    winner = probs.argmax(axis=0)[None]
    confidence = np.take_along_axis(probs, winner, axis=0)
    masks = np.stack([view.labels for view in views])
    correct = np.take_along_axis(masks, winner, axis=0)
    valid = views[0].valid
    bins = host.bin_statistics(
        confidence,
        correct,
        definition.n_bins,
        valid=None if valid is None else valid[None],
    )
    return {_TOP_LABEL + k: v[0].tolist() for k, v in bins._asdict().items()}


def read_bins(rows: pa.Table, *, top_label: bool = False) -> host.BinStatistics:
    """Bin statistics of the rows of a table, `[rows, bins]`.

    Raises:
        ValueError: The table holds none.
    """
    prefix = _TOP_LABEL if top_label else _REGION
    if f"{prefix}count" not in rows.column_names:
        raise ValueError(
            "the score table holds no bins of the top label; score with --softmax"
            if top_label
            else "the score table holds no bins; score without --bins 0"
        )
    names = host.BinStatistics._fields
    return host.BinStatistics(*[_matrix(rows.column(prefix + n)) for n in names])


def read_proper_scores(rows: pa.Table) -> host.ProperScores:
    """Proper scores of the rows of a table, `[rows, 2]`: background, foreground."""
    names = host.ProperScores._fields
    return host.ProperScores(*[_matrix(rows.column(name)) for name in names])


def _bin_fields(prefix: str, n_bins: int) -> list[pa.Field]:
    out = []
    for name in host.BinStatistics._fields:
        kind = pa.int64() if name in _INTEGERS else pa.float64()
        is_bins = name in ("count", "sum_p", "sum_y", "sum_py")
        out.append(pa.field(prefix + name, pa.list_(kind, n_bins) if is_bins else kind))
    return out


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        return whole.to_numpy(zero_copy_only=False)
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)
