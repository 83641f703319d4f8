"""A table in parts: each shard scores its cases, and the parts make one table.

What a single process asks of all cases together (one kind of map, no masks, no copies)
is asked of the joined table, so that it is the table of one process to the byte.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coverax.choices import EngineName
from coverax.engine.switch import resolve_engine
from coverax.files import PathLike, digest_json
from coverax.scores.first_pass import first_pass
from coverax.scores.notes import cohort_notes
from coverax.scores.records import (
    about_case,
    check_maps,
    common_kind,
    further_columns,
    scored_case,
    table_rows,
    turned_cases,
)
from coverax.stream import HERE, Journal, Shard, Where
from coverax.table.definition import ScoreDefinition
from coverax.table.part import LostCase, ScoredCase, TablePart, read_part
from coverax.table.table import ScoreTable
from coverax.volumes import Cohort, some_names


def score_part(
    cohort: Cohort,
    definition: ScoreDefinition,
    shard: Shard,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    where: Where = HERE,
    journal: Journal | None = None,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
) -> TablePart:
    """Score the cases of one shard; `merge_parts` makes the table of all.

    Args:
        cohort: All cases of all shards: every shard is given the same.
        definition: What to score and how to read it.
        shard: Which cases are its own.
        engine: As for `score_cohort`.
        threads: Cases at a time.
        where: Where they are read.
        journal: Where finished records go, and where earlier ones come from.
        verify_inputs: With earlier records, tell replaced files by their content too.
        allow_missing: Go on without the cases that failed and record them; here they
            may be all, since other parts have others.
        on_case: Called once a case, for progress.
        on_failure: Called with a line for each case left out under `allow_missing`.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
        ValueError: The maps are of different kinds.
    """
    chosen = resolve_engine(engine)
    definition = definition.with_engine(chosen.name)
    further = further_columns(cohort.cases, definition)
    own = shard.of(cohort.cases)
    number = dict(zip(own, shard.numbers(len(cohort.cases)), strict=True))
    kept, failures = first_pass(
        own,
        definition,
        chosen,
        threads=threads,
        where=where,
        journal=journal,
        verify_inputs=verify_inputs,
        allow_missing=allow_missing,
        even_all=True,
        on_case=on_case,
        on_failure=on_failure,
    )
    cases = [scored_case(number[case], case, kept[case]) for case in kept]
    if cases:
        common_kind(cases)  # what is mixed in a part is mixed in the whole
    rows = table_rows(kept)
    columns = (
        ScoreTable.from_rows(rows, definition, None, further).columns if rows else {}
    )
    return TablePart(
        (shard.index, shard.count),
        definition,
        digest_json([[about_case(case) for case in cohort.cases], cohort.excluded]),
        len(cohort.cases),
        dict(cohort.excluded),
        further,
        tuple(cases),
        tuple(LostCase(number[c], c.case_id, why) for c, why in failures.items()),
        columns,
    )


def merge_parts(
    paths: Iterable[PathLike],
    *,
    on_part: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> ScoreTable:
    """Join the parts of all shards to the table that one process would have made.

    Args:
        paths: Files that `TablePart.write` wrote, one of each shard, in any order.
        on_part: Called once a part, for progress.
        on_failure: Called with a line for each case that was left out.
        on_note: Called with a line for what was left out inside cases.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A part is missing, there twice, altered, of another version,
            definition or cohort, or what one process refuses of all cases holds of them.
    """
    parts: dict[int, tuple[Path, TablePart]] = {}
    for path in map(Path, paths):
        part = read_part(path)
        first = next(iter(parts.values()), None)
        if first is not None:
            _check_alike(*first, path, part)
        if part.shard[0] in parts:
            other = parts[part.shard[0]][0]
            raise ValueError(
                f"{path} and {other} are both part {part.shard[0]} of {part.shard[1]}: "
                "keep one"
            )
        parts[part.shard[0]] = path, part
        on_part()
    if not parts:
        raise ValueError("there is no part to merge")
    ordered = [parts[index][1] for index in sorted(parts)]
    _check_complete(parts)
    return _joined(ordered, on_failure, on_note)


def _check_alike(
    first_path: Path, first: TablePart, path: Path, part: TablePart
) -> None:
    """Refuse a part that belongs to another run than the first."""
    if part.shard[1] != first.shard[1]:
        raise ValueError(
            f"{path} is one of {part.shard[1]} parts, {first_path} one of "
            f"{first.shard[1]}: merge those of one run"
        )
    if part.definition != first.definition:
        ours, theirs = part.definition.to_json(), first.definition.to_json()
        differing = [name for name in ours if ours[name] != theirs[name]]
        raise ValueError(
            f"{path} was scored with other options than {first_path} "
            f"({', '.join(differing)}): score it again"
        )
    if part.cohort_digest != first.cohort_digest or part.n_cases != first.n_cases:
        raise ValueError(
            f"{path} is of another cohort than {first_path} (other cases, or another "
            "unit, group or column of one): score it again"
        )


def _check_complete(parts: dict[int, tuple[Path, TablePart]]) -> None:
    """Refuse parts that are not all, or do not hold each case once."""
    path, first = next(iter(parts.values()))
    count = first.shard[1]
    missing = [Shard(i, count).name for i in range(1, count + 1) if i not in parts]
    if missing:
        raise ValueError(
            f"{path.parent}: {len(missing)} of {count} parts are missing: "
            f"{some_names(missing)}"
        )
    for index, (own, part) in parts.items():
        numbers = sorted(case.number for case in (*part.cases, *part.lost))
        if numbers != list(Shard(index, count).numbers(part.n_cases)):
            raise ValueError(f"{own}: does not hold each of its cases once")


def _joined(
    parts: Sequence[TablePart],
    on_failure: Callable[[str], None],
    on_note: Callable[[str], None],
) -> ScoreTable:
    cases = sorted(case for part in parts for case in part.cases)
    lost = sorted(case for part in parts for case in part.lost)
    first = parts[0]
    excluded = dict(first.excluded)
    if lost:
        excluded["failed"] = tuple(case.case_id for case in lost)
        for case in lost:
            on_failure(f"left out: case {case.case_id}: {case.why}")
    if not cases:
        raise ValueError("no case could be scored")
    for line in cohort_notes(case.notes for case in cases):
        on_note(line)
    definition = first.definition.with_kind(common_kind(cases))
    columns = _joined_columns([part for part in parts if part.cases], cases)
    table = ScoreTable(columns, definition, excluded, turned_cases(cases))
    check_maps(table)
    return table


def _joined_columns(
    parts: Sequence[TablePart], cases: Sequence[ScoredCase]
) -> dict[str, np.ndarray]:
    """Rows of all parts in the order of the cohort; each value is copied once."""
    n_rows = [case.n_rows for case in cases]
    starts = np.concatenate([[0], np.cumsum(n_rows)])
    start = {case.number: starts[i] for i, case in enumerate(cases)}
    places = [
        np.concatenate(
            [start[case.number] + np.arange(case.n_rows) for case in part.cases]
        ).astype(np.int64)
        for part in parts
    ]
    names = list(parts[0].columns)
    if any(list(part.columns) != names for part in parts):
        raise ValueError("the parts have different columns: score them again")
    return {
        name: _joined_column([p.columns[name] for p in parts], places) for name in names
    }


def _joined_column(each: Sequence[Any], places: Sequence[np.ndarray]) -> np.ndarray:
    width = {values.shape[1:] for values in each}
    if len(width) > 1:
        raise ValueError("lists of one column differ in length between parts")
    shape = (sum(map(len, places)), *width.pop())
    out = np.empty(shape, np.result_type(*{values.dtype for values in each}))
    for values, own in zip(each, places, strict=True):
        out[own] = values
    return out
