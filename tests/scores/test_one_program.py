"""Scoring on the device is one program a bucket shape, and reads each file once."""

import collections

import numpy as np
import pytest
from tests.synthetic import write_cohort


@pytest.fixture
def cohort(tmp_path):
    from coverax.volumes import match_folders

    for n, (name, shape) in enumerate({"a": (9, 8, 7), "b": (17, 18, 30)}.items()):
        write_cohort(tmp_path, 3, shape, 60, seed=n, prefix=name)
    return match_folders(tmp_path / "probs", tmp_path / "labels")


def definition():
    from coverax.scores import ScoreDefinition, parse_transforms

    texts = [
        "inner=identity",
        "outer=distance",
        "inner=relative_distance",
        "outer=boxes",
    ]
    return ScoreDefinition(
        tolerances=(0.1, 0.2), transforms=parse_transforms(texts), set_sizes=True
    )


def test_one_trace_a_bucket_and_one_read_a_file(cohort, monkeypatch):
    from coverax import kernels
    from coverax.kernels import program
    from coverax.scores import score_cohort
    from coverax.volumes import nifti

    traced, reads = [], collections.Counter()
    sizes, opened = program.PARTS["sizes"], nifti.opened

    def counted_sizes(volumes, plan):
        traced.append(volumes.probs.shape)
        return sizes(volumes, plan)

    def counted_open(path):
        reads[path] += 1
        return opened(path)

    calls = []
    run = kernels.run_plan

    def counted_run(*args, **kwargs):
        calls.append(args[0].shape)
        return run(*args, **kwargs)

    monkeypatch.setitem(program.PARTS, "sizes", counted_sizes)
    monkeypatch.setattr(nifti, "opened", counted_open)
    monkeypatch.setattr(kernels, "run_plan", counted_run)
    table = score_cohort(cohort, definition(), engine="device")
    assert len(traced) == len(set(traced)) == len(calls) == 2
    assert set(reads.values()) == {1}
    assert len(reads) == 2 * len(cohort.cases)
    host = score_cohort(cohort, definition(), engine="host")
    for name in table.columns:
        ours, theirs = (t.column(name).tolist() for t in (table, host))
        if name in ("sum_squares", "sum_log_loss") or "distance" in name:
            continue  # logarithms and distances round otherwise
        assert ours == theirs, name


def test_other_kernels_are_not_called_by_the_pipeline(cohort, monkeypatch):
    """Whatever a family computes of a batch comes out of the one program."""
    from coverax import kernels
    from coverax.scores import score_cohort

    table = score_cohort(cohort, definition(), engine="device")

    def refused(*_args, **_kwargs):
        raise AssertionError("a kernel was called beside the program")

    for name in (
        "bin_statistics",
        "grid_counts",
        "inner_score",
        "critical_probability",
    ):
        monkeypatch.setattr(kernels, name, refused)
    again = score_cohort(cohort, definition(), engine="device")
    assert again.rows_digest == table.rows_digest
    assert np.isfinite(table.column("outer_score@boxes:cut=0.5")).all()
