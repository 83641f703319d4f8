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


def map_cases(
    fn: Callable[[C], R], cases: Iterable[C], *, threads: int | None = None
) -> Iterator[Outcome]:
    """Apply `fn` to every case, yielding outcomes in the order of the cases.

    At most two cases a thread are under way or waiting to be taken, however many there
    are. When the consumer stops early (an error, Ctrl-C) waiting cases are dropped.
    """
    n_threads = threads or default_threads()
    pending: deque[tuple[C, Future[R]]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="coverax")
    try:
        for case in cases:
            pending.append((case, pool.submit(fn, case)))
            if len(pending) >= 2 * n_threads:
                yield _outcome(*pending.popleft())
        while pending:
            yield _outcome(*pending.popleft())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
