"""One call over cases, wherever they are worked on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from coverax.stream.threads import Outcome, map_alone, map_threads
from coverax.stream.where import HERE, SizeOf, Stream, Where

# Cases that go to a worker together where they fill batches of a device.
_DEVICE_CASES = 16

C = TypeVar("C")
R = TypeVar("R")


def no_size(_case: Any) -> int:
    """Of what holds no volume."""
    return 0


def map_cases(
    fn: Callable[[C], R],
    cases: Iterable[C],
    *,
    threads: int | None = None,
    where: Where = HERE,
    size_of: SizeOf = no_size,
) -> Iterator[Outcome]:
    """Apply `fn` to every case: in this process in their order, elsewhere in any.

    A case that fails is a value, so that every case is tried before anything is
    reported; a process that is killed costs the case it had. Whatever the place, `fn`
    gives the same values.

    Args:
        fn: Its values are small; elsewhere than here it is pickled, and so are they.
        cases: As many as there are; few are taken ahead.
        threads: Cases at a time, of each worker where there are some.
        where: The place.
        size_of: Bytes that a case declares, for `where.memory`.

    Raises:
        OutputError: An output cannot be written; so with all that is of the machine.
        RunError: What every case would meet.
    """
    return map_stream(EachCase(fn, size_of), cases, threads=threads, where=where)


def map_stream(
    stream: Stream,
    cases: Iterable[Any],
    *,
    threads: int | None = None,
    where: Where = HERE,
    on_device: bool = False,
) -> Iterator[Outcome]:
    """The same for what works on many cases together; the order is its own.

    Args:
        stream: Takes cases, and yields outcomes.
        cases: As many as there are.
        threads: Cases at a time, of each worker where there are some.
        where: The place.
        on_device: It needs an accelerator where a cluster has some.
    """
    if where.is_here:
        yield from stream(cases, threads=threads, memory=where.memory)
    elif where.dask is None:
        from coverax.stream.processes import map_processes

        yield from map_processes(
            stream,
            cases,
            workers=where.workers,
            threads=threads,
            memory=where.memory,
            at_a_time=_DEVICE_CASES if on_device else None,
        )
    else:
        from coverax.stream.dask import map_dask

        yield from map_dask(
            stream,
            cases,
            address=where.dask,
            memory=where.memory,
            on_device=on_device,
        )


@dataclass(frozen=True, slots=True)
class EachCase:
    """A function of one case as a stream of many."""

    fn: Callable[[Any], Any]
    size_of: SizeOf = no_size

    def __call__(
        self, cases: Iterable[Any], *, threads: int | None, memory: int | None
    ) -> Iterator[Outcome]:
        """Outcomes in the order of the cases."""
        if threads == 1:
            return map_alone(self.fn, cases, memory=memory, size_of=self.size_of)
        return map_threads(
            self.fn, cases, threads=threads, memory=memory, size_of=self.size_of
        )
