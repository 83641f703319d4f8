"""Random voxels with all that a kernel can meet: edges, ties, zeros, what lies outside."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from coverax.engine.bins import MARGIN, SMALLEST, bin_edges

N_BINS, N_CUTS = 20, 1024
# Cases of a batch: any reference, one of many ties, an empty one, a full one.
N_CASES = 4


class Voxels(NamedTuple):
    """A batch of cases.

    Attributes:
        probs: `[cases, *spatial]`, a few of them no probabilities.
        labels: References.
        valid: Voxels that count.
    """

    probs: Float[np.ndarray, "cases *spatial"]
    labels: Bool[np.ndarray, "cases *spatial"]
    valid: Bool[np.ndarray, "cases *spatial"]

    def flat(self) -> "Voxels":
        """The same with one axis of voxels."""
        return Voxels(*(array.reshape(len(array), -1) for array in self))


def random_voxels(shape: tuple[int, ...], *, overshoot: bool = True) -> Voxels:
    """Four cases of a shape; the same whenever they are asked for.

    Args:
        shape: Axes of a case.
        overshoot: Whether some values lie outside [0, 1].
    """
    rng = np.random.default_rng(20)
    probs = rng.random((N_CASES, *shape), np.float32) ** 4
    labels = rng.random(probs.shape, np.float32) < probs
    probs[1] = np.round(probs[1], 1)
    labels[2], labels[3] = False, True
    special = _special(overshoot)
    places = rng.choice(probs[0].size, min(special.size, probs[0].size // 4), False)
    for case in probs.reshape(N_CASES, -1):
        case[places] = rng.permutation(special)[: places.size]
    return Voxels(probs, labels, rng.random(probs.shape) < 0.9)


def _special(overshoot: bool) -> np.ndarray:
    """Edges of bins and cuts with their neighbours, zeros, the smallest and the largest."""
    edges = np.concatenate([bin_edges(N_BINS), bin_edges(N_CUTS)[:: N_CUTS // 64]])
    around = [np.nextafter(edges, np.float32(end)) for end in (0, 1)]
    ends = np.array([0, -0.0, 1, SMALLEST, SMALLEST / 2, 1e-45, 2**-24], np.float32)
    outside = np.array([-1, -MARGIN / 2, 1 + MARGIN / 2, 1.5], np.float32)
    return np.concatenate([edges, *around, ends, *([outside] if overshoot else [])])
