"""The second pass: counts at the cohort's own critical probabilities.

The fixed grid cannot say what a case's metrics are at exactly the threshold another
case would set. Those thresholds are known after the first pass, so a second reading
counts at all of them: every metric of every case at every possible threshold is exact.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from coverax.choices import EngineName
from coverax.engine.switch import Engine, resolve_engine
from coverax.scores.batch import CaseRows, ViewBatch
from coverax.scores.stream import load_case, stream_rows
from coverax.stream import gather
from coverax.table.columns import CRITICAL_PREDICTED, CRITICAL_TRUE_POSITIVE
from coverax.table.table import ScoreTable
from coverax.volumes import Case, Cohort


def add_critical_curves(
    table: ScoreTable,
    cohort: Cohort,
    *,
    engine: EngineName = "auto",
    threads: int | None = None,
    on_case: Callable[[], None] = lambda: None,
) -> ScoreTable:
    """Read the cases of a table again and add their counts at its critical cuts.

    Args:
        table: What the first pass wrote.
        cohort: The same files.
        engine: `host` and `device` give the same counts.
        threads: Reader threads.
        on_case: Called once a case, for progress.

    Raises:
        ExceptionGroup: Cases failed; one exception each, naming case and file.
    """
    wanted = set(table.column("case_id"))
    cases = [case for case in cohort.cases if case.case_id in wanted]
    cuts = {r.name: table.critical_cuts(r.name) for r in table.definition.regions}
    every = np.unique(np.concatenate(list(cuts.values())))
    place = {name: np.searchsorted(every, own) for name, own in cuts.items()}

    def batch_fn(engine: Engine, batch: ViewBatch) -> dict[str, np.ndarray]:
        probs, labels, valid = (batch.place(engine, a) for a in batch[:3])
        counts = engine.ops.cut_counts(probs, labels, every, valid=valid)
        return {
            CRITICAL_PREDICTED: np.asarray(counts.n_predicted),
            CRITICAL_TRUE_POSITIVE: np.asarray(counts.n_true_positive),
        }

    found: dict[tuple[str, str, str], dict[str, Any]] = {}

    def take(case: Case, result: CaseRows) -> None:
        for region, row in result.rows:
            found[case.case_id, region.name, case.rater] = {
                name: np.asarray(counts)[place[region.name]]
                for name, counts in row.items()
            }

    outcomes = stream_rows(
        cases,
        lambda case, buffers: load_case(case, table.definition, buffers),
        batch_fn,
        resolve_engine(engine),
        threads=threads,
    )
    gather(outcomes, cases, take, name=lambda case: case.case_id, on_case=on_case)
    names = (table.column(name) for name in ("case_id", "region", "rater"))
    keys = zip(*names, strict=True)
    ordered = [found[key] for key in keys]
    added: dict[str, np.ndarray] = {}
    for name in (CRITICAL_PREDICTED, CRITICAL_TRUE_POSITIVE):
        added[name] = np.empty(len(ordered), object)
        added[name][:] = [row[name].astype(np.int64) for row in ordered]
    return replace(table, columns={**table.columns, **added})
