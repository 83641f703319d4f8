"""The journal: what an interrupted run keeps."""

import json
import math

import pytest

from coverax.stream import Journal

MEANING = {"tolerances": [0.1], "region": "x"}


def written(tmp_path, *keys, keep=True):
    journal = Journal(tmp_path / "out.parquet", MEANING, resume=False)
    for key in keys:
        journal.add(key, {"rows": [key], "score": 0.1})
    journal.close(keep=keep)
    return journal.path


def resumed(tmp_path, meaning=MEANING):
    journal = Journal(tmp_path / "out.parquet", meaning, resume=True)
    journal.close(keep=True)
    return journal.records


def test_records_come_back_as_they_were(tmp_path):
    written(tmp_path, "a", "b\nregion", "ü")
    records = resumed(tmp_path)
    assert list(records) == ["a", "b\nregion", "ü"]
    assert records["a"] == {"rows": ["a"], "score": 0.1}
    assert list(resumed(tmp_path)) == ["a", "b\nregion", "ü"]  # and once more


def test_records_of_this_run_are_read_from_it_too(tmp_path):
    written(tmp_path, "a", "b")
    journal = Journal(tmp_path / "out.parquet", MEANING, resume=True)
    for key, record in (("ü", [0.1]), ("b", "anew"), ("c", None)):
        journal.add(key, record)
    a = {"rows": ["a"], "score": 0.1}
    assert dict(journal.records) == {"a": a, "b": "anew", "ü": [0.1], "c": None}
    assert journal.n_records == 4
    journal.close(keep=True)
    assert dict(resumed(tmp_path)) == {"a": a, "b": "anew", "ü": [0.1], "c": None}


def test_odd_floats_survive(tmp_path):
    journal = Journal(tmp_path / "o", MEANING, resume=False)
    values = [math.inf, -math.inf, 5e-324, 0.1, 1 / 3]
    journal.add("a", [*values, math.nan])
    journal.close(keep=True)
    back = Journal(tmp_path / "o", MEANING, resume=True)
    back.close(keep=True)
    assert back.records["a"][:-1] == values
    assert math.isnan(back.records["a"][-1])


def test_a_torn_last_line_is_dropped_wherever_it_was_torn(tmp_path):
    path = written(tmp_path, "a", "b")
    whole = path.read_bytes()
    last = len(whole.splitlines(keepends=True)[-1])
    for cut in range(1, last):
        path.write_bytes(whole[:-cut])
        # Without its line end alone, the last record is still complete.
        assert list(resumed(tmp_path)) == (["a", "b"] if cut == 1 else ["a"]), cut
        journal = Journal(tmp_path / "out.parquet", MEANING, resume=True)
        journal.add("c", 1)
        journal.close(keep=True)
        assert "c" in resumed(tmp_path)


def test_a_record_is_on_disk_as_soon_as_it_is_added(tmp_path):
    journal = Journal(tmp_path / "o", MEANING, resume=False)
    journal.add("a", 1)
    assert json.loads(journal.path.read_text().splitlines()[-1])["key"] == "a"
    journal.close(keep=False)


def test_without_resume_an_earlier_journal_is_not_used(tmp_path):
    written(tmp_path, "a")
    journal = Journal(tmp_path / "out.parquet", MEANING, resume=False)
    assert journal.records == {}
    journal.close(keep=True)


def test_another_meaning_is_refused_and_the_records_stay(tmp_path):
    path = written(tmp_path, "a")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"other options; run without --resume"):
        resumed(tmp_path, {**MEANING, "tolerances": [0.2]})
    assert path.read_bytes() == before
    path.write_text("")
    with pytest.raises(ValueError, match="another version; run without --resume"):
        resumed(tmp_path)


def test_a_finished_or_empty_run_leaves_nothing(tmp_path):
    assert not written(tmp_path, "a", keep=False).exists()
    assert not written(tmp_path, keep=True).exists()
    assert list(tmp_path.iterdir()) == []


def test_resume_without_a_journal_starts_afresh(tmp_path):
    assert resumed(tmp_path) == {}
