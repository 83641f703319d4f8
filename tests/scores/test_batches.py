"""Batches of the device: two under way, and no program is made twice."""

import threading

import jax
import numpy as np
import pytest
from tests.synthetic import write_cohort

from coverax.kernels import batching
from coverax.scores import (
    ScoreDefinition,
    parse_transforms,
    resolve_engine,
    score_cohort,
    stream_rows,
)
from coverax.scores.batch import Loaded, View
from coverax.volumes import FOREGROUND, match_folders

# Events of JAX that a program was traced, lowered or compiled.
MADE = ("/jax/core/compile/",)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Two cases a batch."""
    monkeypatch.setattr(batching, "LARGEST_BATCH", 2)


@pytest.fixture
def made():
    """Programs made so far: the list grows."""
    events = []

    def listen(event, _seconds, **_):
        if event.startswith(MADE):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield events
    jax.monitoring.unregister_event_duration_listener(listen)


def loaded(case, _buffers):
    probs = np.full(40, case / 8, np.float32)
    view = View(FOREGROUND, probs, probs > 0.5, None, None)
    return Loaded({}, [view])


def test_two_batches_are_under_way_and_come_back_in_their_order():
    together = threading.Barrier(2, timeout=60)

    def batch_fn(_engine, batch):
        together.wait()  # breaks where a batch waits for the one before
        return {"first": batch.probs[:, 0]}

    outcomes = list(
        stream_rows(range(8), loaded, batch_fn, resolve_engine("device"), threads=1)
    )
    assert [outcome.case for outcome in outcomes] == list(range(8))
    rows = [outcome.value.rows[0][1]["first"] for outcome in outcomes]
    assert rows == [case / 8 for case in range(8)]


def test_what_fails_in_a_batch_ends_the_run():
    def batch_fn(_engine, batch):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(stream_rows(range(8), loaded, batch_fn, resolve_engine("device")))


def cohorts(folder):
    """Two cohorts of the same two buckets."""
    for part, seed in (("first", 0), ("second", 1)):
        for prefix, shape in (("a", (9, 8, 7)), ("b", (17, 18, 30))):
            write_cohort(folder / part, 3, shape, 60, seed=seed, prefix=prefix)
        yield match_folders(folder / part / "probs", folder / part / "labels")


def test_a_bucket_that_was_met_makes_no_program_again(tmp_path, made):
    definition = ScoreDefinition(
        tolerances=(0.1,),
        transforms=parse_transforms(["inner=smooth", "outer=distance"]),
        set_sizes=True,
    )
    first, second = cohorts(tmp_path)
    score_cohort(first, definition, engine="device")
    n_made = len(made)
    assert n_made > 0  # JAX says so
    score_cohort(second, definition, engine="device")
    assert made[n_made:] == []
