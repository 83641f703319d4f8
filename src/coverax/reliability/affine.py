"""Vector and matrix scaling: an affine map of the logits, which may change labels.

`softmax(W z + b)`, with W diagonal (vector) or full (matrix), for all voxels or for those
that each class wins. The mean log loss is convex in W and b. With more parameters than a
temperature it follows the fitted units closer, and what wins a voxel may change: the share
of voxels where it does is part of the fit. Logits are those of the probabilities, where 0
counts as 2**-24.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from coverax.checks import takes_numpy
from coverax.files import Json
from coverax.reliability.least import Voxels, least_mean
from coverax.reliability.temperature import logits_of

_BOUND = 50.0  # of a weight or an offset: as far as a temperature goes

AffineStatus = Literal["OK", "AT_BOUND"]


class AffineFit(NamedTuple):
    """A fitted affine map of logits.

    Attributes:
        weights: One row a class: the weight of each logit, and the offset last.
        changed: Share of the fitted voxels that another class wins now.
        nll_before: Mean log loss of the fitted voxels as they are.
        nll_after: The same after the map.
        status: `OK`; `AT_BOUND` where the loss has no least value, since every voxel is
            right or a class is that of none, or a parameter ran off to 50.
    """

    weights: list[list[float]]
    changed: float
    nll_before: float
    nll_after: float
    status: AffineStatus

    def to_json(self) -> Json:
        """Its fields."""
        return self._asdict()

    @property
    def sentence(self) -> str:
        """What the status means, for people."""
        if self.status == "OK":
            return "The log loss is least at these weights."
        return (
            "The log loss still falls at the last weights tried: every voxel is right, a "
            "class is that of no voxel, or there are too few for so many weights."
        )


def fit_affine(
    samples: Sequence[Voxels], *, diagonal: bool, threads: int | None = None
) -> AffineFit:
    """Affine map of least mean log loss.

    Args:
        samples: Logits and classes, one sample a case.
        diagonal: Vector scaling: each class has a weight and an offset of its own.
        threads: Cases at a time.

    Raises:
        ValueError: There is no voxel, or the search does not end.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    n_classes = len(samples[0].values) if samples else 0
    start = np.eye(n_classes, n_classes + 1)
    free = start > 0 if diagonal else np.ones(start.shape, bool)
    free[:, -1] = True

    def filled(values: np.ndarray) -> np.ndarray:
        weights = start * ~free
        weights[free] = values
        return weights

    def loss_of(sample: Voxels, values: np.ndarray) -> tuple[float, np.ndarray]:
        loss, slope = _loss_of(sample, filled(values))
        return loss, slope[free]

    bounds = [(-_BOUND, _BOUND)] * int(free.sum())
    found, before = least_mean(samples, loss_of, start[free], bounds, threads)
    weights = filled(found.at)
    changed, n_wrong, seen = 0.0, 0, np.zeros(n_classes, bool)
    for sample in samples:
        winner = _mapped(sample.values, weights).argmax(axis=0)
        changed += sample.weights()[winner != sample.values.argmax(axis=0)].sum()
        n_wrong += np.count_nonzero(winner != sample.places)
        seen[sample.places] = True
    # Where every voxel is right, twice the weights are better, and so on; so is a lower
    # offset of a class that no voxel has.
    endless = not n_wrong or not seen.all()
    at_bound = endless or bool((np.abs(found.at) >= _BOUND).any())
    status: AffineStatus = "AT_BOUND" if at_bound else "OK"
    share = float(changed / sum(sample.weights().sum() for sample in samples))
    return AffineFit(weights.tolist(), share, before, found.loss, status)


@takes_numpy
def apply_affine(
    probs: Float[np.ndarray, "*shape"],
    affine: Float[np.ndarray, "*each classes inputs"],
    *,
    axis: int = -1,
) -> Float[np.ndarray, "*shape"]:
    """Softmax probabilities after an affine map of their logits.

    Args:
        probs: The map, classes along an axis.
        affine: Weights `[classes, classes + 1]`, the offset last, for all voxels; or one
            such a class, `[classes, classes, classes + 1]`, for the voxels that it wins.
        axis: That of the classes.

    Raises:
        ValueError: The weights are of another number of classes.
    """
    each = np.asarray(affine, np.float64)
    n = probs.shape[axis]
    if each.shape not in ((n, n + 1), (n, n, n + 1)):
        raise ValueError(f"weights have shape {each.shape}, the map {n} classes")
    rows = np.moveaxis(probs, axis, 0)
    z = logits_of(rows.reshape(n, -1))
    if each.ndim == 2:
        out = _mapped(z, each)
    else:
        out, winner = np.empty_like(z), rows.reshape(n, -1).argmax(axis=0)
        for k, own in enumerate(each):
            out[:, winner == k] = _mapped(z[:, winner == k], own)
    e = np.exp(out - out.max(axis=0))
    scaled = (e / e.sum(axis=0)).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(scaled.reshape(rows.shape), 0, axis))


def _mapped(logits: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weights[:, :-1] @ logits + weights[:, -1:]


def _loss_of(sample: Voxels, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted sum of the log loss over the voxels of a sample, and its gradient."""
    loss, gradient = 0.0, np.zeros(weights.shape)
    for z, y, weight in sample.blocks():
        mapped = _mapped(z, weights)
        mapped -= mapped.max(axis=0)
        e = np.exp(mapped)
        norm = e.sum(axis=0)
        places = np.arange(y.size)
        loss += float((weight * (np.log(norm) - mapped[y, places])).sum())
        e /= norm
        e[y, places] -= 1
        e *= weight
        gradient[:, :-1] += e @ z.T
        gradient[:, -1] += e.sum(axis=1)
    return loss, gradient
