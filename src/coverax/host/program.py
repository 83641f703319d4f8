"""Everything of a batch on the host; twin of `coverax.kernels.program`.

A case is divided once into foreground and background, and tallied once: order
statistics, bins, curves and proper scores are all taken of these.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Num

from coverax.checks import takes_numpy
from coverax.engine.plan import MapsFn, ScorePlan, SetScore
from coverax.engine.results import BatchScores, Sizes
from coverax.host.bins import soft_bin_statistics, stack_bins
from coverax.host.curves import stack_grid
from coverax.host.extremes import inner_score, outer_score
from coverax.host.mass import mass_above
from coverax.host.order import case_cuts
from coverax.host.overlap import overlap_counts
from coverax.host.parts import Parts, case_parts
from coverax.host.proper import stack_proper
from coverax.host.tally import tally_outcomes
from coverax.rational import Level, tolerance_terms


@takes_numpy
def score_batch(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    tolerances: Sequence[Level] = (0.1,),
    *,
    mass: bool = False,
    n_bins: int = 20,
    n_soft_bins: int = 0,
    proper: bool = True,
    n_cuts: int = 0,
    sets: Sequence[SetScore] = (),
    maps_fn: MapsFn | None = None,
    given: Mapping[str, np.ndarray] | None = None,
    spacing_mm: Float[np.ndarray, "batch axes"] | None = None,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> BatchScores:
    """Twin of `coverax.kernels.score_batch`; nothing is padded here."""
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
    places = {"given": given, "spacing_mm": spacing_mm}
    return run_plan(probs, labels, plan, **places, valid=valid)


def run_plan(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    plan: ScorePlan,
    *,
    given: Mapping[str, np.ndarray] | None = None,
    spacing_mm: Float[np.ndarray, "batch axes"] | None = None,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> BatchScores:
    """Twin of `coverax.kernels.run_plan`; nothing is padded here."""
    terms = tolerance_terms(plan.tolerances)
    found = [
        _score_case(parts, terms, plan) for parts in case_parts(probs, labels, valid)
    ]
    cuts, tallies, n_voxels, n_foreground = zip(*found, strict=True)
    critical = np.stack(cuts) if len(terms[0]) else None
    maps = {}
    if plan.maps_fn is not None:
        made = plan.maps_fn(probs, spacing_mm, None, given or {})
        maps = {name: values.reshape(len(probs), -1) for name, values in made.items()}
    set_scores, set_counts = _set_scores(probs, labels, valid, plan.sets, maps)
    soft = None
    if plan.n_soft_bins:
        soft = soft_bin_statistics(probs, labels, plan.n_soft_bins, valid=valid)
    return BatchScores(
        Sizes(np.array(n_voxels, np.int64), np.array(n_foreground, np.int64)),
        critical,
        stack_bins(list(tallies), plan.n_bins) if plan.n_bins else None,
        soft,
        stack_proper(list(tallies)) if plan.proper else None,
        stack_grid(list(tallies), plan.n_cuts) if plan.n_cuts else None,
        set_scores,
        set_counts,
        maps,
        mass_above(probs, critical) if plan.mass and critical is not None else None,
    )


def _score_case(parts: Parts, terms, plan: ScorePlan):
    """Critical probabilities, tallies and sizes of one case."""
    few = parts.few.size
    n_bins, n_cuts = plan.n_bins, plan.n_cuts
    n_foreground = few if parts.few_is else parts.values.size - few
    return (
        case_cuts(parts.foreground, *terms) if len(terms[0]) else None,
        tally_outcomes(parts, n_bins, n_cuts, proper=plan.proper)
        if n_bins or n_cuts or plan.proper
        else None,
        parts.values.size,
        n_foreground,
    )


def _set_scores(
    probs, labels, valid, sets: Sequence[SetScore], maps: dict[str, np.ndarray]
):
    score_of = {"inner": inner_score, "outer": outer_score}
    shape = (len(probs), -1)
    flat, mask = probs.reshape(shape), labels.reshape(shape)
    counted = None if valid is None else valid.reshape(shape)
    scores, counts = [], []
    for asked in sets:
        values = flat if asked.map is None else maps[asked.map]
        options = {"tolerance": asked.tolerance, "valid": counted}
        scores.append(score_of[asked.side](values, mask, **options))
        if asked.cuts:
            cuts = np.tile(np.array(asked.cuts, np.float32), (len(flat), 1))
            overlap = overlap_counts(values, mask, cuts, valid=counted)
            counts.append(overlap.n_predicted)
    return tuple(scores), tuple(counts)
