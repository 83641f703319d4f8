"""`summary.json` in the layout of nnU-Net, which its scripts and those of others read."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration
from coverax.evaluate.summary import is_cut_above
from coverax.files import PathLike, publish_text
from coverax.table import SIDES, Region

_COUNTS = ("FN", "FP", "TN", "TP", "n_pred", "n_ref")


class Overlap(NamedTuple):
    """One mask against one reference, in voxels that count.

    Attributes:
        case_id: Whose they are.
        rater: Who made the reference, where a case has several.
        side: `inner` or `outer` of sets, else empty.
        key: The reference labels as nnU-Net writes them: `1`, or `(1, 2, 3)`.
        counts: `FN`, `FP`, `TN`, `TP`, `n_pred` and `n_ref`.
        prediction_file: The map that the mask was made from.
        reference_file: The reference.
    """

    case_id: str
    rater: str
    side: str
    key: str
    counts: dict[str, int]
    prediction_file: str
    reference_file: str


def overlaps_of(
    calibration: Calibration, rows: Iterable[Mapping[str, Any]]
) -> tuple[Overlap, ...]:
    """The masks of rows of counts, at the calibrated threshold of each."""
    regions = {region.name: region for region in calibration.definition.regions}
    found = []
    for row in rows:
        for side, n_pred, n_true in _counts(calibration, row):
            n_ref = row["n_foreground"]
            values = (
                *(n_ref - n_true, n_pred - n_true),
                *(row["n_voxels"] - n_pred - n_ref + n_true, n_true, n_pred, n_ref),
            )
            found.append(
                Overlap(
                    row["case_id"],
                    row["rater"],
                    side,
                    _key(regions[row["region"]]),
                    dict(zip(_COUNTS, map(int, values), strict=True)),
                    row["prediction_file"],
                    row["reference_file"],
                )
            )
    return tuple(found)


def write_summaries(overlaps: Iterable[Overlap], folder: PathLike) -> list[Path]:
    """Write `summary.json`, of sets `summary_inner.json` and `summary_outer.json`.

    As nnU-Net writes it: the keys of `mean` and `metrics` are labels, Dice and IoU are
    NaN where reference and mask are both empty, and means are over the others. NaN
    stands in the file as Python's `json` reads it.

    Returns:
        The files.
    """
    by_side: dict[str, list[Overlap]] = {}
    for overlap in overlaps:
        by_side.setdefault(overlap.side, []).append(overlap)
    written = []
    for side, own in by_side.items():
        path = Path(folder) / f"summary{side and f'_{side}'}.json"
        text = json.dumps(nnunet_summary(own), indent=4, sort_keys=True)
        publish_text(path, f"{text}\n")
        written.append(path)
    return written


def nnunet_summary(overlaps: Iterable[Overlap]) -> dict[str, Any]:
    """The content of `summary.json`, one entry a case and rater.

    Regions of the same reference labels have one key: the first of them has it.
    """
    cases: dict[tuple[str, str], dict[str, Any]] = {}
    for overlap in overlaps:
        files = {name: getattr(overlap, name) for name in overlap._fields[-2:]}
        case = cases.setdefault(overlap[:2], {"metrics": {}} | files)
        case["metrics"].setdefault(overlap.key, _metrics(overlap.counts))
    each = [case["metrics"] for case in cases.values()]
    keys = dict.fromkeys(key for metrics in each for key in metrics)
    mean = {
        key: _means([metrics[key] for metrics in each if key in metrics])
        for key in keys
    }
    return {
        "foreground_mean": {
            name: float(np.mean([own[name] for own in mean.values()]))
            for name in ("Dice", "IoU", *_COUNTS)
        },
        "mean": mean,
        "metric_per_case": list(cases.values()),
    }


def _counts(
    calibration: Calibration, row: Mapping[str, Any]
) -> list[tuple[str, int, int]]:
    """Side, predicted voxels and true ones of each mask of a row."""
    if "n_inner" in row:
        return [(s, int(row[f"n_{s}"]), int(row[f"n_{s}_hit"])) for s in SIDES]
    place = 0
    if calibration.folds is None:  # ties of folds are not broken
        threshold = calibration.threshold_of(row["region"])
        names = np.array([row["case_id"]])
        place = 2 * int(is_cut_above(calibration, threshold, names)[0])
    n_predicted, n_true = row["n_predicted"][place], row["n_true_positive"][place]
    return [("", int(n_predicted), int(n_true))]


def _key(region: Region) -> str:
    """One label as such, several as a tuple, `()` for any."""
    labels = region.labels
    return str(labels[0]) if len(labels) == 1 else str(labels)


def _metrics(counts: dict[str, int]) -> dict[str, float]:
    union = counts["TP"] + counts["FP"] + counts["FN"]
    shares = {"Dice": np.nan, "IoU": np.nan}
    if union:
        shares["Dice"] = 2 * counts["TP"] / (union + counts["TP"])
        shares["IoU"] = counts["TP"] / union
    return shares | counts


def _means(metrics: list[dict[str, float]]) -> dict[str, float]:
    """Means of the cases that a metric applies to; NaN where it applies to none."""
    out = {}
    for name in metrics[0]:
        values = np.array([own[name] for own in metrics])
        values = values[~np.isnan(values)]
        out[name] = float(values.mean()) if values.size else np.nan
    return out
