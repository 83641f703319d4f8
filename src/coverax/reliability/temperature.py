"""Temperature scaling: one positive number that divides all logits.

It changes confidences and never the order of the classes of a voxel. So does one of each
class that wins, fitted on the voxels where it does. The mean log loss
is convex in 1 / T, so its derivative has one root, found by Newton steps in log T inside
a bracket. Fit it on units that are used neither for calibration nor for evaluation.
"""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import isotonic_regression

from coverax.checks import (
    as_array,
    as_labels,
    as_list,
    as_map,
    as_weights,
    check_lengths,
    takes_numpy,
)
from coverax.files import Json
from coverax.reliability.least import least
from coverax.stream import default_threads

# Beyond these the classes are separated (T -> 0) or the map is worthless (T -> inf).
SHARPEST, FLATTEST = 0.02, 50.0
_LEAST = 2.0**-24  # a probability of 0 would need an infinite logit
_ROUNDING = 2.0**-20  # logits of float32 probabilities this close are equal
_STEP = 1e-8  # of log T, below which the solver has arrived
_BLOCK = 1 << 15  # voxels at a time: their exponentials stay in the cache

FitStatus = Literal["OK", "AT_BOUND", "UNDETERMINED"]
_SENTENCES: dict[str, str] = {
    "OK": "The log loss is least at this temperature.",
    "AT_BOUND": "The log loss still falls at the last temperature tried: at "
    f"{SHARPEST:g} the map is always right or far too unsure, at {FLATTEST:g} it is no "
    "better than chance.",
    "UNDETERMINED": "The log loss is the same at every temperature: all classes of every "
    "voxel are equally probable.",
}


class TemperatureFit(NamedTuple):
    """A fitted temperature.

    Attributes:
        temperature: Above 1 where the map is over-confident.
        nll_before: Mean log loss of the fitted voxels at temperature 1.
        nll_after: The same at the fitted temperature.
        status: `OK`; `AT_BOUND` where the loss falls up to the end of the bracket, whose
            temperature is then given; `UNDETERMINED` where it is the same at every
            temperature, and 1 is given.
    """

    temperature: float
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


class Sample(NamedTuple):
    """Voxels of a case, as far as their log loss depends on the temperature.

    Attributes:
        gaps: Logits less that of the most probable class, which is left out: one row
            each other class, none above 0.
        sum_truth: Sum over voxels of the logit of the true class, likewise.
        weight: Weight of each voxel.
    """

    gaps: Float[np.ndarray, "others voxels"]
    sum_truth: float
    weight: float

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.gaps.shape[1]


def sample_of(
    logits: Float[np.ndarray, "classes voxels"],
    labels: Integer[np.ndarray, " voxels"],
    weight: float = 1.0,
) -> Sample:
    """The voxels of a case, ready to be fitted."""
    gaps = np.empty((len(logits) - 1, logits.shape[1]))
    top = logits[0]
    for gap, z in zip(gaps, logits[1:], strict=True):  # the larger one is carried on
        np.minimum(top, z, out=gap)
        top = np.maximum(top, z)
    gaps -= top
    of_truth = np.take_along_axis(logits, labels[None].astype(np.intp), axis=0)[0]
    return Sample(gaps, float((of_truth - top).sum()), weight)


