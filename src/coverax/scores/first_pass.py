"""The first pass: every case of a run is read once, or known from an earlier run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from coverax.engine.switch import Engine
from coverax.files import PathLike
from coverax.scores.batch import CaseRows, Loaded
from coverax.scores.families import all_columns
from coverax.scores.records import (
    Brief,
    facts_of,
    finished,
    key_of,
    packed,
    record_of,
    table_rows,
)
from coverax.scores.stream import MapReader, load_case, stream_rows
from coverax.stream import HERE, Journal, Where, gather
from coverax.table.blocks import columns_of_rows
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


class FirstPass(NamedTuple):
    """What a first pass found.

    Attributes:
        kept: The cases that have records, in their order.
        records: By `key_of`: in the journal, or in memory where there is none.
        failures: Why others failed.
    """

    kept: dict[Case, Brief]
    records: Mapping[str, dict[str, Any]]
    failures: dict[Case, str]

    @property
    def n_rows(self) -> int:
        """Rows of all of them."""
        return sum(brief.n_rows for brief in self.kept.values())

    def columns(
        self,
        definition: ScoreDefinition,
        further: Sequence[str],
        beside: PathLike | None,
    ) -> dict[str, np.ndarray]:
        """Their rows as columns, read from the records block by block."""
        rows = table_rows(self.kept, self.records)
        return columns_of_rows(rows, self.n_rows, definition, further, beside)


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
) -> FirstPass:
    """Records of all cases, and why others failed.

    The arguments are those of `score_cohort`; `even_all` allows that no case is left.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
    """
    facts = facts_of(cases if journal else (), content=verify_inputs)
    done = finished(journal, cases, facts)
    held: dict[str, dict[str, Any]] = {}
    for _ in done:
        on_case()

    def take(case: Case, result: CaseRows) -> None:
        key = key_of(case)
        record = record_of(result, facts.pop(key, None))
        if journal:
            journal.add(key, record)
        else:
            held[key] = packed(record)
        done[key] = Brief.of(record)

    outcomes = stream_rows(
        [case for case in cases if key_of(case) not in done],
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
    kept = {case: done[key_of(case)] for case in cases if key_of(case) in done}
    return FirstPass(kept, journal.records if journal else held, failures)
