"""Tables whose lists lie in a file until they are written: the same bytes, no memory."""

import errno
import mmap
import os
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.synthetic import write_cohort

from coverax.files import OutputError
from coverax.scores import (
    ScoreDefinition,
    ScoreTable,
    merge_parts,
    score_cohort,
    score_part,
)
from coverax.stream import Journal, Shard
from coverax.table import blocks
from coverax.volumes import match_folders

N_CASES = 6


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """A cohort in blocks of four rows, of which no list is small enough for memory."""
    monkeypatch.setattr(blocks, "HELD", 0)
    monkeypatch.setattr(blocks, "ROWS", 4)
    write_cohort(tmp_path / "in", N_CASES, (5, 6, 4), 9)
    return match_folders(tmp_path / "in" / "probs", tmp_path / "in" / "labels")


def definition():
    return ScoreDefinition(lesions="face", n_soft_bins=3)


def lies_in_a_file(values):
    return isinstance(pages_of(values), mmap.mmap)


def pages_of(values):
    return blocks._pages_of(values)


def scored(cohort, output, *, beside, resume=False):
    journal = Journal(output, definition().to_json(), resume=resume)
    try:
        table = score_cohort(
            cohort, definition(), engine="host", journal=journal, beside=beside
        )
        table.write(output)
    finally:
        journal.close(keep=True)
    return table


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_is_the_same_whether_lists_lay_in_memory_or_not(cohort, tmp_path):
    out = tmp_path / "out"
    held = score_cohort(cohort, definition(), engine="host")
    held.write(tmp_path / "held")
    assert not lies_in_a_file(held.column("grid_predicted"))
    for resume in (False, True):
        table = scored(cohort, out / "s", beside=out / "s", resume=resume)
        assert names_in(out) == ["s", "s.partial.jsonl"]
        for name, values in table.columns.items():
            assert lies_in_a_file(values) == (values.ndim > 1), name
            assert not values.flags.writeable
        assert table.rows_digest == held.rows_digest
        assert (out / "s").read_bytes() == (tmp_path / "held").read_bytes()


@pytest.mark.parametrize("n_parts", [1, 4, N_CASES + 1])
def test_parts_and_what_joins_them_are_the_same_too(cohort, tmp_path, n_parts):
    score_cohort(cohort, definition(), engine="host").write(tmp_path / "held")
    paths = [tmp_path / "parts" / f"{i}" for i in range(n_parts)]
    for i, path in enumerate(paths):
        shard = Shard(i + 1, n_parts)
        asked = {"engine": "host", "allow_missing": True}
        score_part(cohort, definition(), shard, **asked).write(tmp_path / "one")
        part = score_part(cohort, definition(), shard, beside=path, **asked)
        part.write(path)
        assert path.read_bytes() == (tmp_path / "one").read_bytes()
        assert all(map(lies_in_a_file, lists_of(part)))
    table = merge_parts(paths, beside=tmp_path / "new" / "s")
    assert lists_of(table)
    assert all(map(lies_in_a_file, lists_of(table)))
    table.write(tmp_path / "new" / "s")
    assert names_in(tmp_path / "new") == ["s"]
    assert (tmp_path / "new" / "s").read_bytes() == (tmp_path / "held").read_bytes()


def lists_of(table):
    return [values for values in table.columns.values() if values.ndim > 1]


def rows_like(n_rows, n_values=1024, **more):
    row = {name: 0 for name in (kind.name for kind in blocks.columns_of(lean()))}
    text = {"case_id": "a", "region": "b", "unit": "c", "group": "", "rater": ""}
    row |= text | {"part": "", "weight": 1.0}
    for i in range(n_rows):
        yield row | {name: fn(i, n_values) for name, fn in more.items()}


def lean():
    return ScoreDefinition(grid=False, n_bins=0)


def counts(i, n_values):
    return np.arange(i, i + n_values)


def test_what_is_filled_digested_and_written_takes_no_memory(tmp_path):
    n_rows, n_values = 4096, 1024
    n_bytes = n_rows * n_values * 8
    assert n_bytes > blocks.HELD
    tracemalloc.start()
    rows = rows_like(n_rows, counts=counts)
    columns = blocks.columns_of_rows(rows, n_rows, lean(), (), tmp_path / "s")
    ScoreTable(columns, lean(), {}).write(tmp_path / "s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Held, they are 33 MB; a block of rows is 2 MB, and there are a few copies of it.
    assert peak < n_bytes / 3
    if Path("/proc/self/smaps").exists():
        assert resident_bytes(str(tmp_path)) < n_bytes / 8
        assert (columns["counts"][:, 5] == np.arange(n_rows) + 5).all()
        assert resident_bytes(str(tmp_path)) > n_bytes / 8  # now they are looked at


def resident_bytes(folder):
    """Bytes of memory of files below a folder that this process has mapped."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *_, last = line.split(maxsplit=5)
        if "-" in first and not first.endswith(":"):
            inside = folder in last
        elif inside and first == "Rss:":
            total += int(line.split()[1]) * 1024
    return total


@contextmanager
def no_file_above(n_bytes):
    """The system lets this process make no larger file, as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_where_there_is_no_room_is_one_line_and_the_records_stay(cohort, tmp_path):
    out = tmp_path / "out"
    table = scored(cohort, out / "s", beside=out / "s")
    whole = (out / "s").read_bytes()
    (out / "s").unlink()
    (journal,) = out.iterdir()
    room = journal.stat().st_size + 1000
    assert sum(values.nbytes for values in lists_of(table)) > room
    with (
        no_file_above(room),
        pytest.raises(OutputError, match=r"out/s: cannot be written \(File too large"),
    ):
        scored(cohort, out / "s", beside=out / "s", resume=True)
    assert names_in(out) == [journal.name]
    scored(cohort, out / "s", beside=out / "s", resume=True)
    assert (out / "s").read_bytes() == whole


def test_a_file_system_that_maps_no_file_or_gives_no_place(
    cohort, tmp_path, monkeypatch
):
    score_cohort(cohort, definition(), engine="host").write(tmp_path / "held")
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr(blocks, "_ZEROS", 7)
    table = scored(cohort, tmp_path / "s", beside=tmp_path / "s")
    assert all(map(lies_in_a_file, lists_of(table)))
    assert (tmp_path / "s").read_bytes() == (tmp_path / "held").read_bytes()

    class Refused(mmap.mmap):
        def __new__(cls, *_args):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(blocks, "_Pages", Refused)
    table = scored(cohort, tmp_path / "s", beside=tmp_path / "s")
    monkeypatch.undo()
    assert not any(map(lies_in_a_file, lists_of(table)))
    assert (tmp_path / "s").read_bytes() == (tmp_path / "held").read_bytes()


def test_a_column_of_ones_own_is_of_the_type_that_all_its_rows_need(cohort, tmp_path):
    n_rows = 2 * blocks.ROWS + 1

    def late(i, _n_values):
        return 0.5 if i == n_rows - 1 else i

    rows = list(rows_like(n_rows, own=late, lists=lambda i, n: [late(i, n)] * 2))
    columns = blocks.columns_of_rows(rows, n_rows, lean(), (), tmp_path / "s")
    assert columns["own"].tolist() == [*range(n_rows - 1), 0.5]
    assert columns["lists"][:, 1].tolist() == [*range(n_rows - 1), 0.5]
    rows[-1] = rows[-1] | {"lists": [0.5]}
    with pytest.raises(ValueError, match="column lists holds neither a number nor"):
        blocks.columns_of_rows(rows, n_rows, lean())
