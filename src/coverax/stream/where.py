"""Where cases are worked on: in this process, in others of this machine, or on a cluster.

A `Stream` takes cases and yields what became of each; it is all that travels, pickled,
with the cases themselves, which are paths. What comes back is records: no voxel goes either way.
"""

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from coverax.files import OutputError
from coverax.stream.threads import Outcome, RunError, is_of_the_machine

SizeOf = Callable[[Any], int]


@dataclass(frozen=True, slots=True)
class Where:
    """Where cases are worked on; in this process by default.

    Attributes:
        workers: Processes of this machine; 0 for none but this one.
        dask: Address of the scheduler of a Dask cluster.
        memory: Most bytes of volumes, as their headers declare them, that are under way
            in this process and its workers, or in each worker of a cluster; None for no
            bound.

    Raises:
        ValueError: Workers and a cluster are both given, or a number is too small.
    """

    workers: int = 0
    dask: str | None = None
    memory: int | None = None

    def __post_init__(self):
        if self.workers and self.dask:
            raise ValueError("give either workers or the address of a Dask cluster")
        if self.workers < 0:
            raise ValueError(f"workers are at least 0, got {self.workers}")
        if self.memory is not None and self.memory < 1:
            raise ValueError(f"memory is at least 1 byte, got {self.memory}")

    @property
    def is_here(self) -> bool:
        """Whether this process does the work itself."""
        return not self.workers and self.dask is None


HERE = Where()


# Takes cases, `threads` and `memory`; yields their outcomes in any order.
Stream = Callable[..., Iterable[Outcome]]


class Done(NamedTuple):
    """What another process made of some cases.

    Attributes:
        outcomes: Place of each among the cases, its value, and why it failed.
        stop: What ended the run before all were tried; None where nothing did.
        seconds: How long it took.
    """

    outcomes: list[tuple[int, Any, Exception | None]]
    stop: Exception | None
    seconds: float


def run_stream(
    stream: Stream, cases: Sequence[Any], threads: int, memory: int | None
) -> Done:
    """Work on some cases in the process this is called in; what is found can travel."""
    started, stop = time.monotonic(), None
    place = {id(case): i for i, case in enumerate(cases)}
    found: list[tuple[int, Any, Exception | None]] = []
    try:
        for case, value, error in stream(cases, threads=threads, memory=memory):
            found.append((place[id(case)], value, error and _portable(error)))
    except (OSError, ValueError) as error:
        is_known = isinstance(error, (OutputError, RunError))
        if not is_known and not is_of_the_machine(error):
            raise
        stop = _portable(error)
    return Done(found, stop, time.monotonic() - started)


def outcomes_of(cases: Sequence[Any], done: Done) -> Iterator[Outcome]:
    """The outcomes of cases that another process had.

    Raises:
        OSError: The disk is full, or the machine at its end otherwise.
        RunError: What every case would meet.
    """
    for place, value, error in done.outcomes:
        yield Outcome(cases[place], value, error)
    if done.stop is not None:
        raise done.stop


def killed(what: str) -> ValueError:
    """Why a case has no outcome whose process ended while it was worked on."""
    return ValueError(
        f"{what} ended while it worked on this case, twice: out of memory (--memory "
        "bounds it), or killed"
    )


def _portable(error: Exception) -> Exception:
    """The error itself where it comes whole out of a pickle, else its kind and text."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        if type(copy) is type(error) and str(copy) == str(error):
            return copy
    except Exception:  # noqa: BLE001 - whatever a class of errors does when it is copied
        pass
    for kind in (RunError, OutputError, MemoryError, OSError):
        if isinstance(error, kind):
            return kind(str(error))
    return ValueError(str(error))
