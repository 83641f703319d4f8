"""One program for everything asked of a batch: one transfer, one trace a shape.

A part is a function of the volumes and the plan that returns arrays and calls kernels;
all parts are traced together, so that they share the reading of the volumes, and XLA may
fuse them. A further family is one more entry of `PARTS`; what it needs to know stands in
the plan, which is static. Score maps are made in the program, of functions that the
caller names, and are returned: whoever needs the very map that a score was taken of runs
the same program.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from coverax.engine.bins import check_shapes
from coverax.engine.plan import MapsFn, ScorePlan, SetScore
from coverax.engine.results import (
    BatchScores,
    BinStatistics,
    Overlap,
    ProperScores,
    SoftBinStatistics,
)
from coverax.kernels.arrays import Labels, Map, Valid, flat, takes_arrays
from coverax.kernels.bins import bin_statistics, soft_bin_statistics
from coverax.kernels.curves import grid_counts
from coverax.kernels.devices import per_device
from coverax.kernels.extremes import inner_score, outer_score
from coverax.kernels.mass import mass_above
from coverax.kernels.order import critical_by_terms
from coverax.kernels.overlap import overlap_counts, sizes
from coverax.kernels.proper import proper_scores
from coverax.rational import Level, tolerance_terms

_CUTS_AT_ONCE = 5


class Volumes(NamedTuple):
    """The arrays of a program, flat, with what is derived from them.

    Attributes:
        probs: `[batch, voxels]`.
        mask: Reference.
        valid: Voxels that count; None for all.
        critical: Critical probabilities at the tolerances; None without any.
        maps: Score maps by name, flat.
    """

    probs: Array
    mask: Array
    valid: Array | None
    critical: Array | None
    maps: dict[str, Array]


def _masses(v: Volumes, plan: ScorePlan) -> Int[Array, "batch masses digits"] | None:
    if not plan.mass or v.critical is None:
        return None
    return mass_above(v.probs, v.critical)


def _bins(v: Volumes, plan: ScorePlan) -> BinStatistics | None:
    if not plan.n_bins:
        return None
    return bin_statistics(v.probs, v.mask, plan.n_bins, valid=v.valid)


def _soft_bins(v: Volumes, plan: ScorePlan) -> SoftBinStatistics | None:
    if not plan.n_soft_bins:
        return None
    return soft_bin_statistics(v.probs, v.mask, plan.n_soft_bins, valid=v.valid)


def _proper(v: Volumes, plan: ScorePlan) -> ProperScores | None:
    return proper_scores(v.probs, v.mask, valid=v.valid) if plan.proper else None


def _grid(v: Volumes, plan: ScorePlan) -> Overlap | None:
    if not plan.n_cuts:
        return None
    return grid_counts(v.probs, v.mask, plan.n_cuts, valid=v.valid)


def _set_scores(v: Volumes, plan: ScorePlan) -> tuple[Float[Array, " batch"], ...]:
    score_of = {"inner": inner_score, "outer": outer_score}
    return tuple(
        score_of[s.side](_map(v, s), v.mask, tolerance=s.tolerance, valid=v.valid)
        for s in plan.sets
    )


def _set_counts(v: Volumes, plan: ScorePlan) -> tuple[Int[Array, "batch cuts"], ...]:
    def counts(values: Array, cuts: tuple[float, ...]) -> Array:
        def at(cut: Array) -> Array:
            each = jnp.broadcast_to(cut, (values.shape[0], 1))
            return overlap_counts(values, v.mask, each, valid=v.valid).n_predicted[:, 0]

        every = jnp.asarray(np.array(cuts, np.float32))
        return lax.map(at, every, batch_size=_CUTS_AT_ONCE).T

    return tuple(counts(_map(v, s), s.cuts) for s in plan.sets if s.cuts)


def _map(v: Volumes, asked: SetScore) -> Array:
    return v.probs if asked.map is None else v.maps[asked.map]


Part = Callable[[Volumes, ScorePlan], Any]

# Field of `BatchScores` to the function that computes it.
PARTS: dict[str, Part] = {
    "sizes": lambda v, _: sizes(v.mask, valid=v.valid),
    "critical_probability": lambda v, _: v.critical,
    "bins": _bins,
    "soft_bins": _soft_bins,
    "proper": _proper,
    "grid": _grid,
    "set_scores": _set_scores,
    "set_counts": _set_counts,
    "maps": lambda v, _: v.maps,
    "masses": _masses,
}


@takes_arrays
def score_batch(
    probs: Map,
    labels: Labels,
    tolerances: Sequence[Level] = (0.1,),
    *,
    mass: bool = False,
    n_bins: int = 20,
    n_soft_bins: int = 0,
    proper: bool = True,
    n_cuts: int = 0,
    sets: Sequence[SetScore] = (),
    maps_fn: MapsFn | None = None,
    given: Mapping[str, Array | np.ndarray] | None = None,
    spacing_mm: Float[Array, "batch axes"]
    | Float[np.ndarray, "batch axes"]
    | None = None,
    shapes: Int[Array, "batch axes"] | Int[np.ndarray, "batch axes"] | None = None,
    valid: Valid = None,
) -> BatchScores:
    """Everything of a batch in one jitted program; inputs may never have left a device.

    Counts, order statistics and bins have the bits of the single kernels. Channels of a
    multi-class map are entries of the batch. A shape and a set of options are traced
    once; other tolerances, as many, are no other options.

    Args:
        probs: Probability maps; no NaN.
        labels: References; foreground is what is not 0.
        tolerances: Tolerated false-negative rates.
        mass: Whether to sum the masses above their critical probabilities, of all voxels.
        n_bins: Hard bins; 0 for none.
        n_soft_bins: Soft bins; 0 for none.
        proper: Whether to sum squared error and log loss.
        n_cuts: Cuts `k / n_cuts` at which voxels are counted, a power of two; 0 for none.
        sets: Scores of inner and outer sets to take.
        maps_fn: Pure function, hashable, of maps, spacings, the voxels inside each grid
            and `given`, to the score maps that `sets` name.
        given: Score maps, or what they need, computed elsewhere.
        spacing_mm: Edge lengths of the voxels of each case, for `maps_fn`.
        shapes: Own shape of each case where the axes are padded; its voxels come first.
        valid: Voxels that count; all by default.

    Raises:
        ValueError: The shapes differ, or an option is out of its range.
    """
    plan = ScorePlan(
        tuple(tolerances),
        n_bins,
        n_soft_bins,
        proper,
        n_cuts,
        tuple(sets),
        maps_fn,
        mass,
    )
    return run_plan(
        probs,
        labels,
        plan,
        given=given,
        spacing_mm=spacing_mm,
        shapes=shapes,
        valid=valid,
    )


def run_plan(
    probs: Map,
    labels: Labels,
    plan: ScorePlan,
    *,
    given: Mapping[str, Array | np.ndarray] | None = None,
    spacing_mm: Float[Array, "batch axes"]
    | Float[np.ndarray, "batch axes"]
    | None = None,
    shapes: Int[Array, "batch axes"] | Int[np.ndarray, "batch axes"] | None = None,
    valid: Valid = None,
) -> BatchScores:
    """`score_batch` of a plan that was made before: a run makes one for all batches."""
    check_shapes(probs, labels, valid)
    terms = jax.device_put(tolerance_terms(plan.tolerances))
    # Other tolerances, as many, are the same program.
    same = replace(plan, tolerances=())
    places = (spacing_mm, shapes, dict(given or {}))
    return _program(probs, labels, valid, terms, places, plan=same)


@per_device("terms", static=("plan",))
@partial(jax.jit, static_argnames="plan")
def _program(probs, labels, valid, terms, places, *, plan: ScorePlan) -> BatchScores:
    spacing_mm, shapes, given = places
    maps = {}
    if plan.maps_fn is not None:
        inside = None if shapes is None else _inside(probs.shape, shapes)
        made = plan.maps_fn(probs, spacing_mm, inside, given)
        maps = {name: flat(values) for name, values in made.items()}
    counted = None if valid is None else flat(valid)
    values, mask, critical = flat(probs), flat(labels), None
    if terms[0].shape[0]:
        critical = critical_by_terms(values, mask, counted, *terms)
    volumes = Volumes(values, mask, counted, critical, maps)
    return BatchScores(**{name: part(volumes, plan) for name, part in PARTS.items()})


def _inside(shape: tuple[int, ...], shapes: Array) -> Bool[Array, "batch *spatial"]:
    """Voxels of each case's own grid, which lies in the first corner of its slot."""
    inside = jnp.ones(shape, bool)
    for axis in range(1, len(shape)):
        place = lax.broadcasted_iota(jnp.int32, shape, axis)
        extent = jnp.reshape(shapes[:, axis - 1], (-1, *[1] * (len(shape) - 1)))
        inside &= place < extent
    return inside
