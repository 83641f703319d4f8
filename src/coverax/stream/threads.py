"""Cases through a pool of threads: ordered results, bounded memory, no statistics.

Decoders and NumPy release the GIL, so threads scale; a failed case becomes a value, so
that every case is tried before anything is reported.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from coverax.files import OutputError

C = TypeVar("C")
R = TypeVar("R")

# What a bad file or a bad value raises; anything else is a defect and stops the run.
CASE_ERRORS = (ValueError, OSError, MemoryError)
# A full disk, a failing one, or too few handles is nobody's case: it stops the run too.
_OF_THE_MACHINE = {
    getattr(errno, name)
    for name in ("EDQUOT", "EFBIG", "EIO", "EMFILE", "ENFILE", "ENOSPC", "EROFS")
    if hasattr(errno, name)
}


class RunError(ValueError):
    """What every case would meet: it stops the run, and is no case's fault."""


class Outcome(NamedTuple):
    """What became of a case: a value, or the error that stopped it."""

    case: Any
    value: Any
    error: Exception | None


def default_threads() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_threads(
    fn: Callable[[C], R],
    cases: Iterable[C],
    *,
    threads: int | None = None,
    memory: int | None = None,
    size_of: Callable[[C], int] = lambda _case: 0,
) -> Iterator[Outcome]:
    """Apply `fn` to every case, yielding outcomes in the order of the cases.

    At most two cases a thread are under way or waiting to be taken, however many there
    are, and no more than `memory` allows. When the consumer stops early (an error,
    Ctrl-C) waiting cases are dropped.
    """
    n_threads = threads or default_threads()
    pending: deque[tuple[C, int, Future[R]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="coverax")
    held = 0

    def take() -> Outcome:
        nonlocal held
        case, size, future = pending.popleft()
        outcome = _outcome(case, future)
        held -= size
        return outcome

    try:
        for case in cases:
            size = 0 if memory is None else size_of(case)
            if memory is not None and size > memory:
                pending.append((case, 0, _refused(size, memory)))
            else:
                while pending and memory is not None and held + size > memory:
                    yield take()
                pending.append((case, size, pool.submit(fn, case)))
                held += size
            if len(pending) >= 2 * n_threads:
                yield take()
        while pending:
            yield take()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def map_alone(
    fn: Callable[[C], R],
    cases: Iterable[C],
    *,
    memory: int | None = None,
    size_of: Callable[[C], int] = lambda _case: 0,
) -> Iterator[Outcome]:
    """The same in the thread that asks, one case at a time."""
    for case in cases:
        future: Future[R] = Future()
        size = 0 if memory is None else size_of(case)
        if memory is not None and size > memory:
            future = _refused(size, memory)
        else:
            try:
                future.set_result(fn(case))
            except Exception as error:  # noqa: BLE001 - `_outcome` raises what is no case's
                future.set_exception(error)
        yield _outcome(case, future)


def _refused(size: int, memory: int) -> Future[Any]:
    """The outcome of a case that is larger than the budget."""
    future: Future[Any] = Future()
    future.set_exception(
        ValueError(
            f"its volumes are {size} bytes ({size / 1e9:.3g} GB), more than the "
            f"{memory} that may be under way (--memory, its share for each worker)"
        )
    )
    return future


def _outcome(case: Any, future: Future[Any]) -> Outcome:
    try:
        return Outcome(case, future.result(), None)
    except MemoryError:
        return Outcome(case, None, MemoryError("the case does not fit the memory"))
    except CASE_ERRORS as error:
        if isinstance(error, (OutputError, RunError)) or is_of_the_machine(error):
            raise
        return Outcome(case, None, error)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says nothing about the case during which it came up."""
    return isinstance(error, OSError) and error.errno in _OF_THE_MACHINE
