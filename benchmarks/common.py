"""What benchmarks share: interleaved timing, the machine in words, result files."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """The machine and the versions in one line."""
    import jax
    import numpy as np

    devices = ", ".join(sorted({d.device_kind for d in jax.devices()}))
    return (
        f"{len(os.sched_getaffinity(0))} cores {processor()}, JAX devices: {devices}; "
        f"Python {platform.python_version()}, jax {jax.__version__}, "
        f"numpy {np.__version__}"
    )


def processor() -> str:
    """The processor: rented ones share a name, so family, model and vectors too."""
    cpuinfo, facts = Path("/proc/cpuinfo"), dict[str, str]()
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    flags = facts.get("flags", "").split()
    vectors = [flag for flag in ("avx512f", "avx2") if flag in flags]
    kind = [f"family {facts.get('cpu family')}", f"model {facts.get('model')}"]
    return f"{facts['model name']} ({', '.join([*kind, *vectors[:1]])})"


def interleaved(
    runs: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each run, taken in turns so that noise hits all alike.

    `time.process_time` as the clock counts the work of all threads and no waiting.
    """
    for run in runs.values():
        run()  # warm: caches, compilation
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def memory(kind: str) -> int:
    """Bytes of this process (Linux): `VmRSS` now, `VmHWM` the most so far.

    The peak of `getrusage` would not do: it begins with what the parent had.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {kind}")


def peak_memory() -> int:
    """Bytes that this process held at most since it began (Linux)."""
    return memory("VmHWM")


def save(name: str, text: str, *, whole: bool = True) -> None:
    """Print a result, and keep that of a whole run under `benchmarks/results/`."""
    print(text)
    if not whole:
        return
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n", encoding="utf-8")
