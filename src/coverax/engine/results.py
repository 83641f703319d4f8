"""What the engines find in a batch; arrays of NumPy on the host, of JAX on the device."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

# An array of either engine: JAX's is no NumPy array, and NumPy's no JAX array.
Numbers = Any


class BinStatistics(NamedTuple):
    """Sums over the voxels of each bin; they add up across cases.

    Attributes:
        count: Voxels.
        sum_p: Probabilities.
        sum_y: Foreground voxels.
        sum_py: Probabilities of the foreground voxels.
        zero_count: Voxels of the first bin whose probability is 0 (below 2**-126).
        zero_sum_y: Foreground voxels among those.
        n_refused: Voxels left out because their value is NaN or no probability.
    """

    count: Int[Numbers, "batch bins"]
    sum_p: Float[Numbers, "batch bins"]
    sum_y: Int[Numbers, "batch bins"]
    sum_py: Float[Numbers, "batch bins"]
    zero_count: Int[Numbers, " batch"]
    zero_sum_y: Int[Numbers, " batch"]
    n_refused: Int[Numbers, " batch"]


class SoftBinStatistics(NamedTuple):
    """Weighted sums of soft bins; they add up across cases.

    Attributes:
        weight: Total weight.
        sum_p: Weighted probabilities.
        sum_y: Weighted references.
        n_refused: Voxels left out because their value is NaN or no probability.
    """

    weight: Float[Numbers, "batch bins"]
    sum_p: Float[Numbers, "batch bins"]
    sum_y: Float[Numbers, "batch bins"]
    n_refused: Int[Numbers, " batch"]


class ProperScores(NamedTuple):
    """Sums over the voxels of each case, for background and foreground apart.

    Index 0 of the last axis is the background, 1 the foreground.

    Attributes:
        sum_squares: Squared differences of probability and reference.
        sum_log_loss: Negative logarithm of the probability of what was true.
        n_clipped: Voxels whose true outcome had less than `2**-24`, counted as that.
    """

    sum_squares: Float[Numbers, "batch 2"]
    sum_log_loss: Float[Numbers, "batch 2"]
    n_clipped: Int[Numbers, "batch 2"]


class Sizes(NamedTuple):
    """Voxels that count, and foreground voxels among them, of each case."""

    n_voxels: Int[Numbers, " batch"]
    n_foreground: Int[Numbers, " batch"]


class Overlap(NamedTuple):
    """Voxels in the mask, and foreground voxels in the mask, per case and cut."""

    n_predicted: Int[Numbers, "batch cuts"]
    n_true_positive: Int[Numbers, "batch cuts"]


class ComponentEvents(NamedTuple):
    """Where the components of masks `{probs >= cut}` change.

    The mask at a cut has the counts of the first of `cuts` that is not below it, and none
    above the last.

    Attributes:
        cuts: Ascending.
        n: Components of `{probs >= cut}`.
        n_false: Those that touch no voxel of the reference.
    """

    cuts: Float[np.ndarray, " events"]
    n: Int[np.ndarray, " events"]
    n_false: Int[np.ndarray, " events"]

    def at(self, cuts: Float[np.ndarray, " cuts"]) -> "ComponentEvents":
        """Counts at other cuts."""
        place = np.searchsorted(self.cuts, cuts)
        n, n_false = (np.append(own, 0)[place] for own in (self.n, self.n_false))
        return ComponentEvents(np.asarray(cuts, np.float32), n, n_false)


class BatchScores(NamedTuple):
    """Results of a batch; None or empty for what was not asked.

    Attributes:
        sizes: Voxels and foreground voxels.
        critical_probability: `[batch, tolerances]`.
        bins: Hard bin statistics.
        soft_bins: Soft bin statistics.
        proper: Squared error and log loss.
        grid: Voxels at or above each cut of the grid.
        set_scores: Scores of the sets asked for, `[batch]` each.
        set_counts: Voxels at or above the cuts of each set, `[batch, cuts]` each.
        maps: The score maps by name.
        masses: Digits of the mass of each map, and of that above each critical
            probability.
    """

    sizes: Sizes
    critical_probability: Float[Numbers, "batch tolerances"] | None
    bins: BinStatistics | None
    soft_bins: SoftBinStatistics | None
    proper: ProperScores | None
    grid: Overlap | None
    set_scores: tuple[Float[Numbers, " batch"], ...]
    set_counts: tuple[Int[Numbers, "batch _"], ...]
    maps: dict[str, Float[Numbers, "batch voxels"]]
    masses: Int[Numbers, "batch masses digits"] | None
