"""Cases in memory, column by column: what the arrays of a call say of each case."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from coverax.checks import as_list, as_names, as_weights, check_lengths
from coverax.table.columns import FOLD


@dataclass(frozen=True, slots=True)
class ArrayCases:
    """Cases in memory, column by column, one entry a case each.

    Attributes:
        probs: Maps.
        labels: References.
        valid: Masks of the voxels that count; None where all do.
        spacing_mm: Voxel edges; None where they are not known.
        voxel_volume_ml: Volumes; NaN where they are not known.
        about: `case_id`, `unit`, `group`, `weight` and `rater` of each case, and `fold`
            where they have one.
    """

    probs: list[Any]
    labels: list[Any]
    valid: list[Any]
    spacing_mm: list[Any]
    voxel_volume_ml: list[float]
    about: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        probs: Any,
        labels: Any,
        *,
        valid: Any,
        spacing_mm: Any,
        voxel_volume_ml: Any,
        case_ids: Any,
        units: Any,
        groups: Any,
        weights: Any,
        raters: Any,
        folds: Any = None,
    ) -> "ArrayCases":
        """Check the columns and take them by position.

        Raises:
            TypeError: A column is no sequence, or holds what it cannot hold.
            ValueError: The lengths differ, a case occurs twice, or the rows of one case
                differ in more than the rater.
        """
        maps = as_list(probs, "probs")
        n = len(maps)
        ids = [f"case_{i}" for i in range(n)]
        if case_ids is not None:
            ids = as_names(case_ids, "case_ids")
        columns: dict[str, list[Any]] = {
            "labels": as_list(labels, "labels"),
            "valid": [None] * n if valid is None else as_list(valid, "valid"),
            "case_ids": ids,
            "units": ids if units is None else as_names(units, "units"),
            "groups": [""] * n if groups is None else as_names(groups, "groups"),
            "weights": [1.0] * n if weights is None else as_weights(weights),
            "raters": [""] * n if raters is None else as_names(raters, "raters"),
            "folds": [""] * n if folds is None else as_names(folds, "folds"),
            "spacing_mm": spacings_of(spacing_mm, n),
            "voxel_volume_ml": _volumes(voxel_volume_ml, n),
        }
        check_lengths(columns, n)
        named = ("case_ids", "units", "groups", "weights", "raters")
        about: list[dict[str, Any]] = [
            dict(zip(("case_id", "unit", "group", "weight", "rater"), row, strict=True))
            for row in zip(*(columns[name] for name in named), strict=True)
        ]
        if folds is not None:
            for row, fold in zip(about, columns["folds"], strict=True):
                row[FOLD] = fold
        _check_unique(about)
        return cls(
            maps,
            columns["labels"],
            columns["valid"],
            columns["spacing_mm"],
            columns["voxel_volume_ml"],
            about,
        )


def spacings_of(spacing_mm: Any, n: int) -> list[Any]:
    """Voxel edges of each case: one row for all, or a row a case."""
    if spacing_mm is None:
        return [None] * n
    rows = np.asarray(as_list(spacing_mm, "spacing_mm"), np.float64)
    return list(rows) if rows.ndim == 2 else [rows] * n


def _volumes(voxel_volume_ml: Any, n: int) -> list[float]:
    """Volumes, one for all or one a case; NaN is unknown."""
    alone = np.ndim(voxel_volume_ml) == 0
    values = [voxel_volume_ml] * n if alone else as_list(voxel_volume_ml, "volumes")
    volumes = [float(value) for value in values]
    wrong = [v for v in volumes if not np.isnan(v) and not 0 < v < np.inf]
    if wrong:
        raise ValueError(
            f"voxel_volume_ml must be positive, or NaN where unknown, got {wrong[0]}"
        )
    return volumes


def _check_unique(about: list[dict[str, Any]]) -> None:
    """The rows of a case are of different raters, and differ in nothing else."""
    if len({(row["case_id"], row["rater"]) for row in about}) < len(about):
        raise ValueError("case_ids must differ, or the raters of a case")
    first: dict[str, dict[str, Any]] = {}
    for row in about:
        known = first.setdefault(row["case_id"], row)
        if known | {"rater": row["rater"]} != row:
            raise ValueError(
                f"the rows of case {row['case_id']} differ in unit, group or weight"
            )
