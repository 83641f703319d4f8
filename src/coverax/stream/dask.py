"""Cases through the workers of a Dask cluster (extra `dask`); one that dies costs little.

Tasks are of about a second, so that what the scheduler asks a task is small beside it.
"""

# pyright: basic
# distributed ships no types.

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Any

from coverax.stream.threads import Outcome, RunError
from coverax.stream.where import Done, Stream, killed, outcomes_of, run_stream

_TASK_S = 1.5  # what a task should take
_MOST = 64  # cases of one task
_AHEAD = 2  # tasks a slot: one under way, one that waits
_WAIT_S, _LOOK_S = 60, 5
_RETRIES = 2  # of a task whose worker was lost, beside what the scheduler allows


def map_dask(
    stream: Stream,
    cases: Iterable[Any],
    *,
    address: str,
    memory: int | None = None,
    on_device: bool = False,
) -> Iterator[Outcome]:
    """Outcomes of all cases, in any order.

    Workers read the files themselves: paths must mean the same everywhere. A worker
    that is lost has its cases done by another; cases that several workers end on are
    tried alone, and then fail by name.

    Args:
        stream: What is done with the cases.
        cases: Sent as workers get free.
        address: Of the scheduler, as `tcp://HOST:8786`.
        memory: Most bytes of volumes under way in each worker.
        on_device: Tasks need an accelerator: they go to workers that declare `GPU=1`.

    Raises:
        ModuleNotFoundError: The extra is not installed.
        RunError: The cluster cannot be reached, has no worker, or none with a GPU.
    """
    try:
        from dask.distributed import Client, as_completed  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        raise RunError("--dask needs dask: pip install 'coverax[dask]'") from None
    try:
        client = Client(address, timeout="30s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(f"no Dask scheduler at {address} ({error!s:.100})") from None
    with client:
        cluster = _Cluster(client, address, on_device)
        options: dict[str, Any] = {"pure": False, "retries": _RETRIES}
        options |= {"resources": {"GPU": 1}} if on_device else {}
        rest, running = iter(cases), {}
        finished = as_completed(loop=client.loop)

        def send(chunk: list[Any], *, again: bool = False) -> None:
            future = client.submit(run_stream, stream, chunk, 1, memory, **options)
            running[future] = chunk, again
            finished.add(future)

        def fill(n_cases: int) -> None:
            while len(running) < _AHEAD * cluster.n_slots():
                chunk = list(itertools.islice(rest, n_cases))
                if not chunk:
                    return
                send(chunk)

        fill(1)
        n_done, seconds = 0, 0.0
        for future in finished:
            chunk, again = running.pop(future)
            done = _result(future)
            if done is not None:
                n_done, seconds = n_done + len(chunk), seconds + done.seconds
                yield from outcomes_of(chunk, done)
            elif again:
                yield Outcome(chunk[0], None, killed("the Dask worker"))
            else:
                for case in chunk:
                    send([case], again=True)
            each = max(seconds, 1e-6) / n_done if n_done else _TASK_S
            fill(max(1, min(_MOST, round(_TASK_S / each))))


class _Cluster:
    """How many tasks the workers take at a time, looked at now and then: they come and go.

    Raises:
        RunError: There is no worker for a while, or none with an accelerator.
    """

    def __init__(self, client: Any, address: str, on_device: bool):
        self._client, self._address, self._on_device = client, address, on_device
        try:
            client.wait_for_workers(1, timeout=_WAIT_S)
        except TimeoutError:
            raise RunError(f"the Dask scheduler at {address} has no worker") from None
        self._found, self._looked = self._look(), time.monotonic()
        if on_device and not self._found:
            raise RunError(
                f"no worker of {address} declares an accelerator: start them with "
                "`dask worker --nthreads 1 --resources GPU=1`, or give --engine host"
            )

    def n_slots(self) -> int:
        """At least 1: a cluster that has lost all its workers may get others."""
        if time.monotonic() - self._looked > _LOOK_S:
            self._found, self._looked = self._look(), time.monotonic()
        return max(1, self._found)

    def _look(self) -> int:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        if self._on_device:
            return sum(int(worker["resources"].get("GPU", 0)) for worker in workers)
        return sum(worker["nthreads"] for worker in workers)


def _result(future: Any) -> Done | None:
    """What a task made; None where its workers were lost."""
    from distributed.client import FutureCancelledError  # pyright: ignore[reportMissingImports]
    from distributed.scheduler import KilledWorker, NoValidWorkerError  # pyright: ignore[reportMissingImports]

    try:
        return future.result()
    except (KilledWorker, FutureCancelledError):
        return None
    except NoValidWorkerError as error:
        raise RunError(
            f"no Dask worker is left that can do this ({error!s:.100})"
        ) from None
