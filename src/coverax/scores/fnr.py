"""The false-negative-rate family: critical probabilities, mass scores and voxel counts."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from coverax.choices import FnrScore
from coverax.engine.mass import shares
from coverax.engine.results import Numbers
from coverax.engine.switch import Engine
from coverax.scores.batch import Scored
from coverax.table.columns import MIN_FOREGROUND, critical_column, mass_column
from coverax.table.definition import ScoreDefinition


def asks(definition: ScoreDefinition) -> dict[str, Any]:
    """What the family asks of the one program."""
    # Tolerance 0 is the smallest foreground probability: no foreground voxel is missed.
    return {"tolerances": (0.0, *definition.tolerances), "mass": definition.mass}


def columns(scored: Scored, definition: ScoreDefinition) -> dict[str, np.ndarray]:
    """The columns of a batch."""
    critical = np.asarray(scored.results.critical_probability)
    sizes = scored.results.sizes
    names = [MIN_FOREGROUND, *map(critical_column, definition.tolerances)]
    found = {
        "n_voxels": np.asarray(sizes.n_voxels),
        "n_foreground": np.asarray(sizes.n_foreground),
        **{name: critical[:, k] for k, name in enumerate(names)},
    }
    if scored.results.masses is not None:
        scores = mass_scores(critical, scored.results.masses)
        for k, tolerance in enumerate(definition.tolerances, 1):
            found[mass_column(tolerance)] = scores[:, k]
    return found


def mass_scores(
    critical: Float[np.ndarray, "batch tolerances"],
    masses: Int[Numbers, "batch masses digits"],
) -> Float[np.ndarray, "batch tolerances"]:
    """Share of the mass of each map above its critical probabilities.

    A map complies at every threshold from this share on, see `mass_cut`: `-inf` for a
    case without foreground, 1 where the whole volume alone complies.
    """
    return np.where(np.isposinf(critical), -np.inf, shares(masses))


def compliance_scores(
    engine: Engine,
    probs: Any,
    labels: Any,
    tolerance: float,
    score: FnrScore,
    *,
    valid: Any = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a batch at a tolerance, and its critical probabilities, `[batch]`.

    Args:
        engine: Where they are computed.
        probs: `[batch, voxels]`, 0 in padding.
        labels: References.
        tolerance: Tolerated false-negative rate.
        score: Which of the scores.
        valid: Voxels that count.
    """
    critical = np.asarray(
        engine.ops.critical_probability(probs, labels, [tolerance], valid=valid)
    )
    scores = 0.0 - critical
    if score == "mass":
        scores = mass_scores(critical, engine.ops.mass_above(probs, critical))
    return scores[:, 0], critical[:, 0]
