"""Cases through threads: order, bounded memory, failures, stopping early."""

import threading
import time

import pytest

from coverax.stream import default_threads, map_cases


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_outcomes_keep_the_order_of_the_cases(threads):
    def slow_first(case):
        time.sleep(0.01 if case % 3 == 0 else 0.0)
        return case * case

    outcomes = list(map_cases(slow_first, range(20), threads=threads))
    assert [o.case for o in outcomes] == list(range(20))
    assert [o.value for o in outcomes] == [i * i for i in range(20)]
    assert all(o.error is None for o in outcomes)


@pytest.mark.parametrize("threads", [1, 3])
def test_few_cases_are_held_however_many_there_are(threads):
    taken = 0

    def cases():
        nonlocal taken
        for i in range(200):
            taken += 1
            yield i

    most = 0
    for done, _ in enumerate(map_cases(lambda case: case, cases(), threads=threads)):
        most = max(most, taken - done)
    assert most <= 2 * threads
    assert most >= threads  # else the bound would be met by doing nothing ahead


def test_a_slow_first_case_does_not_let_results_pile_up():
    started = []
    gate = threading.Event()

    def wait_at_zero(case):
        started.append(case)
        if case == 0:
            gate.wait(5)
        return case

    outcomes = map_cases(wait_at_zero, range(100), threads=2)
    timer = threading.Timer(0.1, gate.set)
    timer.start()
    next(outcomes)
    assert len(started) <= 4
    outcomes.close()
    timer.join()


def test_a_failed_case_is_a_value_and_the_others_go_on():
    def odd_fails(case):
        if case % 2:
            raise (ValueError, FileNotFoundError)[case % 4 == 1](f"case {case}")
        return case

    outcomes = list(map_cases(odd_fails, range(10), threads=3))
    assert [o.value for o in outcomes] == [i if i % 2 == 0 else None for i in range(10)]
    assert [str(o.error) for o in outcomes if o.error] == [
        f"case {i}" for i in range(1, 10, 2)
    ]


def test_a_defect_is_no_case_error_and_stops_the_run():
    tried = []

    def defective(case):
        tried.append(case)
        return [][case]

    with pytest.raises(IndexError):
        list(map_cases(defective, range(1000), threads=2))
    assert len(tried) <= 4


def test_ctrl_c_drops_what_waits_and_leaves_no_thread():
    started = []

    def slow(case):
        started.append(case)
        time.sleep(0.005)
        return case

    def consume():
        for outcome in map_cases(slow, range(1000), threads=2):
            if outcome.case == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    seen = len(started)
    assert seen <= 3 + 1 + 4
    time.sleep(0.03)
    assert len(started) == seen
    assert not [t for t in threading.enumerate() if t.name.startswith("coverax")]


def test_no_cases_give_no_outcomes():
    assert list(map_cases(str, [])) == []


def test_the_default_is_the_cores_of_this_process(monkeypatch):
    import os

    assert default_threads() >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 5, 7}, raising=False)
    assert default_threads() == 3
