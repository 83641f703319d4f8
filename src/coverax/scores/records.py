"""Records of finished cases: what a run keeps of each, and what they have in common."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from coverax.provenance import check_no_copies, check_not_masks, kind_of_values
from coverax.scores.batch import CaseRows
from coverax.scores.notes import TURNED
from coverax.stream import Journal, file_facts
from coverax.table.columns import FOLD, check_further
from coverax.table.definition import MapKind, ScoreDefinition
from coverax.table.part import ScoredCase
from coverax.table.table import ScoreTable
from coverax.volumes import Case, common_storages, describe_mark, files_beside


class Brief(NamedTuple):
    """What is held of a finished case while its rows wait in the journal.

    Attributes:
        kind: Channels, storage and mark of its map.
        notes: What reading it left out.
        n_rows: Rows of the table that are its own.
    """

    kind: tuple[int, str, str]
    notes: dict[str, Any]
    n_rows: int

    @classmethod
    def of(cls, record: dict[str, Any]) -> "Brief":
        """Of a record."""
        n_channels, storage, mark = record["kind"]
        kind = (n_channels, sys.intern(storage), sys.intern(mark))
        return cls(kind, record["notes"], len(record["rows"]))


def rows_of(result: CaseRows) -> list[dict[str, Any]]:
    """Rows of the table that a case gives, by region; what the cohort says comes later."""
    facts = {k: result.facts[k] for k in ("voxel_volume_ml", "overshoot")}
    facts |= result.facts.get("softmax", {})
    content = result.facts["content"]
    ordered = sorted(result.rows, key=lambda pair: pair[0].name)
    return [
        facts
        | {
            "region": region.name,
            "map_fingerprint": content[region.name].fingerprint,
            "gap_above_zero": content[region.name].gap_above_zero,
        }
        | row
        for region, row in ordered
    ]


def record_of(result: CaseRows, facts: Any) -> dict[str, Any]:
    """What a journal keeps of a case: rows, and the facts of its files."""
    return {
        "files": facts,
        "kind": [result.facts[k] for k in ("n_channels", "storage", "mark")],
        "notes": result.facts["notes"],
        "rows": rows_of(result),
    }


def packed(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose lists of numbers are arrays of the smallest type: it is held."""
    rows = [
        {name: _pack(value) for name, value in row.items()} for row in record["rows"]
    ]
    return record | {"files": None, "rows": rows}


def _pack(value: Any) -> Any:
    if not isinstance(value, list) or not value:
        return value
    array = np.asarray(value)
    if array.dtype.kind != "i":
        return array
    smallest = np.promote_types(*map(np.min_scalar_type, (array.min(), array.max())))
    return array.astype(smallest)


def facts_of(cases: Iterable[Case], *, content: bool) -> dict[str, Any]:
    """Facts of the files of each case.

    Taken before any is read: a file that is replaced meanwhile is read again next time.
    """
    return {
        key_of(case): file_facts(
            [case.probs, *files_beside(case.probs), case.labels, case.valid],
            content=content,
        )
        for case in cases
    }


def finished(
    journal: Journal | None, cases: Iterable[Case], facts: dict[str, Any]
) -> dict[str, Brief]:
    """Cases of an earlier run whose files are unchanged, by key."""
    found: dict[str, Brief] = {}
    for case in cases if journal else ():
        known = journal.records.get(key_of(case)) if journal else None
        if known is not None and known["files"] == facts[key_of(case)]:
            found[key_of(case)] = Brief.of(known)
    return found


def about_case(case: Case) -> dict[str, Any]:
    """What the cohort, not the files, says of a case."""
    return {
        "case_id": case.case_id,
        "unit": case.unit,
        "group": case.group,
        "weight": case.weight,
        "rater": case.rater,
        "part": case.part,
        **dict(case.columns),
    }


def scored_case(number: int, case: Case, brief: Brief) -> ScoredCase:
    """What is to be known of a case beside its rows."""
    fold = dict(case.columns).get(FOLD, "")
    return ScoredCase(number, case.case_id, fold, *brief)


def table_rows(
    cases: Iterable[Case], records: Mapping[str, dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows of the table; unit, group and weight are what the cohort says now."""
    for case in cases:
        about = about_case(case)
        for row in records[key_of(case)]["rows"]:
            yield about | row


def further_columns(
    cases: Sequence[Case], definition: ScoreDefinition
) -> tuple[str, ...]:
    """Columns of text that the cohort has beside those of a `Case`.

    Raises:
        ValueError: One is called as columns of the table are.
    """
    further = tuple(name for name, _ in cases[0].columns) if cases else ()
    check_further(further, definition)
    return further


def turned_cases(cases: Iterable[ScoredCase]) -> dict[str, dict[str, str]]:
    """Case id to how its files were turned, of those that were."""
    return {case.case_id: case.notes[TURNED] for case in cases if TURNED in case.notes}


def key_of(case: Case) -> str:
    """What names a case and its reference in a journal."""
    region = "" if case.region is None else f"\n{case.region}"
    return case.case_id + region + (f"\nrater {case.rater}" if case.rater else "")


def common_kind(cases: Sequence[ScoredCase]) -> MapKind:
    """The kind of map all cases share; storages may differ (`common_storages`).

    Raises:
        ValueError: Maps have other channels, or were made or scaled by another model.
    """
    by_channels = {case.kind[0]: case for case in cases}
    if len(by_channels) > 1:
        which = [
            f"case {case.case_id} has " + (f"{n} channels" if n else "no class axis")
            for n, case in sorted(by_channels.items())
        ]
        raise ValueError(f"the maps are of different kinds: {'; '.join(which)}")
    storages = common_storages(tuple(case.kind[1] for case in cases))
    if len({case.fold for case in cases}) > 1:
        return MapKind(next(iter(by_channels)), storages, None, _fold_marks(cases))
    by_mark = {case.kind[2]: case for case in cases}
    if len(by_mark) > 1:
        which = [
            f"case {case.case_id} has {describe_mark(mark)}"
            for mark, case in sorted(by_mark.items())
        ]
        raise ValueError(
            f"the maps are of different kinds: {'; '.join(which)}. Scaled and unscaled "
            "maps, packed and unpacked ones, and those of two models, are not to be mixed"
        )
    return MapKind(next(iter(by_channels)), storages, next(iter(by_mark)))


def _fold_marks(cases: Iterable[ScoredCase]) -> tuple[tuple[str, str], ...]:
    """What the maps of each fold say of their model: one thing a fold.

    Raises:
        ValueError: Maps of one fold are of several models.
    """
    marks: dict[str, str] = {}
    for case in cases:
        fold, mark = case.fold, case.kind[2]
        if marks.setdefault(fold, mark) != mark:
            raise ValueError(
                f"fold {fold} has maps with {describe_mark(marks[fold])} and with "
                f"{describe_mark(mark)}: a fold is predicted by one model"
            )
    return tuple(sorted(marks.items()))


def check_maps(table: ScoreTable) -> None:
    """Refuse hard masks, and one map under several names.

    Raises:
        ValueError: The rows are of such maps.
    """
    names = ("case_id", "region", "unit", "map_fingerprint", "gap_above_zero")
    case_ids, regions, units, marks, gaps = (table.column(n).tolist() for n in names)
    kinds = [kind_of_values(*c) for c in zip(marks, gaps, strict=True)]
    allowed = table.definition
    check_not_masks(
        zip(case_ids, regions, kinds, strict=True), allow=allowed.allow_hard_masks
    )
    check_no_copies(case_ids, units, regions, marks, allow=allowed.allow_duplicates)
