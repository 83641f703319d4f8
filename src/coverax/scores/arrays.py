"""Arrays in memory to views: checked as files are, class axes declared, never pooled."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from coverax.checks import (
    as_array,
    as_labels,
    as_list,
    as_map,
    as_mask,
    as_names,
    as_weights,
    check_labels,
    check_lengths,
    check_probabilities,
)
from coverax.engine.spacing import batched_spacing
from coverax.scores.batch import Loaded, View
from coverax.scores.bins import check_sums, softmax_columns
from coverax.scores.stream import foreground
from coverax.table.columns import FOLD
from coverax.table.definition import ScoreDefinition
from coverax.tolerance import SUM_ROUNDING, sum_slack
from coverax.volumes import Grid, Region, join_channels, map_content, parse_regions

CLASS_AXES = ("first", "last")
_MAX_AXES = 3
_HINT = (
    'a class axis is declared by channels="first" or "last", with regions '
    '("liver=1:1", ...)'
)


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
            "spacing_mm": _spacings(spacing_mm, n),
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


def array_view(region: Region, probs: Any, spacing_mm: Any = None) -> View:
    """A map in memory as a view of its region, without a reference.

    Raises:
        ValueError: A value is no probability.
    """
    values = as_map(probs)
    check_probabilities(values)
    flat = values.reshape(-1)
    grid = _grid(spacing_mm, values.shape)
    return View(region, flat, np.zeros(flat.shape, bool), None, grid)


def array_regions(
    regions: Iterable[Region | str] | Region | str | None, name: str
) -> tuple[Region, ...]:
    """The regions asked for; without any one of that name, of references of 0 and 1.

    Raises:
        ValueError: A spec is malformed, names are not unique, or `region` is given too.
    """
    if regions is None:
        return (Region(name, (0,), (1,)),)
    if name != "foreground":
        raise ValueError("regions have their own names: leave region out")
    alone = isinstance(regions, Region | str)
    each = [regions] if alone else as_list(regions, "regions")
    if not each:
        raise ValueError("regions is empty; leave it out for references of 0 and 1")
    return parse_regions([str(one) for one in each])


def check_channels(channels: str | None, definition: ScoreDefinition) -> None:
    """Refuse a declaration of the class axis that the regions do not fit.

    Args:
        channels: Where the class axis is; None for maps without one.
        definition: The regions.

    Raises:
        ValueError: They contradict each other.
    """
    if channels not in (None, *CLASS_AXES):
        raise ValueError(f'channels must be "first", "last" or None, got {channels!r}')
    if channels is None and (definition.softmax or definition.channels != (0,)):
        raise ValueError(
            'regions of several classes, or a softmax, need channels="first" or "last"'
        )


def load_arrays(
    cases: ArrayCases,
    i: int,
    definition: ScoreDefinition,
    channels: str | None,
    *,
    declared: bool,
) -> Loaded:
    """Check the arrays of a case and cut out its regions.

    Args:
        cases: All cases.
        i: Which of them.
        definition: What to score.
        channels: Where the class axis of maps is.
        declared: Whether the user named regions: labels of others are background then.

    Raises:
        TypeError: An array holds text, or a map is not of a float type.
        ValueError: Values, labels or shapes are not what they must be.
    """
    reference = as_array(cases.labels[i], "labels")
    _check_swapped(cases.probs[i], reference)
    values = as_map(cases.probs[i])
    reference = as_labels(reference, ignore_label=definition.ignore_label)
    classes, labels = _classes(values, reference, channels)
    _check_n_channels(len(classes), definition, declared=declared)
    ignore = definition.ignore_label
    expected = {label for region in definition.regions for label in region.labels}
    every = declared and not definition.softmax
    check_labels(labels, "labels", None if every else sorted(expected), ignore)
    valid = _valid(cases.valid[i], labels, ignore)
    is_sound = classes.size > 0 and classes.min() >= 0 and classes.max() <= 1
    if valid is not None and not definition.is_spatial and not is_sound:
        # What does not count need hold no number, but a transform looks at every voxel.
        # A sound map stays as it is, as one of a file does.
        classes = np.where(valid.reshape(labels.shape), classes, np.float32(0))
    check_probabilities(classes)
    shape, flat = labels.shape, labels.reshape(-1)
    rows = classes[list(definition.channels)].reshape(len(definition.channels), -1)
    row_of = dict(zip(definition.channels, rows, strict=True))
    grid = _grid(cases.spacing_mm[i], shape)
    views = [
        View(
            region,
            _map_of(region, row_of),
            foreground(flat, region, ignore),
            valid,
            grid,
        )
        for region in definition.regions
    ]
    facts: dict[str, Any] = {
        "voxel_volume_ml": cases.voxel_volume_ml[i],
        "overshoot": 0.0,
        "content": {v.region.name: map_content(v.probs, shape) for v in views},
    }
    if definition.softmax:
        check_sums(rows, "probs", sum_slack(len(rows)), valid)
        masks = [view.labels for view in views[: len(definition.classes)]]
        facts["softmax"] = softmax_columns(
            rows, masks, valid, definition.n_bins, definition.n_soft_bins
        )
    return Loaded(facts, views)


def _map_of(region: Region, row_of: dict[int, np.ndarray]) -> np.ndarray:
    rows = [row_of[channel] for channel in region.channels]
    return join_channels(rows, region, "probs", sum_slack(len(rows))[1])


def _classes(
    values: np.ndarray, labels: np.ndarray, channels: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[classes, *spatial]` and the reference, `[*spatial]`."""
    if channels is None:
        _check_undeclared(values, labels)
        return values[None], labels
    if values.ndim < 2:
        raise ValueError(f"probs has shape {values.shape}: no axis of classes")
    axis = 0 if channels == "first" else -1
    classes = np.moveaxis(values, axis, 0)
    if labels.ndim == values.ndim:
        one_hot = np.moveaxis(labels, axis, 0)
        if one_hot.shape == classes.shape and len(classes) > 1:
            return classes, _labels_of_one_hot(one_hot)
        labels = one_hot[0] if len(one_hot) == 1 else labels
    if labels.shape != classes.shape[1:]:
        raise ValueError(
            f"labels have shape {labels.shape}, probs {values.shape} with the classes "
            f"{channels}"
        )
    return classes, labels


