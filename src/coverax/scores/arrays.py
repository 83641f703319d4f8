"""Arrays in memory to views: checked as files are, class axes declared, never pooled."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np

from coverax.checks import (
    as_array,
    as_labels,
    as_list,
    as_map,
    as_mask,
    check_labels,
    check_probabilities,
    check_shape,
)
from coverax.engine.spacing import batched_spacing
from coverax.scores.array_cases import ArrayCases
from coverax.scores.batch import Loaded, View
from coverax.scores.bins import check_sums, softmax_columns
from coverax.scores.stream import foreground
from coverax.table.definition import ScoreDefinition
from coverax.tolerance import MAX_OVERSHOOT, SUM_ROUNDING, range_slack, sum_slack
from coverax.volumes import Grid, Region, join_channels, map_content, parse_regions

CLASS_AXES = ("first", "last")
Order = Literal["C", "F"]
_MAX_AXES = 3
_HINT = (
    'an axis of classes comes with regions ("liver=1:1", ...), and is the last one '
    'unless channels="first" says otherwise'
)


def array_view(region: Region, probs: Any, spacing_mm: Any = None) -> View:
    """A map in memory as a view of its region, without a reference; as `axis_order` F.

    Raises:
        ValueError: A value is no probability.
    """
    values = as_map(probs)
    check_probabilities(values)
    flat = values.reshape(-1, order="F")
    grid = _grid(spacing_mm, values.shape, "F")
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


def class_axis(channels: str | None, definition: ScoreDefinition) -> str | None:
    """Where the classes of a map in memory are: as it is said, or last.

    Args:
        channels: What the user says: `first`, `last`, or nothing.
        definition: The regions; those of one class alone need no axis.

    Returns:
        None for maps without such an axis.

    Raises:
        ValueError: `channels` is another word.
    """
    if channels not in (None, *CLASS_AXES):
        raise ValueError(f'channels must be "first", "last" or None, got {channels!r}')
    several = definition.softmax or definition.channels != (0,)
    return "last" if several and channels is None else channels


def axis_order(definition: ScoreDefinition) -> Order:
    """Which axis runs fastest in views of arrays.

    As in files the first one where neighbours matter: smoothing rounds otherwise along
    other axes. Elsewhere the order changes nothing, and arrays lie as they are.
    """
    return "F" if definition.needs_mm else "C"


def map_views(
    probs: Any,
    definition: ScoreDefinition,
    *,
    channels: str | None = None,
    spacing_mm: Any = None,
) -> tuple[list[View], tuple[int, ...]]:
    """A map in memory as the views of its regions, without a reference.

    Args:
        probs: The map, with an axis of classes where `channels` says so.
        definition: The regions, and what was allowed of maps.
        channels: As `class_axis` gives it.
        spacing_mm: Voxel edges; None where they are not known.

    Returns:
        The views, and the shape of each.

    Raises:
        TypeError: The map is not of a float type.
        ValueError: A value is no probability, or the classes are not those of a map
            that was calibrated on.
    """
    values = as_map(probs)
    if channels is None and values.ndim > _MAX_AXES:
        raise ValueError(f"probs has shape {values.shape}, more than 3 axes; {_HINT}")
    classes = _class_maps(values, channels)
    _check_kind(None if channels is None else len(classes), definition)
    _check_n_channels(len(classes), definition, declared=True)
    classes = _in_range(classes, definition)
    shape = classes.shape[1:]
    order = axis_order(definition)
    rows, grid = _rows_of(classes, definition), _grid(spacing_mm, shape, order)
    nothing = np.zeros(classes[0].size, bool)
    return [
        View(region, _map_of(region, rows), nothing, None, grid)
        for region in definition.regions
    ], shape


def array_loader(
    cases: ArrayCases,
    definition: ScoreDefinition,
    channels: str | None,
    *,
    declared: bool,
) -> Callable[[int, Any], Loaded]:
    """What checks the arrays of a case, by its number, and cuts out its regions.

    Args:
        cases: All cases.
        definition: What to score.
        channels: Where the class axis of maps is, as `class_axis` gives it.
        declared: Whether the user named regions: labels of others are background then.

    Returns:
        A function that raises `ValueError` where values, labels or shapes are not what
        they must be.
    """

    def load(i: int, _buffers: Any) -> Loaded:
        try:
            return _load_arrays(cases, i, definition, channels, declared=declared)
        except TypeError as error:  # of the case, which is then named
            raise ValueError(str(error)) from None

    return load


def _load_arrays(
    cases: ArrayCases,
    i: int,
    definition: ScoreDefinition,
    channels: str | None,
    *,
    declared: bool,
) -> Loaded:
    """The regions of a case, with its reference."""
    reference = as_array(cases.labels[i], "labels")
    _check_swapped(cases.probs[i], reference)
    values = as_map(cases.probs[i])
    reference = as_labels(reference, ignore_label=definition.ignore_label)
    classes, labels = _with_reference(values, reference, channels)
    _check_kind(None if channels is None else len(classes), definition)
    _check_n_channels(len(classes), definition, declared=declared)
    ignore = definition.ignore_label
    expected = {label for region in definition.regions for label in region.labels}
    every = declared and not definition.softmax
    check_labels(labels, "labels", None if every else sorted(expected), ignore)
    counted = _valid(cases.valid[i], labels, ignore)
    is_sound = classes.size > 0 and classes.min() >= 0 and classes.max() <= 1
    if counted is not None and not definition.needs_whole_maps and not is_sound:
        # What does not count need hold no number, but some scores look at every voxel.
        # A sound map stays as it is, as one of a file does.
        classes = np.where(counted, classes, np.float32(0))
    classes = _in_range(classes, definition)
    order = axis_order(definition)
    flat = labels.reshape(-1, order=order)
    valid = None if counted is None else counted.reshape(-1, order=order)
    row_of = _rows_of(classes, definition)
    grid = _grid(cases.spacing_mm[i], labels.shape, order)
    shape = labels.shape if order == "C" else labels.shape[::-1]
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
        rows = np.stack(list(row_of.values()))
        check_sums(rows, "probs", sum_slack(len(rows)), valid)
        masks = [view.labels for view in views[: len(definition.classes)]]
        facts["softmax"] = softmax_columns(
            rows, masks, valid, definition.n_bins, definition.n_soft_bins
        )
    return Loaded(facts, views)


def _map_of(region: Region, row_of: dict[int, np.ndarray]) -> np.ndarray:
    rows = [row_of[channel] for channel in region.channels]
    return join_channels(rows, region, "probs", sum_slack(len(rows))[1])


def _check_kind(n_classes: int | None, definition: ScoreDefinition) -> None:
    """Refuse what is no map of the kind that files of a definition were.

    How their values were rounded on disk, and by which model they were made, no array
    tells.

    Args:
        n_classes: Length of the class axis; None where there is none.
        definition: Of the calibration.

    Raises:
        ValueError: The files had other classes, or held logits.
    """
    if definition.logits:
        raise ValueError(
            "the calibration is for files of logits, and arrays hold probabilities: "
            "calibrate on arrays, or predict from files"
        )
    kind = definition.map_kind
    if kind is not None and max(kind.n_channels, 1) != (n_classes or 1):
        raise ValueError(
            f"probs has {n_classes or 'no axis of'} classes, the calibration is for maps "
            f"with {kind.n_channels or 'no axis of'}"
        )


def _in_range(classes: np.ndarray, definition: ScoreDefinition) -> np.ndarray:
    """Probabilities; what leaves [0, 1] by rounding alone is the 0 or 1 it stands for.

    Raises:
        ValueError: There is NaN, or a value further outside than was allowed of files.
    """
    allowed = MAX_OVERSHOOT if definition.allow_overshoot else 0.0
    check_probabilities(classes, overshoot=max(allowed, range_slack()))
    over = max(-float(classes.min()), float(classes.max()) - 1)
    return np.clip(classes, 0, 1) if 0 < over <= range_slack() else classes


def _rows_of(classes: np.ndarray, definition: ScoreDefinition) -> dict[int, np.ndarray]:
    """The channels that the regions need, each flat."""
    order = axis_order(definition)
    return {c: classes[c].reshape(-1, order=order) for c in definition.channels}


def _class_maps(values: np.ndarray, channels: str | None) -> np.ndarray:
    """Maps `[classes, *spatial]`; one where there is no axis of classes."""
    if channels is None:
        return values[None]
    if values.ndim < 2:
        raise ValueError(f"probs has shape {values.shape}: no axis of classes")
    return np.moveaxis(values, 0 if channels == "first" else -1, 0)


def _with_reference(
    values: np.ndarray, labels: np.ndarray, channels: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Maps `[classes, *spatial]` and the reference, `[*spatial]`."""
    if channels is None:
        _check_undeclared(values, labels)
    classes = _class_maps(values, channels)
    if channels is not None and labels.ndim == values.ndim:
        one_hot = np.moveaxis(labels, 0 if channels == "first" else -1, 0)
        if one_hot.shape == classes.shape and len(classes) > 1:
            return classes, _labels_of_one_hot(one_hot, channels)
        labels = one_hot[0] if len(one_hot) == 1 else labels
    where = f"probs of shape {values.shape}"
    if channels is not None:
        where += f" with the classes {channels}"
    check_shape(labels, "labels", classes.shape[1:], where)
    return classes, labels


