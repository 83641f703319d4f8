"""A calibration against cases with references that are in memory."""

from collections.abc import Iterable
from typing import Any

from coverax.calibrate import Calibration, check_in_memory
from coverax.choices import EngineName
from coverax.evaluate.compute import (
    BatchColumns,
    CohortRows,
    judged,
    promised_regions,
)
from coverax.evaluate.groups import by_group
from coverax.evaluate.results import Evaluation, Rows
from coverax.evaluate.rows import rows_of_case
from coverax.predict import several_maps
from coverax.scores import (
    ArrayCases,
    CaseRows,
    array_loader,
    class_axis,
    engine_of,
    stream_rows,
)
from coverax.stream import gather
from coverax.volumes import FOREGROUND

_ABOUT = ("case_id", "unit", "group", "rater")


def evaluate_arrays(
    calibration: Calibration,
    probs: Iterable[Any],
    labels: Iterable[Any],
    *,
    spacing_mm: Any = None,
    valid: Iterable[Any] | None = None,
    case_ids: Iterable[Any] | None = None,
    units: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    raters: Iterable[Any] | None = None,
    voxel_volume_ml: float | Iterable[Any] = float("nan"),
    channels: str | None = None,
    engine: EngineName = "auto",
    seed: int = 0,
    allow_hard_masks: bool = False,
) -> Evaluation:
    """Measure a calibration on arrays, as `evaluate_cohort` does on files.

    The cases are none that calibrated and are exchangeable with them: then the exact law
    of compliance applies. Cases that calibrated are found by their units, names and
    maps, and no law is given.

    Args:
        calibration: Of one model, with one threshold for all or one a group.
        probs: `[batch, *spatial]`, with an axis of classes where the regions have
            several, or a sequence of maps of any shapes.
        labels: References, as for `score_arrays`.
        spacing_mm: Voxel edges, the same for all or one row a case.
        valid: Masks of the voxels that count; all by default.
        case_ids: Names; `case_0`, `case_1`, ... by default.
        units: What was exchangeable in the calibration; the case by default.
        groups: Category of each case: whose threshold serves it, in a calibration by
            groups.
        raters: Who made each reference, where cases have several: one entry each.
        voxel_volume_ml: Volume of a voxel, one or per case; unknown by default.
        channels: Where the class axis is, as for `score_arrays`.
        engine: `host` and `device` give the same counts.
        seed: Seed of the draw of one case a unit.
        allow_hard_masks: Accept maps that all hold 0 and 1 alone.

    Raises:
        ExceptionGroup: Cases have bad values or shapes; one exception each.
        TypeError: A column is no sequence, or holds what it cannot hold.
        ValueError: No case counts, the names of units, groups or tied cases are not
            given, or the maps are hard masks.
    """
    if calibration.folds is not None:
        raise ValueError(several_maps(calibration))
    _check_names(calibration, case_ids, units, groups)
    cases = ArrayCases.of(
        probs,
        labels,
        valid=valid,
        spacing_mm=spacing_mm,
        voxel_volume_ml=voxel_volume_ml,
        case_ids=case_ids,
        units=units,
        groups=groups,
        weights=None,
        raters=raters,
    )
    axis = class_axis(channels, calibration.definition)

    def count(own: Calibration, mine: list[int]) -> CohortRows:
        return CohortRows(_counted(own, cases, mine, axis, engine), {})

    if calibration.is_grouped:
        named = [about["group"] for about in cases.about]
        return by_group(
            calibration, named, count, {}, seed, allow_hard_masks=allow_hard_masks
        )
    rows = count(calibration, list(range(len(cases.about))))
    found = judged(calibration, *rows, seed, allow_hard_masks=allow_hard_masks)
    found.summary.check_results()
    return found


def _check_names(
    calibration: Calibration, case_ids: Any, units: Any, groups: Any
) -> None:
    """Refuse what names decide and nobody names.

    Raises:
        ValueError: Units, groups, or the names that break ties are missing.
    """
    column = calibration.policy.unit_column
    if units is None and column not in _ABOUT:
        raise ValueError(
            f"the units of the calibration are of column {column}: give units, or nothing "
            "can say which of them calibrated"
        )
    check_in_memory(calibration)
    if groups is None and calibration.is_grouped:
        raise ValueError(
            f"the calibration has a threshold for each {calibration.policy.group_by}: "
            "name the group of each case (groups)"
        )
    if case_ids is None and calibration.tie_seed is not None:
        raise ValueError(
            "the calibration breaks ties by the names of cases: give case_ids"
        )


def _counted(
    calibration: Calibration,
    cases: ArrayCases,
    mine: list[int],
    axis: str | None,
    engine: EngineName,
) -> Rows:
    """Rows with counts of some of the cases."""
    definition = promised_regions(calibration)
    results: dict[int, CaseRows] = {}
    outcomes = stream_rows(
        mine,
        array_loader(
            cases, definition, axis, declared=definition.regions != (FOREGROUND,)
        ),
        BatchColumns(calibration),
        engine_of(definition, engine),
        spatial=definition.is_spatial,
    )
    gather(
        outcomes,
        mine,
        results.__setitem__,
        name=lambda i: cases.about[i]["case_id"],
    )
    column = calibration.policy.unit_column
    rows: Rows = []
    for i in mine:
        about = {name: cases.about[i][name] for name in _ABOUT}
        about |= {"part": "", "prediction_file": "", "reference_file": ""}
        about["unit"] = about.get(column, about["unit"])
        rows += rows_of_case(about, results[i])
    return rows
