"""Cases through processes of this machine; one that is killed costs its case only.

Each worker is a pool of one process, so that the end of one breaks no other, and what it
worked on is known: the first case that it had not given back. That case is tried once
more, alone in a fresh process; when this ends too, the case has failed, by name.
Processes are spawned, never forked: JAX and its threads do not survive a fork.
"""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any, NamedTuple

from coverax.stream.threads import Outcome, RunError, default_threads
from coverax.stream.where import Done, Stream, killed, outcomes_of, run_stream

_AHEAD = 2  # chunks a worker has: one under way, one that waits for it
_MOST_ENDS = 8  # ends of workers without a case done between them

# What this worker does with cases; set once, when it starts.
_own: dict[str, Any] = {}


class _Chunk(NamedTuple):
    """Cases that go to a worker together; `again` after the end of one that had them."""

    cases: list[Any]
    again: bool = False


class _Worker:
    """A process, and the chunks it has, oldest first."""

    def __init__(self, *start: Any):
        self._start = start
        self.chunks: deque[tuple[Future[Done], _Chunk]] = deque()
        self._pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=self._start,
        )

    def give(self, chunk: _Chunk) -> None:
        """Have a chunk worked on."""
        try:
            future = self._pool.submit(_work, chunk.cases)
        except BrokenProcessPool:  # it was killed while it had nothing to do
            self._pool = self._new()
            future = self._pool.submit(_work, chunk.cases)
        self.chunks.append((future, chunk))

    def renew(self) -> list[_Chunk]:
        """Start again after an end; the chunks that were with it, oldest first."""
        lost = [chunk for _, chunk in self.chunks]
        self.chunks.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._new()
        return lost

    def end(self) -> None:
        """Let it finish what is under way, and go."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def map_processes(
    stream: Stream,
    cases: Iterable[Any],
    *,
    workers: int,
    threads: int | None = None,
    memory: int | None = None,
    at_a_time: int | None = None,
) -> Iterator[Outcome]:
    """Outcomes of all cases, in any order.

    Args:
        stream: What is done with them.
        cases: Read as workers get free.
        workers: How many processes.
        threads: Cases at a time of each; its share of the cores by default.
        memory: Most bytes of volumes under way in all of them.
        at_a_time: Cases that go to one together; few for each thread by default.

    Raises:
        OSError: The disk is full, or the machine at its end otherwise.
        RunError: What every case would meet, or workers end that do nothing.
    """
    each = threads or max(1, default_threads() // workers)
    size = at_a_time or (1 if each == 1 else 4 * each)
    rest = iter(cases)
    fresh = iter(lambda: list(itertools.islice(rest, size)), [])
    waiting: deque[_Chunk] = deque()
    share = None if memory is None else max(1, memory // workers)
    pools = [_Worker(stream, each, share) for _ in range(workers)]
    n_ends = 0
    try:
        while True:
            _fill(pools, waiting, fresh)
            futures = [future for pool in pools for future, _ in pool.chunks]
            if not futures:
                return
            wait(futures, return_when=FIRST_COMPLETED)
            for pool in pools:
                while pool.chunks and pool.chunks[0][0].done():
                    future, chunk = pool.chunks[0]
                    if isinstance(future.exception(), BrokenProcessPool):
                        n_ends += 1
                        yield from _after_end(pool, waiting, n_ends)
                        break
                    pool.chunks.popleft()
                    n_ends = 0
                    yield from outcomes_of(chunk.cases, future.result())
    finally:
        for pool in pools:
            pool.end()


def _fill(
    pools: list[_Worker], waiting: deque[_Chunk], fresh: Iterator[list[Any]]
) -> None:
    for _ in range(_AHEAD):
        for pool in pools:
            if len(pool.chunks) == _AHEAD:
                continue
            if waiting:
                pool.give(waiting.popleft())
            elif (chunk := next(fresh, None)) is not None:
                pool.give(_Chunk(chunk))


def _after_end(pool: _Worker, waiting: deque[_Chunk], n_ends: int) -> Iterator[Outcome]:
    """Put back what a worker had that ended; fail the case that ended two."""
    suspect, *innocent = pool.renew()
    if n_ends > _MOST_ENDS:
        raise RunError(
            f"{n_ends} workers ended without a case done between them: out of memory, "
            "or they cannot start here"
        )
    if suspect.again:
        yield Outcome(suspect.cases[0], None, killed("the process"))
    else:
        waiting.extend(_Chunk([case], again=True) for case in suspect.cases)
    waiting.extendleft(reversed(innocent))


def _begin(stream: Stream, threads: int, memory: int | None) -> None:
    """Start of a worker: Ctrl-C is for the parent, and without one it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_go_with, args=(parent.sentinel,), daemon=True).start()
    _own.update(stream=stream, threads=threads, memory=memory)


def _go_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


def _work(cases: list[Any]) -> Done:
    return run_stream(_own["stream"], cases, _own["threads"], _own["memory"])
