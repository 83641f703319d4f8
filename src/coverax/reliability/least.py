"""The least value of a smooth convex loss, as far as its floats can tell.

Logits may be of any size, and the slope of a loss with them: no absolute tolerance says
whether a fit is done. The search goes on until the loss falls no further.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

_STEPS = 20_000
_PAIRS = 40  # of steps and slopes that shape the next step: more than most fits take


class Least(NamedTuple):
    """Parameters of least loss, and the loss there."""

    at: np.ndarray
    loss: float


def least(
    loss: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    bounds: Sequence[tuple[float, float]] | None = None,
) -> Least:
    """Where a convex loss is least, within bounds.

    Args:
        loss: Its value and its slope in each parameter.
        start: Parameters to begin with.
        bounds: Least and most of each parameter; none without them.

    Raises:
        ValueError: It still falls after 20,000 steps.
    """
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={
            "ftol": 0,
            "gtol": 0,
            "maxcor": _PAIRS,
            "maxiter": _STEPS,
            "maxfun": 2 * _STEPS,
        },
    )
    if found.nit >= _STEPS or found.nfev >= 2 * _STEPS:
        raise ValueError(f"the loss still falls after {found.nit:,} steps of the fit")
    return Least(found.x, float(found.fun))
