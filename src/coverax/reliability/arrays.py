"""The calibration errors of maps and references that are in memory."""

from collections.abc import Iterable, Sequence
from typing import Any

from coverax.reliability.summary import Reliability, summarise
from coverax.scores import score_arrays
from coverax.table.definition import ScoreDefinition


def reliability_of_arrays(
    probs: Iterable[Any],
    labels: Iterable[Any],
    *,
    absent: str = "skip",
    leave_out: Sequence[str] = (),
    n_draws: int = 1000,
    seed: int = 0,
    **options: Any,
) -> Reliability:
    """Errors of every case, class and group of arrays, as `coverax reliability` of files.

    Intervals are of units drawn anew, and so are the units, not the voxels, what is
    independent.

    Args:
        probs: `[batch, *spatial]`, with `regions` `[batch, *spatial, classes]`, or a
            sequence of maps of any shapes.
        labels: References, as for `score_arrays`.
        absent: Macro means `skip` or `include` cases whose reference lacks the class.
        leave_out: Regions not reported, the background for example.
        n_draws: Bootstrap samples over units; 0 for no intervals.
        seed: Seed of the bootstrap.
        **options: Of `score_arrays`: `regions`, `softmax`, `units`, `groups`, `n_bins`,
            `spacing_mm`, `band_edges_mm` and the rest.

    Raises:
        ExceptionGroup: Cases have bad values or shapes; one exception each.
        TypeError: A column is no sequence, or holds what it cannot hold.
        ValueError: As `score_arrays` and `summarise`.
    """
    tolerances = options.pop("tolerances", ScoreDefinition().tolerances)
    table = score_arrays(probs, labels, tolerances, **options)
    return summarise(
        table, absent=absent, leave_out=leave_out, n_draws=n_draws, seed=seed
    )
