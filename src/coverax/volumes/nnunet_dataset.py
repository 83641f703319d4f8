"""What `dataset.json` of nnU-Net says of the channels of a model."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from coverax.files import one_line
from coverax.table.region import Region

DATASET = "dataset.json"
_NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Dataset:
    """What `dataset.json` says of the channels of a model.

    Attributes:
        path: The file.
        regions: The structures, each with its channel and its labels in a reference.
        is_regions: Whether channels are sigmoids of regions that may overlap; else they
            are a softmax whose channel is the label.
        n_channels: Channels that a map of this model has.
        class_order: Of a region model, the label that each channel paints.
        ignore_label: Label of voxels that do not count.
        file_ending: Of the segmentations that nnU-Net writes; empty where it is not said.
    """

    path: Path
    regions: tuple[Region, ...]
    is_regions: bool
    n_channels: int
    class_order: tuple[int, ...] = ()
    ignore_label: int | None = None
    file_ending: str = ""


def find_dataset(folder: Path) -> Dataset | None:
    """The `dataset.json` of a folder of results, or up to two levels above it."""
    for place in (folder, *folder.resolve().parents[:2]):
        path = place / DATASET
        if path.is_file():
            return _read_dataset(path, path.stat().st_mtime_ns)
    return None


@lru_cache(maxsize=64)
def _read_dataset(path: Path, _changed: int) -> Dataset:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        labels = dict(content["labels"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(
            f"{path}: not a dataset.json of nnU-Net ({one_line(repr(error))})"
        ) from None
    ignore = labels.pop("ignore", None)
    labels = {
        _NOT_IN_NAMES.sub("_", k): v
        for k, v in labels.items()
        if k != "background" and v != 0
    }
    if not labels:
        raise ValueError(f"{path}: names no label beside the background")
    is_regions = any(isinstance(v, list) and len(v) > 1 for v in labels.values())
    try:
        values = {
            name: tuple(int(x) for x in (v if isinstance(v, list) else [v]))
            for name, v in labels.items()
        }
        order = tuple(int(x) for x in content.get("regions_class_order") or ())
        ignored = None if ignore is None else int(ignore)
        ending = str(content.get("file_ending") or "").lower()
    except (TypeError, ValueError):
        raise ValueError(
            f"{path}: labels must be whole numbers or lists of them"
        ) from None
    if not is_regions:
        regions = tuple(
            Region(name, (value[0],), value)
            for name, value in sorted(values.items(), key=lambda item: item[1])
        )
        n_channels = 1 + max((r.channels[0] for r in regions), default=0)
        return Dataset(path, regions, False, n_channels, (), ignored, ending)
    if len(order) != len(values):
        raise ValueError(
            f"{path}: a model of regions needs regions_class_order with one label for "
            f"each of its {len(values)} regions, got {len(order)}"
        )
    regions = tuple(
        Region(name, (channel,), value)
        for channel, (name, value) in enumerate(values.items())
    )
    return Dataset(path, regions, True, len(regions), order, ignored, ending)
