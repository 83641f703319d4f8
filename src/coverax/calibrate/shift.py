"""Likelihood ratios between two populations, estimated from features of cases."""

import numpy as np
from jaxtyping import Float

_STEPS = 50


def likelihood_ratios(
    old: Float[np.ndarray, "cases features"],
    new: Float[np.ndarray, "new features"],
    at: Float[np.ndarray, "points features"],
    *,
    ridge: float = 1.0,
) -> Float[np.ndarray, " points"]:
    """Estimated density ratio, new over old, by ridge logistic regression.

    For `weighted_threshold`. The coverage theorem needs true ratios: with estimated ones
    it is approximate, and no test of this package can say how far off it is. Fit on
    cases apart from those that calibrate.

    Args:
        old: Features of cases of the calibration population.
        new: Features of cases of the new population; no reference is needed.
        at: Features of the cases that get a weight.
        ridge: Penalty on the coefficients of standardised features; larger pulls the
            ratios to 1.

    Raises:
        ValueError: A side is empty, `ridge` is not positive, or a feature is not finite.

    References:
        Tibshirani, Barber, Candes and Ramdas (2019), Conformal Prediction Under
        Covariate Shift, section 2.3.
    """
    if not len(old) or not len(new) or not ridge > 0:
        raise ValueError("both populations need cases, and ridge must be positive")
    both = np.concatenate([old, new]).astype(np.float64)
    if not (np.isfinite(both).all() and np.isfinite(at).all()):
        raise ValueError("features must be finite")
    centre, spread = both.mean(0), both.std(0)
    spread[spread == 0] = 1.0
    is_new = np.repeat([0.0, 1.0], [len(old), len(new)])
    beta = _fit(_design((both - centre) / spread), is_new, ridge)
    logits = _design((at - centre) / spread) @ beta
    return np.exp(logits) * len(old) / len(new)


def _fit(design: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    """Newton steps on a strictly convex loss; the intercept is hardly penalised."""
    penalty = np.diag([1e-6, *[ridge] * (design.shape[1] - 1)])
    beta = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(design @ beta)))
        gradient = design.T @ (p - target) + penalty @ beta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        # A long step from far off may overshoot; a bounded one still descends.
        beta -= step / max(1.0, float(np.abs(step).max()))
    return beta


def _design(features: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(features)), features])
