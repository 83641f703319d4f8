"""Cases through batches of a device: one open batch a bucket, two batches under way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from coverax.engine.switch import Engine
from coverax.scores.batch import CaseRows, View, ViewBatch, bucket_of
from coverax.stream import Outcome

# Batches of different buckets that may be open at once.
_MAX_OPEN = 4
# Batches under way: one is computed while the next one travels and another is filled.
_MAX_RUNNING = 2

Columns = dict[str, np.ndarray]


class _Open(NamedTuple):
    """A batch that is filled, and whose views lie in its slots."""

    arrays: Any
    slots: list[tuple[int, View]]


class _Waiting(NamedTuple):
    """A case of which some views are in batches."""

    case: Any
    facts: dict[str, Any]
    rows: list[Any]
    n_views: int


@dataclass(slots=True)
class Batches:
    """What fills batches and computes them, for one run over cases.

    Attributes:
        batch_fn: Columns of a batch; called from threads.
        engine: The device.
        spatial: Whether batches keep the axes of their cases.
    """

    batch_fn: Callable[[Engine, ViewBatch], Columns]
    engine: Engine
    spatial: bool
    _open: dict[Any, _Open] = field(default_factory=dict)
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _used: set[Any] = field(default_factory=set)
    _running: deque[tuple[Future[Columns], list[tuple[int, View]]]] = field(
        default_factory=deque
    )

    def rows_of(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Loaded cases to rows: a batch runs when it is full, and all at the end."""
        with ThreadPoolExecutor(_MAX_RUNNING, "coverax-batch") as pool:
            for number, (case, loaded, error) in enumerate(outcomes):
                if loaded is None:
                    yield Outcome(case, None, error)
                    continue
                if not loaded.views:
                    yield Outcome(case, CaseRows(loaded.facts, []), None)
                    continue
                n_views = len(loaded.views)
                self._waiting[number] = _Waiting(case, loaded.facts, [], n_views)
                for view in loaded.views:
                    for bucket in self._full(number, view):
                        yield from self._run(pool, bucket)
            for bucket in list(self._open):
                yield from self._run(pool, bucket)
            while self._running:
                yield from self._finish()

    def _full(self, number: int, view: View) -> Iterator[Any]:
        """Put a view into its batch; the buckets whose batches have to run for it."""
        from coverax.kernels import empty_batch, fill_slot, n_devices

        shape, axes, bucket = bucket_of(view, spatial=self.spatial)
        if bucket not in self._open:
            if len(self._open) == _MAX_OPEN:
                yield max(self._open, key=lambda b: len(self._open[b].slots))
            self._open[bucket] = _Open(empty_batch(bucket, n_devices()), [])
        batch, slots = self._open[bucket]
        arrays = (view.probs, view.labels, view.valid)
        fill_slot(batch, len(slots), *arrays, shape=shape, axes=axes)
        slots.append((number, view))
        if len(slots) == len(batch.probs):
            yield bucket

    def _run(self, pool: ThreadPoolExecutor, bucket: Any) -> Iterator[Outcome]:
        """Start on an open batch; what the oldest one found, where too many run."""
        from coverax.kernels import clear_slots, on_own_device
        from coverax.scores.first_use import check_first_use

        batch, slots = self._open.pop(bucket)
        clear_slots(batch, len(slots))
        views = [view for _, view in slots]
        if bucket not in self._used:
            self._used.add(bucket)
            check_first_use(self.engine, self.batch_fn, views[0].region, bucket)
        axes = bucket if isinstance(bucket, tuple) else None
        whole = ViewBatch(batch.probs, batch.labels, batch.valid, views, axes)
        computed = pool.submit(on_own_device(self.batch_fn), self.engine, whole)
        self._running.append((computed, slots))
        if len(self._running) == _MAX_RUNNING:
            yield from self._finish()

    def _finish(self) -> Iterator[Outcome]:
        """Rows of the oldest batch under way, for cases that have all of theirs."""
        computed, slots = self._running.popleft()
        columns = computed.result()
        for slot, (number, view) in enumerate(slots):
            waiting = self._waiting[number]
            waiting.rows.append((view.region, row_of(columns, slot)))
            if len(waiting.rows) == waiting.n_views:
                del self._waiting[number]
                rows = CaseRows(waiting.facts, waiting.rows)
                yield Outcome(waiting.case, rows, None)


def row_of(columns: Columns, slot: int) -> dict[str, Any]:
    """The columns of one slot as plain numbers and lists."""
    return {name: values[slot].tolist() for name, values in columns.items()}
