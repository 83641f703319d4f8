"""Where a promise fails: compliance by size, uncertainty and group, a diagnostic.

A promise over all new cases says nothing of the large ones, or of those of one site. What is
counted here shows where failures gather; the true size of a case is known only with its
reference, so that no threshold can be made of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coverax.calibrate import bounds
from coverax.files import JsonRecord

LEVEL, _HALF = 0.95, "0.025"
MEANING = "a diagnostic, not a promise"
# Whether a row complies, by the kind of its evaluation; the first that it has.
_COMPLIES = ("calibrated_complies", "joint_covered", "covered", "floor_covered")
# What cases are sorted by, into thirds.
_SORTED = ("n_foreground", "n_lesions", "uncertainty")
_THIRDS = 3


@dataclass(frozen=True, slots=True)
class AuditPart(JsonRecord):
    """Compliance of one part of the cases.

    Attributes:
        by: What the cases are sorted by.
        part: A third, or the name of a group.
        from_value: Least value of a third; None for a group.
        to_value: Largest value of a third; None for a group.
        n: Cases.
        n_compliant: Those that comply.
        share: Their share.
        low: Clopper-Pearson band of the true share, for independent units.
        high: Its other end.
    """

    by: str
    part: str
    from_value: float | None
    to_value: float | None
    n: int
    n_compliant: int
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Audit(JsonRecord):
    """Where failures gather.

    Attributes:
        meaning: That it promises nothing.
        level: Of the bands.
        parts: Thirds and groups.
    """

    meaning: str
    level: float
    parts: Sequence[AuditPart]


def audit(rows: list[dict[str, Any]]) -> list[AuditPart]:
    """Compliance of thirds and groups of the cases of one region that count.

    Args:
        rows: The table of an evaluation.

    Returns:
        Its parts; none where no case complies or fails by itself (a mean is controlled),
        or none counts.
    """
    mine = [row for row in rows if row["counted"]]
    name = next((n for n in _COMPLIES if mine and mine[0].get(n) is not None), None)
    if name is None:
        return []
    hits = np.array([row[name] for row in mine], bool)
    return [
        AuditPart(**about, **_counts(hits[members]))
        for about, members in (*_thirds(mine), *_groups(mine))
    ]


def audited(rows: list[dict[str, Any]]) -> Audit | None:
    """What a summary says of its audit; None where there is none."""
    found = audit(rows)
    return Audit(MEANING, LEVEL, found) if found else None


def _thirds(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Thirds by value: equal values stay together, so that a part may be empty."""
    for name in _SORTED:
        if name not in rows[0]:
            continue
        values = np.array([row[name] for row in rows], float)
        ranked = np.sort(values)
        edges = [ranked[-(-k * len(rows) // _THIRDS) - 1] for k in (1, 2)]
        place = np.searchsorted(edges, values, side="left")
        for k in range(_THIRDS):
            members = place == k
            if members.any():
                own = values[members]
                ends = {"from_value": float(own.min()), "to_value": float(own.max())}
                yield {"by": name, "part": f"third {k + 1}"} | ends, members


def _groups(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    groups = np.array([str(row["group"]) for row in rows])
    names = sorted(set(groups.tolist()))
    for name in names if len(names) > 1 else []:
        ends = {"from_value": None, "to_value": None}
        yield {"by": "group", "part": name} | ends, groups == name


def _counts(hits: np.ndarray) -> dict[str, Any]:
    low = 1 - bounds.clopper_pearson((~hits).astype(float), _HALF)
    high = bounds.clopper_pearson(hits.astype(float), _HALF)
    return {
        "n": hits.size,
        "n_compliant": int(hits.sum()),
        "share": float(hits.mean()),
        "low": float(low),
        "high": float(high),
    }
