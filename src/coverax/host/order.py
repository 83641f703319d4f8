"""Order statistics on the host: gather the foreground, sort or partition it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from coverax.checks import takes_numpy
from coverax.host.parts import case_parts
from coverax.rational import Level, allowed_misses, tolerance_terms


@takes_numpy
def critical_probability(
    probs: Float[np.ndarray, "batch *spatial"],
    labels: Num[np.ndarray, "batch *spatial"] | Bool[np.ndarray, "batch *spatial"],
    tolerances: Sequence[Level] | np.ndarray,
    *,
    valid: Bool[np.ndarray, "batch *spatial"] | None = None,
) -> Float[np.ndarray, "batch tolerances"]:
    """Twin of `coverax.kernels.critical_probability`: the same bits.

    Lesions are a small share of the voxels, so only the foreground is looked at.
    """
    terms = tolerance_terms(tolerances)
    cuts = [case_cuts(p.foreground, *terms) for p in case_parts(probs, labels, valid)]
    return np.array(cuts, np.float32).reshape(len(probs), len(terms[0]))


def case_cuts(
    foreground: Float[np.ndarray, " foreground"],
    numerators: Int[np.ndarray, " tolerances"],
    denominators: Int[np.ndarray, " tolerances"],
) -> Float[np.ndarray, " tolerances"]:
    """Critical probabilities of one case; may reorder the foreground's values."""
    if not foreground.size:
        return np.full(len(numerators), np.inf, np.float32)
    order = allowed_misses(foreground.size, numerators, denominators)
    return _elements(foreground, order) + np.float32(0)  # -0.0 counts as 0


def _elements(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The values that sorting would put at the places `order`; may reorder `values`."""
    places = np.unique(order)
    if len(places) == 1:
        values.partition(places)
    else:  # a vectorised sort takes less than a partition at two places
        values.sort()
    return values[order]
