"""Where a promise fails: compliance by size, uncertainty and group, a diagnostic.

A promise over all new cases says nothing of the large ones, or of those of one site. What is
counted here shows where failures gather; the true size of a case is known only with its
reference, so that no threshold can be made of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from coverax.calibrate import bounds
from coverax.files import Json, JsonRecord

LEVEL, _HALF = 0.95, "0.025"
MEANING = "a diagnostic, not a promise"
_THIRDS = 3
# A column with fewer cases a value than this, on average, names cases and not groups.
_LEAST_OF_GROUP = 2


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


def audit_of(
    hits: Bool[np.ndarray, " cases"],
    sorted_by: Mapping[str, np.ndarray],
    grouped_by: Mapping[str, np.ndarray],
) -> Audit | None:
    """Compliance of thirds and groups of cases; None where there are none.

    Args:
        hits: Whether each case complies.
        sorted_by: Numbers of the cases, by name: thirds of each.
        grouped_by: Text of the cases, by name: a part for each value, where there are
            several and at least two cases to each on average.
    """
    members = [
        *(part for name, v in sorted_by.items() for part in _thirds(name, v)),
        *(part for name, v in grouped_by.items() for part in _groups(name, v)),
    ]
    parts = [AuditPart(**about, **_counts(hits[mine])) for about, mine in members]
    return Audit(MEANING, LEVEL, parts) if parts else None


def disagreement(smallest: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """How far volumes of several references of a case lie apart: 1 - smallest / largest."""
    out = np.zeros(len(largest))
    np.divide(largest - smallest, largest, out=out, where=largest > 0)
    return out


def _thirds(name: str, values: np.ndarray) -> Iterator[tuple[Json, np.ndarray]]:
    """Thirds by value: equal values stay together, so that a part may be empty."""
    values = np.asarray(values, float)
    ranked = np.sort(values)
    edges = [ranked[-(-k * values.size // _THIRDS) - 1] for k in (1, 2)]
    place = np.searchsorted(edges, values, side="left")
    for k in range(_THIRDS):
        members = place == k
        if members.any():
            own = values[members]
            ends = {"from_value": float(own.min()), "to_value": float(own.max())}
            yield {"by": name, "part": f"third {k + 1}"} | ends, members


def _groups(name: str, values: np.ndarray) -> Iterator[tuple[Json, np.ndarray]]:
    groups = np.array([str(value) for value in values])
    names = sorted(set(groups.tolist()))
    are_groups = 1 < len(names) <= groups.size / _LEAST_OF_GROUP
    for group in names if are_groups else []:
        ends = {"from_value": None, "to_value": None}
        yield {"by": name, "part": group} | ends, groups == group


def _counts(hits: np.ndarray) -> Json:
    low = 1 - bounds.clopper_pearson((~hits).astype(float), _HALF)
    high = bounds.clopper_pearson(hits.astype(float), _HALF)
    return {
        "n": hits.size,
        "n_compliant": int(hits.sum()),
        "share": float(hits.mean()),
        "low": float(low),
        "high": float(high),
    }
