"""A calibration applied to maps in memory: what `predict_folder` writes, as arrays."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coverax.calibrate import Calibration, check_in_memory
from coverax.checks import as_list, as_names, check_lengths
from coverax.predict.write import (
    REGION_MASKS,
    check_request,
    several_maps,
)
from coverax.provenance import check_not_masks
from coverax.scores import axis_order, class_axis, map_views, spacings_of
from coverax.stream import check_failures
from coverax.volumes import map_values


@dataclass(frozen=True, slots=True)
class RegionPrediction:
    """What a calibration says of one region of a case.

    Attributes:
        region: Its name.
        mask: Booleans; of sets a label map, 0 outside the outer set, 2 in the inner one
            and 1 between.
        inner: The inner set; None where there are no sets.
        outer: The outer set.
        facts: What the sidecar of the mask says: threshold, status, volumes.
    """

    region: str
    mask: np.ndarray
    inner: np.ndarray | None
    outer: np.ndarray | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CasePrediction:
    """What a calibration says of one case.

    Attributes:
        case_id: Its name.
        group: What it was served as; empty where there are no groups.
        regions: By name, without those that were refused.
        refused: Regions without a mask, and why.
    """

    case_id: str
    group: str
    regions: Mapping[str, RegionPrediction]
    refused: Mapping[str, str]

    @property
    def mask(self) -> np.ndarray:
        """The mask of the only region.

        Raises:
            ValueError: There are several regions, or it was refused.
        """
        return self._only().mask

    @property
    def inner(self) -> np.ndarray | None:
        """The inner set of the only region; None where there are no sets."""
        return self._only().inner

    @property
    def outer(self) -> np.ndarray | None:
        """The outer set of the only region; None where there are no sets."""
        return self._only().outer

    def _only(self) -> RegionPrediction:
        found = list(self.regions.values())
        if len(found) + len(self.refused) != 1 or not found:
            known = ", ".join(self.regions) or "none"
            raise ValueError(
                f"case {self.case_id}: take one of its regions by name, as in "
                f'regions["NAME"].mask; it has {known}'
                + (f", refused are {', '.join(self.refused)}" if self.refused else "")
            )
        return found[0]


def apply(
    calibration: Calibration,
    probs: Iterable[Any],
    *,
    case_ids: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    spacing_mm: Any = None,
    channels: str | None = None,
    allow_vacuous: bool = False,
    allow_hard_masks: bool = False,
) -> list[CasePrediction]:
    """Masks of maps that are already in memory, as `predict_folder` makes them of files.

    The masks carry the promise of the calibration where the maps come from the model
    that it was made for and the cases are exchangeable with its own: of an array nobody
    can tell which model made it, or how its values were rounded.

    Args:
        calibration: Of one model; for folds see `fold_masks`.
        probs: `[batch, *spatial]`, with an axis of classes where the regions have
            several, or a sequence of maps of any shapes.
        case_ids: Names, by which ties are broken where the calibration breaks them;
            `case_0`, `case_1`, ... by default.
        groups: Group of each case, for a calibration by groups.
        spacing_mm: Voxel edges, the same for all or one row a case; volumes and spatial
            transforms need it.
        channels: Where the class axis is, as for `score_arrays`.
        allow_vacuous: Give whole volumes where there is no guarantee.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.

    Returns:
        One prediction a case, in the order of the maps.

    Raises:
        ExceptionGroup: Maps have bad values or shapes, or a case is of a group that was
            not calibrated; one exception each.
        TypeError: A column is no sequence, or holds what it cannot hold.
        ValueError: The calibration gives no guarantee, breaks ties by names or has
            groups that are not given, or all maps are hard masks.
    """
    if calibration.folds is not None:
        raise ValueError(f"{several_maps(calibration)}; in memory use fold_masks")
    check_request(calibration, sides=False, allow_vacuous=allow_vacuous)
    maps = as_list(probs, "probs")
    named = _names(calibration, len(maps), case_ids, groups)
    spacings = spacings_of(spacing_mm, len(maps))
    check_lengths({"spacing_mm": spacings}, len(maps))
    axis = class_axis(channels, calibration.definition)
    found: list[CasePrediction] = []
    kinds: list[tuple[str, str, str]] = []
    failures: dict[str, str] = {}
    for map_, case_id, group, edges in zip(maps, *named, spacings, strict=True):
        try:
            own = calibration.of_group(group).of_case(case_id)
            prediction, held = _predicted(own, case_id, map_, axis, edges)
        except (TypeError, ValueError) as error:
            failures[case_id] = str(error)
            continue
        found.append(prediction)
        kinds += [(case_id, region, values) for region, values in held.items()]
    check_failures(failures, len(maps))
    allowed = allow_hard_masks or calibration.definition.allow_hard_masks
    check_not_masks(kinds, allow=allowed)
    return found


def _names(
    calibration: Calibration, n: int, case_ids: Any, groups: Any
) -> tuple[list[str], list[str]]:
    """Name and group of each case.

    Raises:
        ValueError: What decides of a mask is not given, or a name is there twice.
    """
    ids = [f"case_{i}" for i in range(n)]
    if case_ids is not None:
        ids = as_names(case_ids, "case_ids")
    elif calibration.tie_seed is not None:
        raise ValueError(
            "the calibration breaks ties by the names of cases: give case_ids"
        )
    check_in_memory(calibration)
    if groups is None and calibration.is_grouped:
        raise ValueError(
            f"the calibration has a threshold for each {calibration.policy.group_by}: "
            "name the group of each case (groups)"
        )
    served = [""] * n if groups is None else as_names(groups, "groups")
    check_lengths({"case_ids": ids, "groups": served}, n)
    if len(set(ids)) < n:
        raise ValueError("case_ids must differ")
    return ids, served


def _predicted(
    calibration: Calibration,
    case_id: str,
    probs: Any,
    axis: str | None,
    spacing_mm: Any,
) -> tuple[CasePrediction, dict[str, str]]:
    """The masks of a case, and what its maps hold by region."""
    views, shape = map_views(
        probs, calibration.definition, channels=axis, spacing_mm=spacing_mm
    )
    order = axis_order(calibration.definition)
    regions: dict[str, RegionPrediction] = {}
    refused: dict[str, str] = {}
    values: dict[str, str] = {}
    for view in views:
        name = view.region.name
        why = calibration.refused(name)
        if why is not None:
            refused[name] = why
            continue
        values[name] = map_values(view.probs)
        masks = REGION_MASKS[calibration.kind](calibration, view)
        own = {k: m.reshape(shape, order=order) for k, m in masks.files.items()}
        regions[name] = RegionPrediction(
            name, own[""], own.get("_inner"), own.get("_outer"), masks.entry
        )
    group = calibration.parts.group
    return CasePrediction(case_id, group or "", regions, refused), values
