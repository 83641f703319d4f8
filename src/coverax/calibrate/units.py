"""Which rows of a table count: empty references, and one case a unit."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from coverax.calibrate.policy import DEFAULT_POLICY, Policy
from coverax.calibrate.raters import draw_one, settle_raters
from coverax.choices import EmptyPolicy
from coverax.shown import plural
from coverax.table import FOLD, ScoreTable


class Kept(NamedTuple):
    """Rows that count, and the cases that do not, by reason.

    Attributes:
        rows: One row of each case that counts.
        references: All its rows that count, where it has several references.
        excluded: Reason to case ids.
    """

    rows: Bool[np.ndarray, " rows"]
    references: Bool[np.ndarray, " rows"]
    excluded: dict[str, tuple[str, ...]]


def keep_rows(
    table: ScoreTable,
    region: str,
    policy: Policy = DEFAULT_POLICY,
    *,
    none_too: bool = False,
) -> Kept:
    """Rows of a region that calibrate: references settled, one case a unit.

    Args:
        table: The score table.
        region: Its region.
        policy: Which rows count; groups play no part here.
        none_too: Give no rows where every reference is empty, instead of raising.

    Raises:
        ValueError: References are empty under `refuse` or all of them are, a unit owns
            several cases and no draw was asked for, a case has several references and
            no rule was named, or the maps are of several models.
    """
    check_one_model(table)
    empty, seed = policy.empty, policy.seed
    if empty not in ("exclude", "include", "refuse"):
        raise ValueError(f"empty must be exclude, include or refuse, got {empty!r}")
    case_ids, units = table.column("case_id"), table.units(policy.unit_column)
    of_region = table.column("region") == region
    references = settle_raters(
        case_ids, table.column("rater"), of_region, policy.raters, seed
    )
    references, excluded = _put_empty_aside(table, region, references, empty)
    if not (references.any() or none_too):
        raise ValueError(all_empty(region, excluded))
    rows = np.zeros(len(case_ids), bool)
    ids = case_ids[references]
    if ids.size:
        _, first = np.unique(ids.astype(str), return_index=True)
        rows[np.flatnonzero(references)[first]] = True
    n_units = len(set(check_units(units[rows])))
    if n_units < rows.sum() and policy.per_unit != "all":
        if policy.per_unit is None:
            raise ValueError(_several_cases(region, case_ids[rows], units[rows]))
        drawn = rows & draw_one_per_unit(case_ids, units, rows, seed)
        excluded["not_drawn"] = tuple(case_ids[rows & ~drawn])
        rows = drawn
    return Kept(rows, references & np.isin(case_ids, case_ids[rows]), excluded)


def check_one_model(table: ScoreTable) -> None:
    """Refuse scores of different models in one ranking: they are not exchangeable.

    Raises:
        ValueError: The maps are of several folds.
    """
    if FOLD not in table.columns:
        return
    names = sorted({str(name) for name in table.column(FOLD)})
    if len(names) > 1:
        raise ValueError(
            f"the table has maps of {len(names)} folds ({_some(np.array(names))}), each "
            "of a model of its own, and one ranking of them all promises nothing: "
            "calibrate with --folds (methods sets, crc, fnr), or leave the column fold "
            "out of the cohort if all maps are of one model"
        )


def all_empty(region: str, excluded: Mapping[str, tuple[str, ...]]) -> str:
    """Why a region has no case that counts."""
    n_empty = len(excluded.get("empty_reference", ()))
    return f"region {region}: all {n_empty} references are empty"


def _put_empty_aside(
    table: ScoreTable,
    region: str,
    references: Bool[np.ndarray, " rows"],
    empty: EmptyPolicy,
) -> tuple[Bool[np.ndarray, " rows"], dict[str, tuple[str, ...]]]:
    """References that count under the policy, and the cases without any that does."""
    case_ids = table.column("case_id")
    is_empty = references & (table.column("n_foreground") == 0)
    if empty == "include" or not is_empty.any():
        return references, {}
    if empty == "refuse":
        raise ValueError(
            f"region {region}: {is_empty.sum()} references are empty: "
            f"{_some(case_ids[is_empty])}"
        )
    kept = references & ~is_empty
    still = set(case_ids[kept])
    ids = dict.fromkeys(case_ids[is_empty])
    excluded = {
        "empty_reference": tuple(i for i in ids if i not in still),
        "empty_reference_of_a_rater": tuple(i for i in ids if i in still),
    }
    return kept, {why: which for why, which in excluded.items() if which}


def check_units(units: np.ndarray) -> list[object]:
    """Units as a list.

    Raises:
        ValueError: A unit is missing (None, NaN or an empty name).
    """
    names = list(units)
    missing = [i for i, u in enumerate(names) if u is None or u == "" or u != u]
    if missing:
        raise ValueError(
            f"{plural(len(missing), 'case', 'has', 'have')} no unit, the first at "
            f"{missing[0]}; what is exchangeable must be known for every case"
        )
    return names


def draw_one_per_unit(
    case_ids: np.ndarray,
    units: np.ndarray,
    kept: Bool[np.ndarray, " rows"],
    seed: int,
) -> Bool[np.ndarray, " rows"]:
    """Mark the kept case of highest priority in each unit."""
    return draw_one(case_ids, units, kept, seed)


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