def _check_undeclared(values: np.ndarray, labels: np.ndarray) -> None:
    """Refuse maps that have, or seem to have, an axis of classes."""
    inside = labels.shape in (values.shape[1:], values.shape[:-1])
    hint = _HINT if inside or values.ndim > _MAX_AXES else ""
    check_shape(labels, "labels", values.shape, hint=hint)
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


def _labels_of_one_hot(one_hot: np.ndarray, channels: str) -> np.ndarray:
    """The class of each voxel; class 0 is the background."""
    if not (one_hot <= 1).all() or not (one_hot.sum(axis=0, dtype=np.int64) == 1).all():
        raise ValueError(
            f"labels are no one-hot reference of {len(one_hot)} classes with the classes "
            f"{channels}: each voxel belongs to exactly one, the background is the first; "
            'give one label a voxel, or say where the classes are by channels="first" or '
            '"last"'
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
    """Voxels that count; None where all do."""
    counted = None if ignore is None else labels != ignore
    if valid is None:
        return counted
    mask = as_mask(valid, "valid")
    check_shape(mask, "valid", labels.shape, "labels")
    return mask if counted is None else mask & counted


def _grid(spacing_mm: Any, shape: tuple[int, ...], order: Order) -> Grid | None:
    if spacing_mm is None:
        return None
    spacing = batched_spacing(spacing_mm, (1, *shape))[0].astype(np.float64)
    if order == "C":  # the last axis runs fastest: it is the grid's first
        spacing, shape = spacing[::-1], shape[::-1]
    affine = np.diag([*[*spacing, 1.0, 1.0, 1.0][:3], 1.0])
    return Grid(shape, affine)
