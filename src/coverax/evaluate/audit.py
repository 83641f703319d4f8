"""Compliance of the parts of an evaluation, from its tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from coverax.calibrate import Audit, audit_of, disagreement

Rows = list[dict[str, Any]]
# Whether a row complies, by the kind of its evaluation; the first that it has.
_COMPLIES = ("calibrated_complies", "joint_covered", "covered", "floor_covered")
# What cases are sorted by, where their rows have it.
_SORTED = ("n_foreground", "n_lesions", "uncertainty")


def audited(
    rows: Rows, columns: Mapping[str, Mapping[str, str]] | None = None
) -> Audit | None:
    """Compliance of thirds and groups of the cases of one region that count.

    Args:
        rows: The table of an evaluation.
        columns: Case id to its further columns of the cohort.

    Returns:
        None where no case complies or fails by itself (a mean is controlled), or none
        counts.
    """
    mine = [row for row in rows if row["counted"]]
    name = next((n for n in _COMPLIES if mine and mine[0].get(n) is not None), None)
    if name is None:
        return None
    hits = np.array([row[name] for row in mine], bool)
    sorted_by = {
        by: np.array([row[by] for row in mine], float)
        for by in _SORTED
        if by in mine[0]
    }
    sorted_by |= _raters(rows, mine)
    grouped_by = {"group": np.array([str(row["group"]) for row in mine])}
    of_case = columns or {}
    further = [of_case.get(row.get("case_id", ""), {}) for row in mine]
    for by in further[0]:
        grouped_by[by] = np.array([own.get(by, "") for own in further])
    return audit_of(hits, sorted_by, grouped_by)


def _raters(rows: Rows, mine: Rows) -> dict[str, np.ndarray]:
    """How far the references of each case lie apart, where cases have several."""
    sizes: dict[str, list[int]] = {}
    for row in rows:
        sizes.setdefault(row.get("case_id", ""), []).append(row["n_foreground"])
    each = [sizes[row.get("case_id", "")] for row in mine]
    if max(map(len, each)) < 2 or "case_id" not in mine[0]:
        return {}
    least, most = (np.array([fn(own) for own in each]) for fn in (min, max))
    return {"rater_disagreement": disagreement(least, most)}
