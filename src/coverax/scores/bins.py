"""The calibration family: bin statistics and proper scores of each case and region.

Every column is a sum over voxels, so that errors per case, per site and pooled follow
from the table alone. Bins are fixed-size lists, one list a row. Of a softmax map each
class has its row, but for the background, which is no region; its bins, and those of the
top label, which need all classes of a voxel at once, stand in every row of the case.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from coverax import host
from coverax.scores.batch import Scored
from coverax.table.columns import BACKGROUND, REGION, SOFT, TOP_LABEL
from coverax.table.definition import ScoreDefinition
from coverax.tolerance import sum_slack
from coverax.volumes import ProbMap


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    return {"n_bins": definition.n_bins, "proper": bool(definition.n_bins)}


def columns(scored: Scored, _definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    bins, proper = scored.results.bins, scored.results.proper
    if bins is None or proper is None:  # no bins were asked for
        return {}
    out = {REGION + name: value for name, value in bins._asdict().items()}
    out |= proper._asdict()
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
    below, above = sum_slack(len(prob_map.probs), prob_map.file.step)
    slack = below, max(above, prob_map.overshoot)
    check_sums(prob_map.probs, str(prob_map.path), slack, valid)


def check_sums(
    probs: Float[np.ndarray, "classes voxels"],
    where: str,
    slack: tuple[float, float],
    valid: Bool[np.ndarray, " voxels"] | None,
) -> None:
    """Refuse classes whose sum lies further below or above 1 than the slack.

    Raises:
        ValueError: That of a voxel that counts does.
    """
    totals = probs.sum(axis=0)
    if valid is not None:
        totals = totals[valid]
    low, high = float(totals.min(initial=1)), float(totals.max(initial=1))
    if low < 1 - slack[0] or high > 1 + slack[1]:
        farthest = max(low, high, key=lambda total: abs(total - 1))
        raise ValueError(
            f"{where}: the classes of a softmax must sum to 1, got {farthest:.6g} at a "
            "voxel; independent (sigmoid) channels go without --softmax"
        )


def softmax_columns(
    probs: np.ndarray,
    masks: Sequence[np.ndarray],
    valid: np.ndarray | None,
    n_bins: int,
    n_soft_bins: int = 0,
) -> dict[str, Any]:
    """Columns of a softmax: its background, and the most probable class of each voxel.

    Computed where all classes of a case are in memory, on the reader's thread and thus
    on the host whatever the engine. Of classes that tie the first is the top label.

    Args:
        probs: `[classes, voxels]`, the background first.
        masks: References of the other classes, in order.
        valid: Voxels that count; None means all.
        n_bins: Number of bins; none without bins.
        n_soft_bins: Number of soft bins of the background; 0 for none.
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
    found = host.score_batch(
        one, truth, (), n_bins=n_bins, n_soft_bins=n_soft_bins, valid=counted
    )
    parts = {
        TOP_LABEL: top,
        BACKGROUND + REGION: found.bins,
        BACKGROUND: found.proper,
        BACKGROUND + SOFT: found.soft_bins,
    }
    return {
        prefix + name: values[0].tolist()
        for prefix, part in parts.items()
        if part is not None
        for name, values in part._asdict().items()
    }
