"""Temperature scaling: one positive number that divides all logits.

It changes confidences and never the order of the classes of a voxel. The mean log loss
is convex in 1 / T, so its derivative has one root, found by a bracketing solver in
log T. Fit it on units that are used neither for calibration nor for evaluation.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.optimize import brentq, isotonic_regression, minimize

# Beyond these the classes are separated (T -> 0) or the map is worthless (T -> inf).
SHARPEST, FLATTEST = 0.02, 50.0
_LEAST = 2.0**-24  # a probability of 0 would need an infinite logit


class TemperatureFit(NamedTuple):
    """A fitted temperature.

    Attributes:
        temperature: Above 1 where the map is over-confident.
        nll_before: Mean log loss of the fitted voxels at temperature 1.
        nll_after: The same at the fitted temperature.
        status: `OK`, or `AT_BOUND` where the loss falls up to the end of the bracket.
    """

    temperature: float
    nll_before: float
    nll_after: float
    status: Literal["OK", "AT_BOUND"]


def logits_of(
    probs: Float[np.ndarray, "voxels classes"],
) -> Float[np.ndarray, "voxels classes"]:
    """Logits of a softmax, up to a constant a voxel; 0 counts as `2**-24`."""
    return np.log(np.maximum(probs, _LEAST), dtype=np.float64)


def binary_logits_of(
    probs: Float[np.ndarray, " voxels"],
) -> Float[np.ndarray, "voxels 2"]:
    """Logits of background and foreground of a sigmoid channel."""
    p = np.clip(probs.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.stack([np.zeros_like(p), np.log(p) - np.log1p(-p)], axis=1)


def mean_nll(
    logits: Sequence[Float[np.ndarray, "_ classes"]],
    labels: Sequence[Integer[np.ndarray, " _"]],
    weights: Sequence[float],
    temperature: float,
) -> float:
    """Weighted mean log loss of the cases at a temperature; a weight a voxel of a case."""
    total = 0.0
    for z, y, w in zip(logits, labels, weights, strict=True):
        loss, _ = _loss_and_slope(z, y, 1 / temperature)
        total += w * loss
    return total / _total_weight(labels, weights)


def fit_temperature(
    logits: Sequence[Float[np.ndarray, "_ classes"]],
    labels: Sequence[Integer[np.ndarray, " _"]],
    weights: Sequence[float] | None = None,
) -> TemperatureFit:
    """Temperature of least mean log loss.

    Args:
        logits: One array a case.
        labels: Class of each voxel.
        weights: Weight of the voxels of each case, for sampled cases; 1 by default.

    Raises:
        ValueError: There is no voxel.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks.
    """
    weights = [1.0] * len(logits) if weights is None else list(weights)
    _total_weight(labels, weights)

    def slope(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        cases = zip(logits, labels, weights, strict=True)
        return sum(w * _loss_and_slope(z, y, inverse)[1] for z, y, w in cases)

    low, high = np.log(SHARPEST), np.log(FLATTEST)
    at_low, at_high = slope(low), slope(high)
    status: Literal["OK", "AT_BOUND"] = "OK"
    if at_low > 0 > at_high:  # the slope is in 1 / T: falling along log T
        root = float(brentq(slope, low, high, xtol=1e-8))  # pyright: ignore[reportArgumentType]
        temperature = float(np.exp(root))
    elif at_low == at_high == 0:  # one class only, or logits that are all equal
        temperature, status = 1.0, "AT_BOUND"
    else:
        temperature = FLATTEST if at_high >= 0 else SHARPEST
        status = "AT_BOUND"
    return TemperatureFit(
        temperature,
        mean_nll(logits, labels, weights, 1.0),
        mean_nll(logits, labels, weights, temperature),
        status,
    )


def apply_temperature(
    probs: Float[np.ndarray, "voxels classes"], temperature: float
) -> Float[np.ndarray, "voxels classes"]:
    """Softmax probabilities at a temperature; exact zeros stay 0."""
    with np.errstate(divide="ignore"):
        z = np.log(probs, dtype=np.float64) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)


def apply_binary_temperature(
    probs: Float[np.ndarray, " voxels"], temperature: float
) -> Float[np.ndarray, " voxels"]:
    """Probabilities of a sigmoid channel at a temperature; 0 and 1 stay as they are."""
    both = np.stack([1 - probs.astype(np.float64), probs], axis=1)
    return apply_temperature(both, temperature)[:, 1]


class PlattFit(NamedTuple):
    """Logistic recalibration: sigmoid(slope * logit + offset)."""

    slope: float
    offset: float


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

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return PlattFit(float(found.x[0]), float(found.x[1]))


class IsotonicFit(NamedTuple):
    """A non-decreasing step function of the probability, by its distinct values."""

    probs: Float[np.ndarray, " steps"]
    frequencies: Float[np.ndarray, " steps"]

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """Recalibrated probabilities: linear between steps, constant outside."""
        return np.interp(probs, self.probs, self.frequencies).astype(np.float32)


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


def _loss_and_slope(z, y, inverse) -> tuple[float, float]:
    """Sum of log losses at 1 / T, and its derivative by 1 / T."""
    scaled = z * inverse
    top = scaled.max(axis=1, keepdims=True)
    e = np.exp(scaled - top)
    norm = e.sum(axis=1)
    of_truth = np.take_along_axis(z, y[:, None].astype(np.intp), axis=1)[:, 0]
    loss = np.log(norm) + top[:, 0] - of_truth * inverse
    slope = (e * z).sum(axis=1) / norm - of_truth
    return float(loss.sum()), float(slope.sum())


def _total_weight(labels, weights) -> float:
    total = float(sum(w * len(y) for y, w in zip(labels, weights, strict=True)))
    if not total > 0:
        raise ValueError("there is no voxel to fit on")
    return total
