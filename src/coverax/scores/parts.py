"""A table in parts: each shard scores its cases, and the parts make one table.

What a single process asks of all cases together (one kind of map, no masks, no copies)
is asked of the joined table, so that it is the table of one process to the byte.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

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
    turned_cases,
)
from coverax.stream import HERE, Journal, Shard, Where, map_cases
from coverax.table.blocks import forget, new_columns
from coverax.table.definition import ScoreDefinition
from coverax.table.part import (
    LostCase,
    ScoredCase,
    TablePart,
    read_head,
    read_part,
)
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
    beside: PathLike | None = None,
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
        beside: As for `score_cohort`.
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
    found = first_pass(
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
    cases = [scored_case(number[case], case, b) for case, b in found.kept.items()]
    if cases:
        common_kind(cases)  # what is mixed in a part is mixed in the whole
    return TablePart(
        (shard.index, shard.count),
        definition,
        digest_json([[about_case(case) for case in cohort.cases], cohort.excluded]),
        len(cohort.cases),
        dict(cohort.excluded),
        further,
        tuple(cases),
        tuple(LostCase(number[c], c.case_id, why) for c, why in found.failures.items()),
        found.columns(definition, further, beside),
    )


def merge_parts(
    paths: Iterable[PathLike],
    *,
    beside: PathLike | None = None,
    on_part: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
    on_note: Callable[[str], None] = lambda _line: None,
) -> ScoreTable:
    """Join the parts of all shards to the table that one process would have made.

    Args:
        paths: Files that `TablePart.write` wrote, one of each shard, in any order.
        beside: As for `score_cohort`.
        on_part: Called once a part, for progress.
        on_failure: Called with a line for each case that was left out.
        on_note: Called with a line for what was left out inside cases.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A part is missing, there twice, altered, of another version,
            definition or cohort, or what one process refuses of all cases holds of them.
    """
    heads: dict[int, tuple[Path, TablePart]] = {}
    for path in map(Path, paths):
        head = read_head(path)
        first = next(iter(heads.values()), None)
        if first is not None:
            _check_alike(*first, path, head)
        if head.shard[0] in heads:
            other = heads[head.shard[0]][0]
            raise ValueError(
                f"{path} and {other} are both part {head.shard[0]} of {head.shard[1]}: "
                "keep one"
            )
        heads[head.shard[0]] = path, head
    if not heads:
        raise ValueError("there is no part to merge")
    _check_complete(heads)
    parts = [heads[i] for i in sorted(heads)]
    return _joined(parts, beside, on_part, on_failure, on_note)


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
    heads: Sequence[tuple[Path, TablePart]],
    beside: PathLike | None,
    on_part: Callable[[], None],
    on_failure: Callable[[str], None],
    on_note: Callable[[str], None],
) -> ScoreTable:
    cases = sorted(case for _, head in heads for case in head.cases)
    lost = sorted(case for _, head in heads for case in head.lost)
    first = heads[0][1]
    excluded = dict(first.excluded)
    if lost:
        excluded["failed"] = tuple(case.case_id for case in lost)
    if not any(case.n_rows for case in cases):
        raise ValueError("no case could be scored")
    for case in lost:
        on_failure(f"left out: case {case.case_id}: {case.why}")
    for line in cohort_notes(case.notes for case in cases):
        on_note(line)
    definition = first.definition.with_kind(common_kind(cases))
    columns = _joined_columns(heads, cases, beside, on_part)
    table = ScoreTable(columns, definition, excluded, turned_cases(cases))
    check_maps(table)
    return table


def _joined_columns(
    heads: Sequence[tuple[Path, TablePart]],
    cases: Sequence[ScoredCase],
    beside: PathLike | None,
    on_part: Callable[[], None],
) -> dict[str, np.ndarray]:
    """Rows of all parts in the order of the cohort; few parts are in memory at a time."""
    starts = np.concatenate([[0], np.cumsum([case.n_rows for case in cases])])
    start = {case.number: int(starts[i]) for i, case in enumerate(cases)}
    out: dict[str, np.ndarray] = {}

    def take(pair: tuple[Path, TablePart]) -> None:
        path, head = pair
        part = read_part(path)
        if (part.cases, part.lost) != (head.cases, head.lost):
            raise ValueError(f"{path}: was replaced while it was read")
        if not out:
            out.update(new_columns(part.columns, int(starts[-1]), beside))
        own = [start[case.number] + np.arange(case.n_rows) for case in part.cases]
        _put(path, part.columns, np.concatenate(own), out)
        forget(out)

    filled = [pair for pair in heads if pair[1].n_rows]
    take(filled[0])
    # Reading, checking and copying leave the interpreter to others: threads gain.
    for _, _, error in map_cases(take, filled[1:]):
        if error is not None:
            raise error
        on_part()
    for _ in range(len(heads) - len(filled) + 1):
        on_part()
    return out


def _put(
    path: Path,
    columns: Mapping[str, np.ndarray],
    rows: np.ndarray,
    out: Mapping[str, np.ndarray],
) -> None:
    """Copy the columns of a part into their rows of the whole."""
    if list(columns) != list(out):
        raise ValueError(f"{path}: has other columns than the parts before it")
    step = int(rows[1] - rows[0]) if len(rows) > 1 else 1
    is_even = np.array_equal(rows, rows[0] + step * np.arange(len(rows)))
    where = slice(rows[0], rows[-1] + 1, step) if is_even else rows
    for name, values in columns.items():
        whole = out[name]
        if (values.shape[1:], values.dtype) != (whole.shape[1:], whole.dtype):
            raise ValueError(
                f"{path}: column {name} is of another type or length than in the parts "
                "before it"
            )
        whole[where] = values