@takes_numpy
def logits_of(probs: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Logits of a softmax, up to a constant a voxel; 0 counts as `2**-24`."""
    return np.log(np.maximum(probs, _LEAST), dtype=np.float64)


@takes_numpy
def binary_logits_of(
    probs: Float[np.ndarray, " voxels"],
) -> Float[np.ndarray, "voxels 2"]:
    """Logits of background and foreground of a sigmoid channel."""
    p = np.clip(probs.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.stack([np.zeros_like(p), np.log(p) - np.log1p(-p)], axis=1)


def fit_temperature(
    logits: Iterable[Any],
    labels: Iterable[Any],
    weights: Iterable[Any] | None = None,
) -> TemperatureFit:
    """Temperature of least mean log loss.

    Args:
        logits: One array a case, `[voxels, classes]`.
        labels: Class of each voxel, `[voxels]`.
        weights: Weight of the voxels of each case, for sampled cases; 1 by default.

    Raises:
        ValueError: There is no voxel, a logit is not finite, or a label is no class.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    cases = as_list(logits, "logits"), as_list(labels, "labels")
    each = [1.0] * len(cases[0]) if weights is None else as_weights(weights)
    check_lengths({"labels": cases[1], "weights": each}, len(cases[0]))
    samples = []
    for i, (z, y, weight) in enumerate(zip(*cases, each, strict=True)):
        values, classes = as_array(z, "logits"), as_labels(y)
        if values.ndim != 2 or classes.shape != values.shape[:1]:
            raise ValueError(
                f"case {i}: logits have shape {values.shape}, expected [voxels, classes]; "
                f"labels have {classes.shape}"
            )
        values = values.astype(np.result_type(values, np.float32), copy=False)
        if not np.isfinite(values).all():
            raise ValueError(f"case {i}: logits must be finite")
        if classes.max(initial=0) >= values.shape[1]:
            raise ValueError(
                f"case {i}: label {classes.max()} of {values.shape[1]} classes"
            )
        samples.append(sample_of(values.T, classes, weight))
    return fit_samples(samples)


def fit_samples(
    samples: Sequence[Sample], *, threads: int | None = None
) -> TemperatureFit:
    """Temperature of least mean log loss, from prepared voxels.

    Args:
        samples: One a case.
        threads: Cases at a time; the result is the same to the bit.

    Raises:
        ValueError: There is no voxel.
    """
    with ThreadPoolExecutor(threads or default_threads()) as pool:
        before = _mean_loss(samples, 1.0, pool)
        if all(sample.gaps.min(initial=0) > -_ROUNDING for sample in samples):
            return TemperatureFit(1.0, before.loss, before.loss, "UNDETERMINED")
        bound = FLATTEST if before.slope > 0 else SHARPEST
        at_bound = _mean_loss(samples, 1 / bound, pool)
        if (at_bound.slope > 0) == (before.slope > 0):
            return TemperatureFit(bound, before.loss, at_bound.loss, "AT_BOUND")
        temperature, found = _solve(samples, bound, before, pool)
    return TemperatureFit(temperature, before.loss, found.loss, "OK")


@takes_numpy
def apply_temperature(
    probs: Float[np.ndarray, "*shape"], temperature: float, *, axis: int = -1
) -> Float[np.ndarray, "*shape"]:
    """Softmax probabilities at a temperature, classes along an axis; zeros stay 0."""
    return _scaled(probs, temperature, axis)


@takes_numpy
def apply_by_class(
    probs: Float[np.ndarray, "*shape"], temperatures: Sequence[float], *, axis: int = -1
) -> Float[np.ndarray, "*shape"]:
    """Softmax probabilities at the temperature of the class that wins each voxel.

    The order of the classes of a voxel is kept; of equal classes the first wins.

    Args:
        probs: The map, classes along an axis.
        temperatures: One a class.
        axis: That of the classes.

    Raises:
        ValueError: There are not as many temperatures as classes.
    """
    each = np.asarray(temperatures, np.float64)
    if each.shape != (probs.shape[axis],):
        raise ValueError(f"{each.size} temperatures for {probs.shape[axis]} classes")
    return _scaled(probs, each[probs.argmax(axis=axis, keepdims=True)], axis)


def keep_winner(scaled: np.ndarray, winner: np.ndarray, axis: int) -> np.ndarray:
    """A scaled map whose first largest class is the winner, written in place.

    Classes that rounding has made equal to the winner would win where they come first: the
    winner is then the next float32 above them.
    """
    lost = scaled.argmax(axis=axis, keepdims=True) != winner
    if lost.any():
        own = np.take_along_axis(scaled, winner, axis=axis)
        above = np.nextafter(scaled.max(axis=axis, keepdims=True), np.float32(2))
        np.put_along_axis(scaled, winner, np.where(lost, above, own), axis=axis)
    return scaled


def _scaled(
    probs: np.ndarray, temperature: float | np.ndarray, axis: int
) -> np.ndarray:
    with np.errstate(divide="ignore"):
        z = np.log(probs, dtype=np.float64) / temperature
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    scaled = (e / e.sum(axis=axis, keepdims=True)).astype(np.float32)
    return keep_winner(scaled, probs.argmax(axis=axis, keepdims=True), axis)


@takes_numpy
def apply_binary_temperature(
    probs: Float[np.ndarray, " voxels"], temperature: float
) -> Float[np.ndarray, " voxels"]:
    """Probabilities of a sigmoid channel at a temperature; 0 and 1 stay as they are."""
    both = np.stack([1 - probs.astype(np.float64), probs])
    return _scaled(both, temperature, axis=0)[1]


class PlattFit(NamedTuple):
    """Logistic recalibration: sigmoid(slope * logit + offset)."""

    slope: float
    offset: float


@takes_numpy
def fit_platt(
    probs: Float[np.ndarray, " voxels"], labels: Bool[np.ndarray, " voxels"]
) -> PlattFit:
    """Slope and offset of least log loss on the logit of a binary map.

    References:
        Platt (1999), Probabilistic Outputs for Support Vector Machines.
    """
    z, y = binary_logits_of(probs)[:, 1], labels.astype(np.float64)

    def loss(parameters):
        s = parameters[0] * z + parameters[1]
        residual = 0.5 * (1 + np.tanh(s / 2)) - y
        value = np.mean(np.logaddexp(0, s) - y * s)
        return value, np.array([np.mean(residual * z), np.mean(residual)])

    slope, offset = least(loss, np.array([1.0, 0.0])).at
    return PlattFit(float(slope), float(offset))


class IsotonicFit(NamedTuple):
    """A non-decreasing step function of the probability, by its distinct values."""

    probs: Float[np.ndarray, " steps"]
    frequencies: Float[np.ndarray, " steps"]

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """Recalibrated probabilities: linear between steps, constant outside."""
        return np.interp(as_map(probs), self.probs, self.frequencies).astype(np.float32)


@takes_numpy
def fit_isotonic(
    probs: Float[np.ndarray, " voxels"], labels: Bool[np.ndarray, " voxels"]
) -> IsotonicFit:
    """Non-decreasing map of least squared error from probability to frequency.

    References:
        Zadrozny and Elkan (2002), Transforming Classifier Scores into Accurate
        Multiclass Probability Estimates.
    """
    values, block, size = np.unique(probs, return_inverse=True, return_counts=True)
    frequency = np.bincount(block, labels) / size
    fitted = isotonic_regression(frequency, weights=size.astype(np.float64)).x
    return IsotonicFit(values.astype(np.float64), fitted)


class _Loss(NamedTuple):
    """A mean log loss, and its two derivatives by 1 / T."""

    loss: float
    slope: float
    curvature: float


def _solve(
    samples: Sequence[Sample], bound: float, start: _Loss, pool: ThreadPoolExecutor
) -> tuple[float, _Loss]:
    """The root of the slope between temperature 1 and the bound, and the loss there.

    Newton's step in x = -log T; halving where it leaves the bracket or stalls.
    """
    low, high = sorted([0.0, -math.log(bound)])  # slope < 0 at low, > 0 at high
    x, found, last = 0.0, start, high - low
    while True:
        scale = math.exp(x) * found.curvature
        step = -found.slope / scale if scale > 0 else math.inf
        if abs(step) <= _STEP or high - low <= _STEP:
            return math.exp(-x), found
        if not low < x + step < high or abs(step) > last / 2:
            step = (low + high) / 2 - x
        x, last = x + step, abs(step)
        found = _mean_loss(samples, math.exp(x), pool)
        low, high = (low, x) if found.slope > 0 else (x, high)


def _mean_loss(
    samples: Sequence[Sample], inverse: float, pool: ThreadPoolExecutor
) -> _Loss:
    """Weighted mean over all voxels at 1 / T; the same bits on any number of threads."""
    total = math.fsum(sample.weight * sample.n_voxels for sample in samples)
    if not total > 0:
        raise ValueError("there is no voxel to fit on")
    sums = pool.map(lambda sample: _loss_of(sample, inverse), samples)
    weighted = zip(samples, sums, strict=True)
    parts = [[sample.weight * part for part in loss] for sample, loss in weighted]
    return _Loss(*(math.fsum(column) / total for column in zip(*parts, strict=True)))


def _loss_of(sample: Sample, inverse: float) -> _Loss:
    """Sums over the voxels of a sample at 1 / T."""
    blocks = range(0, sample.n_voxels, _BLOCK)
    sums = np.zeros(3)
    for gaps in (sample.gaps[:, start : start + _BLOCK] for start in blocks):
        e = np.exp(gaps * inverse)
        norm = 1 + e.sum(axis=0)  # the 1 is the most probable class
        e *= gaps
        mean = e.sum(axis=0) / norm
        e *= gaps
        variance = e.sum(axis=0) / norm - mean * mean
        sums += np.log(norm).sum(), mean.sum(), variance.sum()
    loss, slope, curvature = sums.tolist()
    truth = sample.sum_truth
    return _Loss(loss - inverse * truth, slope - truth, curvature)
