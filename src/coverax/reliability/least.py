"""The least value of a smooth convex loss, as far as its floats can tell.

Logits may be of any size, and the slope of a loss with them: no absolute tolerance says
whether a fit is done. The search goes on until the loss falls no further.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy.optimize import minimize

from coverax.stream import default_threads

_STEPS = 20_000
_PAIRS = 40  # of steps and slopes that shape the next step: more than most fits take
_BLOCK = 1 << 15
_PART = 1 << 15  # voxels that tell where to begin, and how a loss bends there
_FEW = 64  # parameters: a loss of more is not measured by how it bends
_GAP = 1e-4  # of a parameter, between two slopes that tell how the loss bends
_FLATTEST = 1e-8  # of the most bent direction: others are taken to bend as much
_ROUGHLY = 1e-9  # of the loss: as near as the beginning of a search must be
_ROUNDS = 5  # of a search by how the loss bends at its beginning
_EPS = float(np.finfo(float).eps)  # of the loss: what falls less is rounding

Loss = Callable[[np.ndarray], tuple[float, np.ndarray]]
Bounds = Sequence[tuple[float, float]]


class Voxels(NamedTuple):
    """What the log loss of each voxel is made of, for a case or for several.

    Attributes:
        values: A column a voxel: logits, or gaps between them.
        places: Where its true class lies among these.
        weight: Of each voxel, or of all.
    """

    values: Float[np.ndarray, "values voxels"]
    places: Integer[np.ndarray, " voxels"]
    weight: float | Float[np.ndarray, " voxels"] = 1.0

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.places.size

    def weights(self, block: slice = slice(None)) -> Float[np.ndarray, " some"]:
        """Weight of each voxel of a block."""
        return np.broadcast_to(self.weight, self.places.shape)[block]

    def blocks(self) -> Iterator["Voxels"]:
        """The same, some voxels at a time."""
        for start in range(0, self.n_voxels, _BLOCK):
            own = slice(start, start + _BLOCK)
            yield Voxels(self.values[:, own], self.places[own], self.weights(own))


def thinned(samples: Sequence[Voxels], step: int) -> Voxels:
    """Every voxel of so many of each sample, of so many times its weight."""
    own = slice(None, None, step)
    return Voxels(
        np.concatenate([sample.values[:, own] for sample in samples], axis=1),
        np.concatenate([sample.places[own] for sample in samples]),
        step * np.concatenate([sample.weights(own) for sample in samples]),
    )


class Least(NamedTuple):
    """Parameters of least loss, and the loss there."""

    at: np.ndarray
    loss: float


class MeanFit(NamedTuple):
    """A mean loss where it is least, and at the start."""

    least: Least
    before: float


class _Unguided(Exception):
    """A part of the voxels does not lead to the least loss within bounds."""


def least_mean(
    samples: Sequence[Voxels],
    loss_of: Callable[[Voxels, np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    bounds: Bounds,
    threads: int | None = None,
) -> MeanFit:
    """Where the mean loss over all voxels is least.

    Args:
        samples: One a case.
        loss_of: Weighted sum of the loss over the voxels of a sample, and its slope in
            each parameter.
        start: Parameters to begin with.
        bounds: Least and most of each.
        threads: Cases at a time.

    Raises:
        ValueError: There is no voxel, or the search does not end.
    """
    n_voxels, part = sum(sample.n_voxels for sample in samples), None
    if n_voxels > 2 * _PART:
        part = _mean([thinned(samples, n_voxels // _PART)], loss_of, map)
    elif samples:
        samples = [thinned(samples, 1)]
    with ThreadPoolExecutor(threads or default_threads()) as pool:
        loss = _mean(samples, loss_of, pool.map)
        return MeanFit(least(loss, start, bounds, part), loss(start)[0])


def least(
    loss: Loss,
    start: np.ndarray,
    bounds: Bounds | None = None,
    part: Loss | None = None,
) -> Least:
    """Where a convex loss is least, within bounds.

    Args:
        loss: Its value and its slope in each parameter.
        start: Parameters to begin with.
        bounds: Least and most of each parameter; none without them.
        part: The same over a part of the voxels. The search then begins where this is
            least and measures steps by how this bends, which saves most evaluations of the
            loss; it ends where the loss could fall by rounding alone, by how this bends
            there.

    Raises:
        ValueError: It still falls after 20,000 steps.
    """
    if part is not None and start.size <= _FEW:
        begin = _search(part, start, bounds, fall=_ROUGHLY).at
        try:
            return _search_guided(loss, begin, bounds, part)
        except _Unguided:
            pass
    return _search(loss, start, bounds)


def _mean(
    samples: Sequence[Voxels],
    loss_of: Callable[[Voxels, np.ndarray], tuple[float, np.ndarray]],
    each: Callable[..., Iterable[tuple[float, np.ndarray]]],
) -> Loss:
    """The mean loss over the voxels of samples."""
    total = float(sum(sample.weights().sum() for sample in samples))
    if not total > 0:
        raise ValueError("there is no voxel to fit on")

    def mean(at: np.ndarray) -> tuple[float, np.ndarray]:
        found = each(lambda sample: loss_of(sample, at), samples)
        losses, slopes = zip(*found, strict=True)
        return math.fsum(losses) / total, np.sum(slopes, axis=0) / total

    return mean


def _search(
    loss: Loss,
    start: np.ndarray,
    bounds: Bounds | None = None,
    *,
    flat: float = 0.0,
    fall: float = 0.0,
) -> Least:
    """Until the slope is as flat, or a step lowers a loss above 1 by so small a share."""
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={
            "ftol": fall,
            "gtol": flat,
            "maxcor": _PAIRS,
            "maxiter": _STEPS,
            "maxfun": 2 * _STEPS,
        },
    )
    if found.nit >= _STEPS or found.nfev >= 2 * _STEPS:
        raise ValueError(f"the loss still falls after {found.nit:,} steps of the fit")
    return Least(found.x, float(found.fun))


def _search_guided(
    loss: Loss, begin: np.ndarray, bounds: Bounds | None, part: Loss
) -> Least:
    """Until the loss could fall by rounding alone, by how a part of it bends there."""
    at = begin
    for _ in range(_ROUNDS):
        (value, slope), axes = loss(at), _axes(part, at)
        # Along the axes a parabola of this slope falls by half its square.
        fall = float(np.sum((axes.T @ slope) ** 2)) / 2
        if not value > 0 or fall <= _EPS * value:
            return Least(at, value)
        at = _search_along(loss, at, bounds, axes, (value, slope))
    raise _Unguided


def _search_along(
    loss: Loss,
    start: np.ndarray,
    bounds: Bounds | None,
    axes: np.ndarray,
    first: tuple[float, np.ndarray],
) -> np.ndarray:
    """Parameters of least loss, by axes along which it bends alike, inside the bounds."""
    low, high = np.transpose(bounds) if bounds else (-np.inf, np.inf)
    value, slope = first
    length = np.linalg.norm(axes.T @ slope)
    axes = axes * length  # the search takes its first step to be 1 long
    flat = np.sqrt(2 * _EPS * length**2 / value)  # from there it could fall by _EPS

    def share(u: np.ndarray) -> tuple[float, np.ndarray]:
        at = start + axes @ u
        if not ((at > low) & (at < high)).all():
            raise _Unguided
        here, own = loss(at) if u.any() else first
        return here / value, axes.T @ own / value

    return start + axes @ _search(share, np.zeros(start.size), flat=flat, fall=_EPS).at


def _axes(loss: Loss, at: np.ndarray) -> np.ndarray:
    """Axes, one a column, along each of which a loss bends by 1."""
    gaps = _GAP * np.eye(at.size)
    bends = np.stack([loss(at + gap)[1] - loss(at - gap)[1] for gap in gaps])
    curvature, axes = np.linalg.eigh((bends + bends.T) / (4 * _GAP))
    if not curvature[-1] > 0:
        raise _Unguided
    return axes / np.sqrt(np.maximum(curvature, _FLATTEST * curvature[-1]))
