"""An evaluation in parts: what each shard counted, and how the whole takes it over.

A part holds counts and scores of cases, never voxels, each number with its type and
exactly: the whole is then summarised by the code of one process, from the same numbers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coverax.calibrate import Calibration, check_named
from coverax.choices import EngineName
from coverax.evaluate.cohorts import check_regions, unit_column_of
from coverax.evaluate.compute import count_cases
from coverax.evaluate.cuts import check_nsd_tolerance
from coverax.files import Json, PathLike
from coverax.folders import whole_folder
from coverax.predict import cohort_confidences
from coverax.scores import CaseRows, key_of
from coverax.stream import (
    HERE,
    Outcome,
    Shard,
    Where,
    gather,
)
from coverax.stream.folder_parts import FolderOf, record_part, take_parts
from coverax.volumes import Case, Cohort, MapContent, Region

# What a summary asks of a case beside its rows.
_FACTS = ("voxel_volume_ml", "notes", "content")


class Parts(NamedTuple):
    """What shards counted of a cohort.

    Attributes:
        counted: Counts and scores of each case, packed.
        failures: Why other cases failed.
        regions: Structures by name.
    """

    counted: Mapping[str, Json]
    failures: Mapping[str, str]
    regions: Mapping[str, Region]

    def outcomes(self, cases: Sequence[Case]) -> Iterator[Outcome]:
        """Of each case what it would be if it were read now."""
        for case in cases:
            key = key_of(case)
            if key in self.failures:
                yield Outcome(case, None, ValueError(self.failures[key]))
            else:
                yield Outcome(case, _unpacked(self.counted[key], self.regions), None)


def evaluate_part(
    calibration: Calibration,
    cohort: Cohort,
    shard: Shard,
    output: PathLike,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
    nsd_tolerance_mm: float | None = None,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _line: None,
) -> int:
    """Count the cases of one shard into a folder of its own, for `evaluated_parts`.

    Every shard is given the whole cohort. Takes the options of `evaluate_cohort`.

    Returns:
        How many cases it counted.

    Raises:
        ExceptionGroup: Cases failed; one exception each.
        ValueError: The calibration is from folds, or the cohort cannot be evaluated.
    """
    check_regions(calibration, cohort)
    cohort_confidences(calibration, cohort.cases)
    unit_column_of(calibration, cohort)
    check_nsd_tolerance(calibration, nsd_tolerance_mm)
    whole = _whole(calibration, cohort, nsd_tolerance_mm)
    own = shard.of(sorted(cohort.cases, key=key_of))
    counted: dict[str, Json] = {}

    def take(case: Case, result: CaseRows) -> None:
        counted[key_of(case)] = _packed(result)

    with whole_folder(output) as folder:
        failures: dict[Case, str] = {}
        for served, cases in _by_group(calibration, own):
            failures |= gather(
                count_cases(served, cases, engine, threads, where, nsd_tolerance_mm),
                cases,
                take,
                name=lambda case: case.case_id,
                allow_missing=allow_missing,
                even_all=True,
                on_case=on_case,
                on_failure=on_failure,
            )
        lost = {key_of(case): why for case, why in failures.items()}
        record_part(folder, shard, whole, counted, lost, dict.fromkeys(counted, ()))
    return len(counted)


def evaluated_parts(
    folder: PathLike,
    calibration: Calibration,
    cohort: Cohort,
    *,
    nsd_tolerance_mm: float | None = None,
) -> Parts:
    """What all shards counted, after checking that it is all there.

    Args:
        folder: Of all parts.
        calibration: That of the shards.
        cohort: All cases.
        nsd_tolerance_mm: That of the shards, where they measured surfaces.

    Raises:
        FileNotFoundError: There is no such folder of parts.
        ValueError: A part is missing, there twice, altered, or of another run.
    """
    whole = _whole(calibration, cohort, nsd_tolerance_mm)
    files = dict.fromkeys(whole.case_ids, ())
    taken = take_parts(Path(folder), whole, files, Path(folder))
    regions = {region.name: region for region in calibration.definition.regions}
    return Parts(taken.values, taken.failures, regions)


def _whole(
    calibration: Calibration, cohort: Cohort, nsd_tolerance_mm: float | None
) -> FolderOf:
    """What all parts have in common."""
    check_named(calibration, "parts of an evaluation")
    if calibration.folds is not None:
        raise ValueError(
            "a calibration from folds is not evaluated in parts: its masks are of the "
            "maps of all folds; evaluate with --workers or --dask"
        )
    keys = [key_of(case) for case in cohort.cases]
    meaning = {"calibration": calibration.digest, "nsd_tolerance_mm": nsd_tolerance_mm}
    return FolderOf("calibration or tolerance of NSD", meaning, keys)


def _by_group(
    calibration: Calibration, cases: Sequence[Case]
) -> list[tuple[Calibration, list[Case]]]:
    """The cases of each group with what serves them; all of them without groups."""
    if not calibration.is_grouped:
        return [(calibration, list(cases))]
    column = str(calibration.policy.group_by)
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.column(column), []).append(case)
    return [(calibration.of_group(group), own) for group, own in sorted(groups.items())]


def _packed(result: CaseRows) -> Json:
    """A case as JSON, every number with its type."""
    facts = {name: result.facts[name] for name in _FACTS}
    content = {
        region: [int(own.fingerprint), float(own.gap_above_zero).hex()]
        for region, own in facts["content"].items()
    }
    rows = [
        [region.name, {name: _number(value) for name, value in columns.items()}]
        for region, columns in result.rows
    ]
    volume = float(facts["voxel_volume_ml"]).hex()
    return facts | {"voxel_volume_ml": volume, "content": content, "rows": rows}


def _unpacked(packed: Json, regions: Mapping[str, Region]) -> CaseRows:
    """Inverse of `_packed`."""
    facts: dict[str, Any] = {
        "voxel_volume_ml": float.fromhex(packed["voxel_volume_ml"]),
        "notes": packed["notes"],
        "content": {
            region: MapContent(mark, float.fromhex(gap))
            for region, (mark, gap) in packed["content"].items()
        },
    }
    rows = [
        (regions[name], {k: _value(*v) for k, v in columns.items()})
        for name, columns in packed["rows"]
    ]
    return CaseRows(facts, rows)


def _number(value: Any) -> list[Any]:
    """Type, shape and values of a column's entry; floats as exact hex."""
    array = np.asarray(value)
    flat = array.ravel().tolist()
    exact = [v.hex() if isinstance(v, float) else v for v in flat]
    return [array.dtype.str, list(array.shape), exact]


def _value(dtype: str, shape: list[int], exact: list[Any]) -> Any:
    """Inverse of `_number`."""
    flat = [float.fromhex(v) if isinstance(v, str) else v for v in exact]
    array = np.array(flat, np.dtype(dtype)).reshape(shape)
    return array[()] if not shape else array
