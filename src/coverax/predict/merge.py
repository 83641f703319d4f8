"""The masks of several regions as one label map."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt16

from coverax.calibrate import Calibration
from coverax.files import PathLike
from coverax.volumes import Dataset, Region, dataset_of, label_type

RULE = "later regions over earlier ones, in the order of the calibration"


class Merged(NamedTuple):
    """One label map of a case.

    Attributes:
        values: Labels, flat; 0 where no region is.
        n_overlap: Voxels that lie in the masks of several regions.
        hidden: By region, voxels of its mask that show a label which is none of its own.
    """

    values: UInt16[np.ndarray, " voxels"]
    n_overlap: int
    hidden: dict[str, int]


def merged_labels(calibration: Calibration, maps: Iterable[PathLike]) -> dict[str, int]:
    """The label of each region in one label map, in the order in which they are painted.

    A region of one reference label has that label. One of several has what the
    `regions_class_order` beside maps of nnU-Net gives it, else the smallest of its
    labels that no later region has; one of any label the smallest that is free.

    Args:
        calibration: Whose masks are merged.
        maps: Files of the maps.

    Raises:
        ValueError: The calibration is of sets, a region would hide an earlier one that
            lies in it, two regions would have one label, or folders of maps differ.
    """
    if calibration.has_sides:
        raise ValueError(
            "one label map holds masks of one cut a region, not confidence sets: leave "
            "--merge out"
        )
    regions = calibration.definition.regions
    _check_order(regions)
    datasets = {dataset_of(path) for path in maps} or {None}
    found = {tuple(_labels(regions, own).items()) for own in datasets}
    if len(found) > 1:
        raise ValueError(
            "the maps are of models that give regions other labels (dataset.json): "
            "predict each with a run of its own"
        )
    labels = dict(found.pop())
    for value in labels.values():
        same = [name for name, other in labels.items() if other == value]
        if len(same) > 1:
            raise ValueError(
                f"regions {' and '.join(same)} would both have label {value} in one "
                "label map: leave --merge out"
            )
    label_type(max(labels.values()))  # is there one
    return labels


def merge_masks(
    masks: Mapping[str, Bool[np.ndarray, " voxels"]],
    regions: Iterable[Region],
    labels: Mapping[str, int],
) -> Merged:
    """Paint masks over each other, see `RULE`.

    Args:
        masks: By region; those without one are not painted.
        regions: In the order of painting.
        labels: What `merged_labels` gave.
    """
    painted = [region for region in regions if region.name in masks]
    first = next(iter(masks.values()))
    values, count = np.zeros(first.size, np.uint16), np.zeros(first.size, np.uint16)
    for region in painted:
        values[masks[region.name]] = labels[region.name]
        count += masks[region.name]
    hidden = {}
    for region in painted:
        shown = values[masks[region.name]]
        own = [labels[region.name], *region.labels]
        is_own = np.isin(shown, own) if region.labels else shown > 0
        hidden[region.name] = int(np.count_nonzero(~is_own))
    return Merged(values, int(np.count_nonzero(count > 1)), hidden)


def _check_order(regions: tuple[Region, ...]) -> None:
    """Refuse a region that would hide an earlier one within it."""
    for i, outer in enumerate(regions):
        for inner in regions[:i]:
            own, others = set(outer.labels), set(inner.labels)
            if others and (not own or own > others):
                raise ValueError(
                    f"region {outer.name} comes after {inner.name}, whose labels it "
                    "holds, and would hide it in one label map: score with the larger "
                    "region first"
                )


def _labels(regions: tuple[Region, ...], dataset: Dataset | None) -> dict[str, int]:
    labels: dict[str, int] = {}
    for i, region in enumerate(regions):
        later = {label for other in regions[i + 1 :] for label in other.labels}
        every = {label for other in regions for label in other.labels}
        free = sorted(set(region.labels) - later)
        given = _class_order(region, dataset)
        if given is not None:
            labels[region.name] = given
        elif not region.labels:
            labels[region.name] = min(set(range(1, len(every) + 2)) - every)
        elif free:
            labels[region.name] = free[0]
        else:
            raise ValueError(
                f"every label of region {region.name} belongs to a later region too, so "
                "it has none in one label map: leave --merge out"
            )
    return labels


def _class_order(region: Region, dataset: Dataset | None) -> int | None:
    """The label that a model of regions gives a region; None where it has no say."""
    if dataset is None or not dataset.is_regions:
        return None
    for own, label in zip(dataset.regions, dataset.class_order, strict=True):
        if (own.channels, own.labels) == (region.channels, region.labels):
            return label
    return None
