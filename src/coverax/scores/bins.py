"""The calibration family: bin statistics and proper scores of each case and region.

Every column is a sum over voxels, so that errors per case, per site and pooled follow
from the table alone. Bins are fixed-size lists, one list a row. Of a softmax map each
class has its row, but for the background, which is no region; its bins, and those of the
top label, which need all classes of a voxel at once, stand in every row of the case.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from coverax import host
from coverax.scores.batch import ViewBatch
from coverax.scores.definition import ScoreDefinition
from coverax.scores.engine import Engine
from coverax.tolerance import sum_slack
from coverax.volumes import ProbMap

_INTEGERS = ("count", "sum_y", "zero_count", "zero_sum_y", "n_refused")
REGION, TOP_LABEL, BACKGROUND = "bin_", "top_label_", "background_"


def fields(definition: ScoreDefinition) -> list[pa.Field]:
    """Columns this family adds to the score table; none for 0 bins."""
    if not definition.n_bins:
        return []
    out = bin_fields(REGION, definition.n_bins) + _proper_fields("")
    if definition.softmax:
        out += bin_fields(TOP_LABEL, definition.n_bins)
        out += bin_fields(BACKGROUND + REGION, definition.n_bins)
        out += _proper_fields(BACKGROUND)
    return out


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"n_bins": definition.n_bins, "proper": bool(definition.n_bins)}


def columns(
    _engine: Engine, batch: ViewBatch, definition: ScoreDefinition
) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    if not definition.n_bins:
        return {}
    found = batch.results
    out = {REGION + name: value for name, value in found.bins._asdict().items()}
    out |= found.proper._asdict()
    return {name: np.asarray(value) for name, value in out.items()}


def check_softmax(
    prob_map: ProbMap, valid: Bool[np.ndarray, " voxels"] | None = None
) -> None:
    """Refuse a map whose classes are no softmax.

    Args:
        prob_map: All channels of a map.
        valid: Voxels that count; None means all.

    Raises:
        ValueError: The probabilities of a voxel do not sum to 1, to the rounding of
            their storage (`coverax.tolerance`).
    """
    totals = prob_map.probs.sum(axis=0)
    if valid is not None:
        totals = totals[valid]
    low, high = float(totals.min(initial=1)), float(totals.max(initial=1))
    below, above = sum_slack(len(prob_map.probs), prob_map.file.step)
    if low < 1 - below or high > 1 + max(above, prob_map.overshoot):
        farthest = max(low, high, key=lambda total: abs(total - 1))
        raise ValueError(
            f"{prob_map.path}: the classes of a softmax must sum to 1, got "
            f"{farthest:.6g} at a voxel; independent (sigmoid) channels go without "
            "--softmax"
        )


def softmax_columns(
    probs: np.ndarray,
    masks: Sequence[np.ndarray],
    valid: np.ndarray | None,
    n_bins: int,
) -> dict[str, Any]:
    """Columns of a softmax: its background, and the most probable class of each voxel.

    Computed where all classes of a case are in memory, on the reader's thread and thus
    on the host whatever the engine. Of classes that tie the first is the top label.

    Args:
        probs: `[classes, voxels]`, the background first.
        masks: References of the other classes, in order.
        valid: Voxels that count; None means all.
        n_bins: Number of bins; none without bins.
    """
    if not n_bins:
        return {}
    background = ~masks[0]
    for mask in masks[1:]:
        background &= ~mask
    # Class by class: many times faster than argmax over the short axis.
    confidence, correct = probs[:1], background[None]
    for p, mask in zip(probs[1:, None], masks, strict=True):
        better = p > confidence
        correct = (mask & better) | (correct & ~better)
        confidence = np.maximum(p, confidence)
    counted = None if valid is None else valid[None]
    one, truth = probs[:1], background[None]
    top = host.bin_statistics(confidence, correct, n_bins, valid=counted)
    found = host.score_batch(one, truth, (), n_bins=n_bins, valid=counted)
    parts = {TOP_LABEL: top, BACKGROUND + REGION: found.bins, BACKGROUND: found.proper}
    return {
        prefix + name: values[0].tolist()
        for prefix, part in parts.items()
        if part is not None
        for name, values in part._asdict().items()
    }


def read_bins(rows: pa.Table, prefix: str = REGION) -> host.BinStatistics:
    """Bin statistics of the rows of a table, `[rows, bins]`.

    Args:
        rows: Rows of a score table.
        prefix: `REGION`, `TOP_LABEL`, `BACKGROUND`, or that of a band.

    Raises:
        ValueError: The table holds none.
    """
    names = host.BinStatistics._fields
    prefix = prefix + REGION if prefix == BACKGROUND else prefix
    if prefix + names[0] not in rows.column_names:
        raise ValueError(
            "the score table holds no such bins; score with --bins and, for what "
            "concerns all classes, --softmax"
        )
    return host.BinStatistics(*[_matrix(rows.column(prefix + n)) for n in names])


def read_proper_scores(rows: pa.Table, prefix: str = REGION) -> host.ProperScores:
    """Proper scores of the rows of a table, `[rows, 2]`: outside, inside the class."""
    start = prefix if prefix == BACKGROUND else ""
    names = host.ProperScores._fields
    return host.ProperScores(*[_matrix(rows.column(start + n)) for n in names])


def bin_fields(prefix: str, n_bins: int) -> list[pa.Field]:
    """Columns of one set of bins."""
    out = []
    for name in host.BinStatistics._fields:
        kind = pa.int64() if name in _INTEGERS else pa.float64()
        is_bins = name in ("count", "sum_p", "sum_y", "sum_py")
        out.append(pa.field(prefix + name, _list(kind, n_bins) if is_bins else kind))
    return out


def _proper_fields(prefix: str) -> list[pa.Field]:
    kinds = {"n_clipped": pa.int64()}
    return [
        pa.field(prefix + name, _list(kinds.get(name, pa.float64()), 2))
        for name in host.ProperScores._fields
    ]


def _list(kind: pa.DataType, size: int) -> pa.DataType:
    # The name that Parquet gives the entries, so that a table comes back as it was.
    return pa.list_(pa.field("element", kind), size)


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    whole = column.combine_chunks()
    if not pa.types.is_fixed_size_list(column.type):
        return whole.to_numpy(zero_copy_only=False)
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)