def _check_undeclared(values: np.ndarray, labels: np.ndarray) -> None:
    """Refuse maps that have, or seem to have, an axis of classes."""
    if values.shape != labels.shape:
        inside = labels.shape in (values.shape[1:], values.shape[:-1])
        hint = f"; {_HINT}" if inside or values.ndim > _MAX_AXES else ""
        raise ValueError(
            f"labels have shape {labels.shape}, probs {values.shape}{hint}"
        )
    if values.ndim > _MAX_AXES:
        raise ValueError(f"probs has shape {values.shape}, more than 3 axes; {_HINT}")
    n_foreground = np.count_nonzero(labels)
    for axis in {0, values.ndim - 1} if values.ndim > 1 else ():
        n = values.shape[axis]
        # As many foreground voxels as one-hot references have: then look closer.
        if n < 2 or n_foreground * n != labels.size:
            continue
        if (labels.sum(axis) == 1).all() and np.allclose(
            values.sum(axis), 1, atol=SUM_ROUNDING
        ):
            raise ValueError(
                f"probs and labels, of shape {values.shape}, sum to 1 along axis {axis} "
                f"everywhere, as classes do; {_HINT}"
            )


def _labels_of_one_hot(one_hot: np.ndarray) -> np.ndarray:
    """The class of each voxel; class 0 is the background."""
    if not (one_hot <= 1).all() or not (one_hot.sum(axis=0, dtype=np.int64) == 1).all():
        raise ValueError(
            f"labels of shape {one_hot.shape} (classes first) are no one-hot reference: "
            "each voxel belongs to exactly one class, the background is the first; or "
            "give one label a voxel"
        )
    return one_hot.argmax(axis=0).astype(np.int32)


def _check_n_channels(n: int, definition: ScoreDefinition, *, declared: bool) -> None:
    if n > 1 and not declared:
        raise ValueError(
            f'probs has {n} classes; name regions, as in regions=["liver=1:1"]'
        )
    if definition.channels[-1] >= n:
        raise ValueError(
            f"probs has {n} classes, the regions need class {definition.channels[-1]}"
        )
    if definition.softmax and n != len(definition.channels):
        raise ValueError(
            f"probs has {n} classes, the softmax {len(definition.channels)}, the "
            "background included"
        )


def _check_swapped(probs: Any, labels: np.ndarray) -> None:
    """Name arguments in the wrong order as such: fractions for labels, none in the map."""
    if labels.dtype.kind != "f":
        return
    low, high = labels.min(initial=0), labels.max(initial=0)
    if low >= 0 and high <= 1 and (labels != np.rint(labels)).any():
        values = as_array(probs, "probs")
        if (values == np.rint(values)).all():
            raise ValueError(
                "labels holds fractions and probs whole numbers: the map comes first, "
                "then the reference"
            )


def _valid(valid: Any, labels: np.ndarray, ignore: int | None) -> np.ndarray | None:
    """Voxels that count, flat; None where all do."""
    counted = None if ignore is None else (labels != ignore).reshape(-1)
    if valid is None:
        return counted
    mask = as_mask(valid, "valid")
    if mask.shape != labels.shape:
        raise ValueError(f"valid has shape {mask.shape}, labels {labels.shape}")
    flat = mask.reshape(-1)
    return flat if counted is None else flat & counted


def _grid(spacing_mm: Any, shape: tuple[int, ...]) -> Grid | None:
    if spacing_mm is None:
        return None
    # Flat in C order, the last axis runs fastest: it is the grid's first.
    spacing = batched_spacing(spacing_mm, (1, *shape))[0].astype(np.float64)
    affine = np.diag([*[*spacing[::-1], 1.0, 1.0, 1.0][:3], 1.0])
    return Grid(shape[::-1], affine)


def _spacings(spacing_mm: Any, n: int) -> list[Any]:
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
