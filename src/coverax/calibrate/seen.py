"""What has been looked at: units, cases and maps, recognisable without their names.

Names alone do not tell that a patient was seen: the same files may come with units in
one cohort and without in another, or under new names. So case ids and fingerprints of
maps are kept beside units, and any of the three is enough.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from coverax.files import digest_ids
from coverax.provenance import (
    check_no_copies,
    check_parts,
    known_column,
)


class Seen(NamedTuple):
    """Digests, sorted; none of a kind that was not recorded.

    Attributes:
        units: Of what is exchangeable.
        cases: Of the case ids of these units.
        maps: Of their maps; constant maps have none.
    """

    units: tuple[str, ...]
    cases: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()

    def __or__(self, other: "Seen") -> "Seen":
        """What either has seen."""
        pairs = zip(self, other, strict=True)
        return Seen(*(tuple(sorted({*mine, *more})) for mine, more in pairs))

    def check_apart(self, other: "Seen", did: str = "choose transforms") -> None:
        """Refuse units, cases or maps that these were, which chose something.

        Args:
            other: What is to calibrate.
            did: What these were used to do.

        Raises:
            ValueError: Some of them were.
        """
        for what, mine, theirs in zip(self._fields, self, other, strict=True):
            n_shared = len(set(mine) & set(theirs))
            if n_shared:
                raise ValueError(
                    f"{n_shared} of {len(theirs)} calibration {what} were used to "
                    f"{did}; a choice made on them voids the guarantee: calibrate "
                    "on other units"
                )

    def units_among(
        self,
        units: Iterable[Any],
        case_ids: Iterable[Any],
        fingerprints: Iterable[int],
    ) -> set[str]:
        """Those units of which the unit, a case or a map has been seen.

        Args:
            units: One a row.
            case_ids: One a row.
            fingerprints: One a row; 0 where it is not known.
        """
        known = [set(mine) for mine in self]
        rows = zip(units, case_ids, fingerprints, strict=True)
        return {
            str(unit)
            for unit, case_id, mark in rows
            if _short(unit) in known[0]
            or _short(case_id) in known[1]
            or (mark and map_digest(mark) in known[2])
        }


def unit_digests(units: Iterable[str]) -> tuple[str, ...]:
    """Short hashes of units, sorted: recognisable, but no list of names."""
    return tuple(sorted({_short(unit) for unit in units}))


def map_digest(fingerprint: int) -> str:
    """A fingerprint as text."""
    return f"{int(fingerprint):016x}"


def seen_of(table: Any, units: Iterable[Any], unit_column: str) -> Seen:
    """Digests of these units of a table, with all their cases and maps."""
    used = {str(unit) for unit in units}
    mine = np.isin(table.units(unit_column).astype(str), list(used))
    fingerprints = known_column(table, "map_fingerprint")
    marks: list[int] = [] if fingerprints is None else fingerprints[mine].tolist()
    return Seen(
        unit_digests(used),
        unit_digests(map(str, table.column("case_id")[mine])),
        tuple(sorted({map_digest(mark) for mark in marks if mark})),
    )


def check_sources(table: Any, unit_column: str, *, allowed: Sequence[str] = ()) -> None:
    """Refuse cases that a model has learned from, and one map under several names.

    Args:
        table: A score table; what it does not hold is not checked.
        unit_column: What is exchangeable.
        allowed: Parts that may occur all the same.

    Raises:
        ValueError: Something was learned from cases, or units share a map.
    """
    parts = known_column(table, "part")
    if parts is not None:
        part_of = dict(zip(table.column("case_id"), parts, strict=True))
        check_parts(part_of.values(), allowed=allowed)
    fingerprints = known_column(table, "map_fingerprint")
    if fingerprints is not None:
        check_no_copies(
            table.column("case_id"),
            table.units(unit_column),
            table.column("region"),
            fingerprints.tolist(),
            allow=getattr(table.definition, "allow_duplicates", False),
        )


def _short(name: Any) -> str:
    return digest_ids([str(name)])[:12]
