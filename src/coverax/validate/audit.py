"""Where failures gather in a cohort, each case by the threshold of all the others."""

import numpy as np
from jaxtyping import Bool, Float

from coverax.calibrate import (
    Audit,
    Cases,
    Triage,
    audit_of,
    conformal_rank,
    disagreement,
)
from coverax.rational import Level, as_fraction
from coverax.scores import ScoreTable
from coverax.validate.results import LevelAudit

# What the cohort says of a case that is no group of it.
_NAMES = ("case_id", "unit", "rater")


def audits(
    table: ScoreTable,
    cases: Cases,
    scores: Float[np.ndarray, " cases"],
    alphas: tuple[Level, ...],
) -> list[LevelAudit]:
    """Compliance of thirds and groups at each level.

    Args:
        table: The score table.
        cases: Its cases, one a unit.
        scores: Their scores.
        alphas: Tolerated miscoverages.
    """
    sorted_by = _numbers(table, cases)
    names = [name for name in table.cohort_columns if name not in _NAMES]
    grouped_by = {name: table.column(name)[cases.rows] for name in names}
    found: list[LevelAudit] = []
    for alpha in alphas:
        audit: Audit | None = audit_of(
            complies_with_others(scores, alpha), sorted_by, grouped_by
        )
        if audit is not None:
            level = float(as_fraction(alpha))
            found.append(LevelAudit(level, scores.size - 1, audit))
    return found


def complies_with_others(
    scores: Float[np.ndarray, " cases"], alpha: Level
) -> Bool[np.ndarray, " cases"]:
    """Whether each score is at most the threshold that all the others set.

    Their k-th smallest is at least a score iff fewer than k of them lie below it.
    """
    rank = conformal_rank(scores.size - 1, alpha)
    n_below = np.searchsorted(np.sort(scores), scores, side="left")
    return (n_below < rank) | (rank > scores.size - 1)


def _numbers(table: ScoreTable, cases: Cases) -> dict[str, np.ndarray]:
    sizes = np.asarray(table.column("n_foreground"))
    found = {"n_foreground": sizes[cases.rows]}
    if (peaks := table.lesion_peaks()) is not None:
        found["n_lesions"] = np.array([peaks[row].size for row in cases.rows])
    definition = table.definition
    has_sums = definition.n_bins and definition.n_bins % 2 == 0
    if definition.grid and has_sums and definition.ignore_label is None:
        found["uncertainty"] = Triage().uncertainty(table.columns)[cases.rows]
    if cases.members.size > cases.rows.size:
        members = sizes[cases.members]
        least = np.minimum.reduceat(members, cases.starts)
        most = np.maximum.reduceat(members, cases.starts)
        found["rater_disagreement"] = disagreement(least, most)
    return found
