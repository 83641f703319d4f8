"""The regions of a cohort by themselves, where its maps are of nnU-Net."""

import logging
from pathlib import Path

from coverax.table.region import Region
from coverax.volumes.case import Cohort, cohort_regions
from coverax.volumes.formats import NPZ, dataset_of, file_suffix
from coverax.volumes.nnunet_dataset import Dataset

_log = logging.getLogger("coverax")


def cohort_labels(
    cohort: Cohort, specs: list[str], ignore_label: int | None = None
) -> tuple[tuple[Region, ...], int | None]:
    """Regions to score and the label to ignore: those asked for, else the model's.

    Where every map is a softmax of nnU-Net, its `dataset.json` names structures and the
    label of voxels that do not count; a note says what was taken.

    Args:
        cohort: The cases.
        specs: Regions asked for, as `NAME=CHANNEL:LABEL`; they come first.
        ignore_label: The label asked for; it comes first, too.

    Raises:
        ValueError: A spec is malformed, the cohort names a region that has none, or maps
            are of models with other labels.
    """
    dataset = _cohort_dataset(cohort)
    named = any(case.region for case in cohort.cases)
    regions = cohort_regions(cohort, specs)
    if dataset is None:
        return regions, ignore_label
    taken = []
    if not specs and not named:
        regions = dataset.regions
        taken.append(f"regions {', '.join(map(str, regions))}")
    is_free = not any(dataset.ignore_label in region.labels for region in regions)
    if ignore_label is None and dataset.ignore_label is not None and is_free:
        ignore_label = dataset.ignore_label
        taken.append(f"label {ignore_label} to ignore")
    if taken:
        _log.warning(
            "%s: %s taken from it (a model of %s; --region says otherwise)",
            dataset.path,
            " and ".join(taken),
            "regions, each a sigmoid" if dataset.is_regions else "labels, a softmax",
        )
    return regions, ignore_label


def _cohort_dataset(cohort: Cohort) -> Dataset | None:
    """What all maps say of their model; None where `dataset.json` speaks not of one."""
    paths = [Path(case.probs) for case in cohort.cases]
    is_named = all(file_suffix(p) == NPZ or dataset_of(p) is not None for p in paths)
    if not paths or not is_named:
        return None
    found: dict[Path, Dataset | None] = {}
    for path in paths:
        if path.parent not in found:
            found[path.parent] = dataset_of(path)
    (one, first), *others = found.items()
    for folder, dataset in others:
        if _meaning(dataset) != _meaning(first):
            raise ValueError(
                f"the maps of {one} and of {folder} are of models with other labels "
                "(dataset.json)"
            )
    return first


def _meaning(dataset: Dataset | None) -> object:
    return dataset and (dataset.regions, dataset.is_regions, dataset.ignore_label)
