"""Order-preserving scaling: gaps between the sorted logits, scaled by their rank.

With the logits of a voxel sorted, `z_1 >= z_2 >= ...`, the gap `z_r - z_(r+1)` is multiplied
by a factor `a_r >= 0`, one for all voxels or for those that each class wins. The order of the
classes of a voxel is kept whatever the factors are, so no label changes; one factor for all
gaps is a temperature, `a = 1 / T`. The mean log loss is convex in the factors. Logits are those
of the probabilities, where 0 counts as 2**-24.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from coverax.checks import takes_numpy
from coverax.files import Json
from coverax.reliability.least import Voxels, least_mean
from coverax.reliability.temperature import (
    SHARPEST,
    FitStatus,
    keep_winner,
    logits_of,
)

_MOST = 1 / SHARPEST  # of a factor: as far as a temperature goes
_SENTENCES: dict[str, str] = {
    "OK": "The log loss is least at these factors.",
    "AT_BOUND": "The log loss has no least value: it falls as far as a factor may go, as "
    "where no voxel has a true class below some rank, or the map is no better than chance.",
    "UNDETERMINED": "The log loss is the same at all factors: all classes of every voxel "
    "are equally probable.",
}


class OrderedFit(NamedTuple):
    """Fitted factors of the gaps between sorted logits.

    Attributes:
        factors: That of each gap, the one below the most probable class first; below 1
            where the map is over-confident.
        nll_before: Mean log loss of the fitted voxels as they are.
        nll_after: The same at these factors.
        status: `OK`; `AT_BOUND` where the loss has no least value, or the first factor is
            0, which would make the two most probable classes equal; `UNDETERMINED` where
            the loss is the same at all factors. A factor of a lower rank may be 0: these
            classes are then equally probable.
    """

    factors: list[float]
    nll_before: float
    nll_after: float
    status: FitStatus

    def to_json(self) -> Json:
        """Its fields."""
        return self._asdict()

    @property
    def sentence(self) -> str:
        """What the status means, for people."""
        return _SENTENCES[self.status]


def ordered_sample(
    logits: Float[np.ndarray, "classes voxels"],
    labels: Integer[np.ndarray, " voxels"],
    weight: float = 1.0,
) -> Voxels:
    """Gaps of the sorted logits of each voxel, and the rank of its true class.

    The gap below the most probable class is the first, and the rank of that class is 0; of
    equal classes the first is above.
    """
    order, gaps = _sorted(logits)
    ranks = (order == labels).argmax(axis=0)
    return Voxels(gaps, ranks, weight)


def fit_ordered(samples: Sequence[Voxels], *, threads: int | None = None) -> OrderedFit:
    """Factors of least mean log loss.

    Args:
        samples: One a case, of `ordered_sample`.
        threads: Cases at a time.

    Raises:
        ValueError: There is no voxel, or the search does not end.

    References:
        Rahimi et al. (2020), Intra Order-Preserving Functions for Calibration of
        Multi-Class Neural Networks.
    """
    start = np.ones(len(samples[0].values) if samples else 0)
    found, before = least_mean(
        samples, _loss_of, start, [(0.0, _MOST)] * start.size, threads
    )
    if not any(sample.values.any() for sample in samples):
        return OrderedFit(start.tolist(), before, before, "UNDETERMINED")
    # Where no true class lies below a gap, twice its factor is better, and so on.
    wide = np.any([(sample.values > 0).any(axis=1) for sample in samples], axis=0)
    below = np.any([_gaps_above(sample).any(axis=1) for sample in samples], axis=0)
    endless = bool((wide & ~below).any() or (found.at >= _MOST).any())
    status: FitStatus = "AT_BOUND" if endless or not found.at[0] > 0 else "OK"
    return OrderedFit(found.at.tolist(), before, found.loss, status)


@takes_numpy
def apply_ordered(
    probs: Float[np.ndarray, "*shape"],
    factors: Sequence[float] | np.ndarray,
    *,
    axis: int = -1,
) -> Float[np.ndarray, "*shape"]:
    """Softmax probabilities after scaling the gaps between the sorted logits.

    The order of the classes of a voxel is kept, but for classes that become equal; which
    class wins is kept.

    Args:
        probs: The map, classes along an axis.
        factors: One a gap, `[classes - 1]`, for all voxels; or such a row for the voxels
            that each class wins, `[classes, classes - 1]`.
        axis: That of the classes.

    Raises:
        ValueError: The factors are of another number of classes, or one is negative or
            not finite.
    """
    each = np.asarray(factors, np.float64)
    n = probs.shape[axis]
    if each.shape not in ((n - 1,), (n, n - 1)):
        raise ValueError(f"factors have shape {each.shape}, the map {n} classes")
    if not (np.isfinite(each) & (each >= 0)).all():
        raise ValueError("factors must be finite and not negative")
    rows = np.moveaxis(probs, axis, 0)
    order, gaps = _sorted(logits_of(rows.reshape(n, -1)))
    own = each[:, None] if each.ndim == 1 else each[order[0]].T
    e = np.empty((n, order.shape[1]))
    np.put_along_axis(e, order, np.exp(_below_top(gaps, own)), axis=0)
    scaled = keep_winner((e / e.sum(axis=0)).astype(np.float32), order[:1], axis=0)
    return np.ascontiguousarray(np.moveaxis(scaled.reshape(rows.shape), 0, axis))


def _sorted(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Classes of each voxel by falling logit, and the gaps between them."""
    order = np.argsort(-logits, axis=0, kind="stable")
    return order, -np.diff(np.take_along_axis(logits, order, axis=0), axis=0)


def _below_top(gaps: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Scaled logits by rank, less that of the most probable class."""
    out = np.zeros((len(gaps) + 1, gaps.shape[1]))
    np.cumsum(-factors * gaps, axis=0, out=out[1:])
    return out


def _gaps_above(sample: Voxels) -> np.ndarray:
    """Whether each gap lies, open, above the true class of each voxel."""
    places = np.arange(len(sample.values))[:, None]
    return (sample.values > 0) & (places < sample.places)


def _loss_of(sample: Voxels, factors: np.ndarray) -> tuple[float, np.ndarray]:
    """Weighted sum of the log loss over the voxels of a sample, and its slope."""
    loss, slope = 0.0, np.zeros(factors.size)
    for gaps, ranks, weight in sample.blocks():
        z = _below_top(gaps, factors[:, None])
        e = np.exp(z)
        norm = e.sum(axis=0)
        places = np.arange(ranks.size)
        loss += float((weight * (np.log(norm) - z[ranks, places])).sum())
        e /= norm
        # A gap lowers all classes below it: the truth where it is one, else only others.
        lowered = np.cumsum(e[:0:-1], axis=0)[::-1]
        above = np.arange(factors.size)[:, None] < ranks
        slope += (gaps * (above - lowered)) @ weight
    return loss, slope
