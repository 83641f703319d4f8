"""Wherever cases are worked on: the same outcomes, and the end of a process costs little."""

import os
import signal
import subprocess
import sys
import time

import pytest

from coverax.files import OutputError
from coverax.stream import HERE, RunError, Where, map_cases
from tests.stream import work

WORKERS = Where(workers=2)
HANGS_S = 120


def outcomes(fn, cases, where, **options):
    found = list(map_cases(fn, cases, where=where, **options))
    assert len({case for case, _, _ in found}) == len(found), "no case counts twice"
    return {case: (value, error and str(error)) for case, value, error in found}


@pytest.mark.parametrize("threads", [1, 3])
def test_workers_give_what_threads_give(threads):
    here = outcomes(work.odd_fails, range(30), HERE)
    assert outcomes(work.odd_fails, range(30), WORKERS, threads=threads) == here


def test_the_order_here_is_that_of_the_cases_with_any_number_of_threads():
    for threads in (1, 2, 5):
        found = map_cases(work.square, range(20), threads=threads)
        assert [case for case, _, _ in found] == list(range(20))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_case_that_ends_its_process_fails_alone_and_by_name(threads):
    found = outcomes(work.three_kills, range(12), WORKERS, threads=threads)
    why = found.pop(3)[1]
    assert "ended while it worked on this case" in why
    assert found == {case: (case, None) for case in range(12) if case != 3}


def test_a_process_that_was_killed_once_costs_nothing(tmp_path):
    fn = work.KillsOnce(tmp_path / "mark")
    found = outcomes(fn, range(12), WORKERS, threads=1)
    assert found == {case: (case, None) for case in range(12)}


def test_workers_that_all_end_stop_the_run():
    with pytest.raises(RunError, match="workers ended"):
        outcomes(work.always_kills, range(100), Where(workers=1), threads=1)


def test_what_is_of_the_machine_stops_a_run_of_workers():
    with pytest.raises(OutputError):
        outcomes(work.disk_is_full, range(50), WORKERS, threads=1)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    code = (
        "import sys; from tests.stream import work; "
        "from coverax.stream import Where, map_cases\n"
        "if __name__ == '__main__':\n"
        f"    fn = work.Noted({str(tmp_path)!r}, 0.05)\n"
        "    list(map_cases(fn, range(9999), where=Where(workers=2), threads=1))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + HANGS_S

    def workers():
        return {int(path.name.split("-")[0]) for path in tmp_path.iterdir()}

    while len(workers()) < 2:
        assert time.monotonic() < deadline
        assert parent.poll() is None
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    while any(map(is_alive, workers())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("where", [Where(memory=10), Where(workers=2, memory=20)])
def test_what_is_larger_than_the_memory_is_refused_with_its_size(where):
    found = outcomes(work.square, range(8, 14), where, size_of=work.size)
    refused = {case: why for case, (_, why) in found.items() if why}
    assert set(refused) == {11, 12, 13}
    assert "11 bytes" in refused[11]
    assert found[10] == (100, None)


def test_cases_under_way_stay_within_the_memory():
    """One that waits to be taken counts: its result may hold the volume."""
    held, most = [0], [0]

    def enter(case):
        held[0] += case
        most[0] = max(most[0], held[0])
        return case

    where = Where(memory=20)
    for case, _, _ in map_cases(
        enter, [9] * 3 + [8] * 5, threads=4, where=where, size_of=work.size
    ):
        held[0] -= case
    assert most[0] <= 20


def test_workers_and_a_cluster_are_not_both_given():
    with pytest.raises(ValueError, match="either"):
        Where(workers=2, dask="tcp://x:1")
