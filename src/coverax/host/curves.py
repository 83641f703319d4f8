"""Counts of many cuts at once on the host; twins of `coverax.kernels.curves`."""

import numpy as np
from jaxtyping import Bool, Float

from coverax.checks import takes_numpy
from coverax.engine.bins import check_cuts
from coverax.engine.results import Overlap
from coverax.host.parts import case_parts
from coverax.host.tally import Tally, tally_outcomes


@takes_numpy
def grid_counts(
    probs: Float[np.ndarray, "batch voxels"],
    labels: Bool[np.ndarray, "batch voxels"],
    n_cuts: int,
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Overlap:
    """Twin of `coverax.kernels.grid_counts`: the same integers."""
    check_cuts(n_cuts)
    return stack_grid(
        [tally_outcomes(p, 0, n_cuts) for p in case_parts(probs, labels, valid)], n_cuts
    )


def stack_grid(tallies: list[tuple[Tally, Tally]], n_cuts: int) -> Overlap:
    """Counts of cases from their tallies: of all voxels and of the foreground."""
    counts = np.array([[t.above for t in pair] for pair in tallies], np.int64)
    whole, foreground = counts.reshape(-1, 2, n_cuts).swapaxes(0, 1)
    return Overlap(whole, foreground)


@takes_numpy
def cut_counts(
    probs: Float[np.ndarray, "batch voxels"],
    labels: Bool[np.ndarray, "batch voxels"],
    cuts: Float[np.ndarray, " cuts"],
    *,
    valid: Bool[np.ndarray, "batch voxels"] | None = None,
) -> Overlap:
    """Count `{probs >= cut}` and its foreground for any number of common cuts."""
    least = np.asarray(cuts, np.float32)
    counts = [
        [
            part.size - np.searchsorted(np.sort(part), least)
            for part in (parts.values, parts.foreground)
        ]
        for parts in case_parts(probs, labels, valid)
    ]
    n_predicted, n_true_positive = np.swapaxes(np.array(counts), 0, 1)
    return Overlap(n_predicted, n_true_positive)
