"""What is asked of the one program of a batch; kernels and host twins share it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from coverax.choices import Side
from coverax.engine.bins import bin_edges, check_cuts
from coverax.rational import Level

# Of volumes `[batch, *spatial]`, spacings, the voxels inside each case's own grid (None
# for all) and maps given from outside, to score maps by name. Hashable.
MapsFn = Callable[[Any, Any, Any, Any], dict[str, Any]]


class SetScore(NamedTuple):
    """The score of one side of a confidence set.

    Attributes:
        side: `inner` or `outer`.
        map: Name of the score map; None for the probabilities.
        tolerance: Share of the reference that may be wrong on this side.
        cuts: Cuts of the map at which voxels are counted.
    """

    side: Side
    map: str | None = None
    tolerance: Level = 0
    cuts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """What is asked of every batch; made once a run, and a part of the compiled program.

    Attributes:
        tolerances: Tolerated false-negative rates.
        n_bins: Hard bins; 0 for none.
        n_soft_bins: Soft bins; 0 for none.
        proper: Whether squared error and log loss are summed.
        n_cuts: Cuts of the curves' grid; 0 for none.
        sets: Scores of inner and outer sets.
        maps_fn: Makes the score maps that `sets` name; None where they name none.
        mass: Whether the masses above critical probabilities are summed.

    Raises:
        ValueError: A number of bins or cuts is out of its range.
    """

    tolerances: tuple[Level, ...] = ()
    n_bins: int = 0
    n_soft_bins: int = 0
    proper: bool = False
    n_cuts: int = 0
    sets: tuple[SetScore, ...] = ()
    maps_fn: MapsFn | None = None
    mass: bool = False

    def __post_init__(self):
        for n_bins in (self.n_bins, self.n_soft_bins):
            if n_bins:
                bin_edges(n_bins)
        if self.n_cuts:
            check_cuts(self.n_cuts)
