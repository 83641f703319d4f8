"""Which rows of a table count: empty references, and one case a unit."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

EmptyPolicy = Literal["exclude", "include", "refuse"]


@runtime_checkable
class Table(Protocol):
    """What calibration needs of a score table."""

    @property
    def excluded(self) -> Mapping[str, tuple[str, ...]]:
        """Reason to case ids."""
        ...

    @property
    def cases_digest(self) -> str:
        """SHA-256 of the case ids."""
        ...

    @property
    def tolerances(self) -> tuple[float, ...]:
        """Tolerances the table holds scores for."""
        ...

    @property
    def definition(self) -> Any:
        """What the scores mean; has `to_json`."""
        ...

    def column(self, name: str) -> np.ndarray:
        """A column as an array."""
        ...

    def critical_probability(self, tolerance: float) -> np.ndarray:
        """Critical probabilities at a tolerance."""
        ...


class CurveTable(Table, Protocol):
    """A score table with loss curves."""

    def grid_curves(self) -> Any:
        """Counts at the fixed grid: `cuts`, `n_predicted`, `n_true_positive`."""
        ...


class Kept(NamedTuple):
    """Rows that count, and the cases that do not, by reason."""

    rows: Bool[np.ndarray, " rows"]
    excluded: dict[str, tuple[str, ...]]


def keep_rows(
    table: Table,
    region: str,
    *,
    empty: EmptyPolicy = "exclude",
    unit_column: str = "unit",
    per_unit: Literal["one", "all"] | None = None,
    seed: int = 0,
) -> Kept:
    """Rows of a region that calibrate: references settled, one case a unit.

    Args:
        table: The score table.
        region: Its region.
        empty: What an empty reference does: `exclude` (the guarantee speaks of cases
            with foreground), `include` (score -inf, always served), `refuse`.
        unit_column: Column that names what is exchangeable.
        per_unit: `one` draws one case of each unit; `all` keeps every case, for methods
            that weigh units; None refuses several.
        seed: Of the draw. It gives every case id a fixed priority, so the draw depends
            neither on the order of the table nor on the scores.

    Raises:
        ValueError: References are empty under `refuse` or all of them are, or a unit
            owns several cases and no draw was asked for.
    """
    if empty not in ("exclude", "include", "refuse"):
        raise ValueError(f"empty must be exclude, include or refuse, got {empty!r}")
    case_ids, units = table.column("case_id"), table.column(unit_column)
    kept = table.column("region") == region
    is_empty = kept & (table.column("n_foreground") == 0)
    excluded: dict[str, tuple[str, ...]] = {}
    if is_empty.any() and empty == "refuse":
        raise ValueError(
            f"region {region}: {is_empty.sum()} references are empty: "
            f"{_some(case_ids[is_empty])}"
        )
    if empty == "exclude":
        if is_empty.any() and not (kept & ~is_empty).any():
            raise ValueError(f"region {region}: all {kept.sum()} references are empty")
        kept &= ~is_empty
        if is_empty.any():
            excluded["empty_reference"] = tuple(case_ids[is_empty])
    n_units = len(set(check_units(units[kept])))
    if n_units < kept.sum() and per_unit != "all":
        if per_unit is None:
            raise ValueError(_several_cases(region, case_ids[kept], units[kept]))
        drawn = kept & draw_one_per_unit(case_ids, units, kept, seed)
        excluded["not_drawn"] = tuple(case_ids[kept & ~drawn])
        kept = drawn
    return Kept(kept, excluded)


def check_units(units: np.ndarray) -> list[object]:
    """Units as a list.

    Raises:
        ValueError: A unit is missing (None, NaN or an empty name).
    """
    names = list(units)
    missing = [i for i, u in enumerate(names) if u is None or u == "" or u != u]
    if missing:
        raise ValueError(
            f"{len(missing)} cases have no unit, the first at {missing[0]}; what is "
            "exchangeable must be known for every case"
        )
    return names


def draw_one_per_unit(
    case_ids: np.ndarray,
    units: np.ndarray,
    kept: Bool[np.ndarray, " rows"],
    seed: int,
) -> Bool[np.ndarray, " rows"]:
    """Mark the kept case of highest priority in each unit."""
    ids = sorted(set(case_ids))
    order = np.random.default_rng(seed).permutation(len(ids))
    priority = {case_id: int(order[i]) for i, case_id in enumerate(ids)}
    best: dict[str, int] = {}
    for row in np.flatnonzero(kept):
        unit = units[row]
        if unit not in best or priority[case_ids[row]] < priority[case_ids[best[unit]]]:
            best[unit] = int(row)
    drawn = np.zeros(len(case_ids), bool)
    drawn[list(best.values())] = True
    return drawn


def _several_cases(region: str, case_ids: np.ndarray, units: np.ndarray) -> str:
    names, counts = np.unique(units.astype(str), return_counts=True)
    worst = names[counts.argmax()]
    return (
        f"region {region}: {len(names)} units own {len(case_ids)} cases (unit {worst} "
        f"owns {counts.max()}: {_some(case_ids[units == worst])}). Cases of one unit "
        "are not exchangeable with those of another, so counting each as independent "
        "loses the guarantee; per_unit='one' (--per-unit one) draws one a unit, 'all' "
        "weighs each unit the same"
    )


def _some(names: np.ndarray, most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more
