"""Cases through the workers of a Dask cluster (extra `dask`); one that dies costs little.

Tasks are of about a second, so that what the scheduler asks a task is small beside it.
"""

# pyright: basic
# distributed ships no types.

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from coverax.stream.threads import Outcome, RunError
from coverax.stream.where import Done, Stream, killed, outcomes_of, run_stream

_TASK_S = 1.5  # what a task should take
_MOST = 64  # cases of one task
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
        from dask.distributed import Client, as_completed
    except ModuleNotFoundError:
        raise RunError("--dask needs dask: pip install 'coverax[dask]'") from None
    try:
        client = Client(address, timeout="30s", set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise RunError(f"no Dask scheduler at {address} ({error!s:.100})") from None
    with client:
        n_slots = _slots(client, address, on_device)
        options: dict[str, Any] = {"pure": False, "retries": _RETRIES}
        options |= {"resources": {"GPU": 1}} if on_device else {}
        rest, running = iter(cases), {}
        finished = as_completed()

        def send(chunk: list[Any], *, again: bool = False) -> None:
            future = client.submit(run_stream, stream, chunk, 1, memory, **options)
            running[future] = chunk, again
            finished.add(future)

        def send_next(n_cases: int) -> None:
            chunk = list(itertools.islice(rest, n_cases))
            if chunk:
                send(chunk)

        for _ in range(2 * n_slots):
            send_next(1)
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
            each = seconds / n_done if n_done else _TASK_S
            send_next(max(1, min(_MOST, round(_TASK_S / max(each, 1e-6)))))


def _slots(client: Any, address: str, on_device: bool) -> int:
    """Tasks that the workers take at a time."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    if not workers:
        raise RunError(f"the Dask scheduler at {address} has no worker")
    if not on_device:
        return sum(worker["nthreads"] for worker in workers)
    n_gpus = sum(int(worker["resources"].get("GPU", 0)) for worker in workers)
    if not n_gpus:
        raise RunError(
            f"no worker of {address} declares an accelerator: start them with "
            "`dask worker --nthreads 1 --resources GPU=1`, or give --engine host"
        )
    return n_gpus


def _result(future: Any) -> Done | None:
    """What a task made; None where its workers were lost."""
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker, NoValidWorkerError

    try:
        return future.result()
    except (KilledWorker, FutureCancelledError):
        return None
    except NoValidWorkerError as error:
        raise RunError(
            f"no Dask worker is left that can do this ({error!s:.100})"
        ) from None
