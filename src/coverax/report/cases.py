"""The worst, the median and the best cases of an evaluation, and what is drawn of them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration
from coverax.evaluate import (
    CutResult,
    FoldCutResult,
    FoldSetsResult,
    IntervalResult,
    RegionResult,
    SetsResult,
)
from coverax.files import PathLike, one_line
from coverax.predict import cohort_confidences
from coverax.predict.write import maker_of
from coverax.report.slices import Stack, stack_of
from coverax.scores import View, load_case
from coverax.volumes import (
    Case,
    Cohort,
    check_same_grid,
    nifti_files,
    read_header,
    read_voxels,
)

_N_WORST = 3
Row = dict[str, Any]


class Measure(NamedTuple):
    """What cases are sorted by, larger is worse, and what is said of each.

    Attributes:
        name: In words.
        badness: Of a row of `cases.csv`.
        about: Columns that are shown, with their headings.
    """

    name: str
    badness: Callable[[Row], float]
    about: Mapping[str, str]


_CUT = {
    "FNR": "calibrated_fnr",
    "Dice": "calibrated_dice",
    "mL": "calibrated_volume_ml",
}
_SETS = {
    "inner covered": "inner_covered",
    "outer covered": "outer_covered",
    "between, mL": "uncertain_ml",
}
_VOLUME = {"reference, mL": "true_ml", "low, mL": "low_ml", "high, mL": "high_ml"}
_TRIAGE = {"Dice": "dice", "loss": "loss", "uncertainty": "uncertainty"}


def measure_of(result: RegionResult) -> Measure:
    """How cases of a region are told better from worse."""
    if isinstance(result, CutResult | FoldCutResult):
        name = "missed share of the reference (FNR)"
        return Measure(name, lambda row: row["calibrated_fnr"], _CUT)
    if isinstance(result, SetsResult | FoldSetsResult):
        name = "sets that are not right, then the volume between them"
        return Measure(name, _sets_badness, _SETS)
    if isinstance(result, IntervalResult):
        name = "distance of the estimate from the reference, in mL"
        return Measure(name, lambda r: abs(r["volume_ml"] - r["true_ml"]), _VOLUME)
    return Measure("Dice of the mask", lambda row: -row["dice"], _TRIAGE)


def _sets_badness(row: Row) -> float:
    between = row["uncertain_ml"]
    wrong = 2 - bool(row["inner_covered"]) - bool(row["outer_covered"])
    return wrong * 1e12 + (0.0 if math.isnan(between) else between)


def rows_of(rows: list[Row], result: RegionResult) -> list[Row]:
    """Rows of `cases.csv` that a result counts; none where its group is not told there.

    The group of a row is that of the cohort: calibrations by another column, and small
    groups that count as one, have others.
    """
    return [
        row
        for row in rows
        if row["counted"]
        and row["region"] == result.region
        and result.group in (None, row["group"])
    ]


def chosen(rows: list[Row], measure: Measure) -> list[tuple[str, Row]]:
    """The worst, the median and the best of some rows, each with its place in words."""
    ranked = sorted(rows, key=lambda r: (-measure.badness(r), r["case_id"]))
    places = {f"worst {k + 1}": k for k in range(min(_N_WORST, len(ranked)))}
    places |= {"median": len(ranked) // 2, "best": len(ranked) - 1}
    taken: dict[int, str] = {}
    for name, place in places.items():
        taken.setdefault(place, name)
    return [(name, ranked[place]) for place, name in taken.items()]


@dataclass(frozen=True)
class Pictures:
    """Where maps, references and scans lie, for the cases that are drawn.

    Attributes:
        cases: By case id.
        images: Scans by name of file without its ending; those of the cohort come first.
    """

    cases: Mapping[str, Case]
    images: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, cohort: Cohort, images: PathLike | None) -> "Pictures":
        """Those of a cohort, with scans of a folder."""
        files = {} if images is None else nifti_files(images)
        return cls({case.case_id: case for case in cohort.cases}, files)

    @property
    def files(self) -> list[Path]:
        """Every file that may be read."""
        own = [(c.probs, c.labels, c.valid, c.image) for c in self.cases.values()]
        named = [Path(path) for each in own for path in each if path is not None]
        return [*named, *self.images.values()]

    def image(self, case: Case) -> Path | None:
        """The scan of a case; None where there is none."""
        own = None if case.image is None else Path(case.image)
        names = (case.case_id, f"{case.case_id}_0000")
        return own or next((self.images[n] for n in names if n in self.images), None)


class Drawn(NamedTuple):
    """A case that can be looked at, or why it cannot.

    Attributes:
        stack: Its slices; None where they cannot be drawn.
        note: What is not as one would expect; empty where all is.
    """

    stack: Stack | None
    note: str


def draw_case(calibration: Calibration | None, pictures: Pictures, row: Row) -> Drawn:
    """Slices of a case with its reference and what the calibration says of it."""
    case = pictures.cases.get(row["case_id"])
    if calibration is None:
        return Drawn(None, "the calibration is not among the folders")
    if calibration.folds is not None:
        return Drawn(None, "the maps of several folds are not drawn")
    if case is None or case.labels is None:
        return Drawn(None, "its map and reference were not given")
    try:
        return _drawn(calibration, pictures, case, row["region"])
    except (ValueError, OSError) as error:
        return Drawn(None, one_line(error))


def _drawn(
    calibration: Calibration, pictures: Pictures, case: Case, region: str
) -> Drawn:
    own = calibration
    if calibration.is_grouped:
        own = calibration.of_group(case.column(str(calibration.policy.group_by)))
    views = load_case(case, own.definition).views
    view = next(view for view in views if view.region.name == region)
    if view.grid is None:
        return Drawn(None, "its map has no grid")
    shape = (*view.grid.shape, 1)[:3]
    image, note = _background(pictures, case, view)
    given = cohort_confidences(own, [case])
    make = maker_of(own, given, case.case_id, region)
    labels = make(own.of_case(case.case_id), view).files[""]

    def volume(values: np.ndarray) -> np.ndarray:
        return values.reshape(shape, order="F")

    masks = {"reference": volume(view.labels)}
    if calibration.has_sides:
        masks |= {"outer set": volume(labels >= 1), "inner set": volume(labels == 2)}
    else:
        masks["mask"] = volume(labels >= 1)
    return Drawn(stack_of(volume(image), masks, view.grid), note)


def _background(pictures: Pictures, case: Case, view: View) -> tuple[np.ndarray, str]:
    """The scan of a case where it lies on the grid of the map; else the map itself."""
    path = pictures.image(case)
    if path is None:
        return view.probs, "no scan was given: its probability map is drawn"
    try:
        grid = read_header(case.probs).grid
        check_same_grid(read_header(path).grid, path, grid, Path(case.probs))
        _, stored = read_voxels(path, channels=[0])
    except (ValueError, OSError) as error:
        return view.probs, f"the map is drawn, not the scan: {one_line(error)}"
    return np.asarray(stored[0], np.float32), ""
