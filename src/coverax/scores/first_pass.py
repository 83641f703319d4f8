"""The first pass: every case of a run is read once, or known from an earlier run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from coverax.engine.switch import Engine
from coverax.scores.batch import CaseRows, Loaded
from coverax.scores.families import all_columns
from coverax.scores.records import facts_of, finished, key_of, packed, record_of
from coverax.scores.stream import MapReader, load_case, stream_rows
from coverax.stream import HERE, Journal, Where, gather
from coverax.table.definition import ScoreDefinition
from coverax.volumes import Buffer, Case, read_probs


@dataclass(frozen=True, slots=True)
class Loader:
    """Reads a case as a definition says; it travels to other processes."""

    definition: ScoreDefinition
    read_map: MapReader = read_probs

    def __call__(self, case: Case, buffers: tuple[Buffer, Buffer] | None) -> Loaded:
        """The case in memory."""
        return load_case(case, self.definition, buffers, read_map=self.read_map)


def first_pass(
    cases: Sequence[Case],
    definition: ScoreDefinition,
    engine: Engine,
    *,
    threads: int | None = None,
    where: Where = HERE,
    journal: Journal | None = None,
    verify_inputs: bool = False,
    allow_missing: bool = False,
    even_all: bool = False,
    read_map: MapReader = read_probs,
    on_case: Callable[[], None] = lambda: None,
    on_failure: Callable[[str], None] = lambda _why: None,
) -> tuple[dict[Case, dict[str, Any]], dict[Case, str]]:
    """Records of all cases, in their order, and why others failed.

    The arguments are those of `score_cohort`; `even_all` allows that no case is left.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
    """
    facts = facts_of(cases if journal else (), content=verify_inputs)
    records = finished(journal, cases, facts)
    for _ in records:
        on_case()

    def take(case: Case, result: CaseRows) -> None:
        record = record_of(case, result, facts)
        if journal:
            journal.add(key_of(case), record)
        records[key_of(case)] = packed(record)

    outcomes = stream_rows(
        [case for case in cases if key_of(case) not in records],
        Loader(definition, read_map),
        partial(all_columns, definition=definition),
        engine,
        spatial=definition.is_spatial,
        threads=threads,
        where=where,
    )
    failures = gather(
        outcomes,
        cases,
        take,
        name=lambda case: case.case_id,
        allow_missing=allow_missing,
        even_all=even_all,
        on_case=on_case,
        on_failure=on_failure,
    )
    return {c: records[key_of(c)] for c in cases if key_of(c) in records}, failures
