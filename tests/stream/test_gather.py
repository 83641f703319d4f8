"""What becomes of failed cases is the same for every pass over cases."""

import pytest

from coverax.stream import Outcome, gather


def outcomes():
    """Out of the order of the cases, as batches of a device come."""
    yield Outcome("c", None, OSError("c.nii.gz: damaged"))
    yield Outcome("a", 1, None)
    yield Outcome("b", None, ValueError("b.nii.gz: not a probability"))


def test_a_failure_names_its_case_after_all_were_tried():
    taken, seen = {}, []
    with pytest.raises(ExceptionGroup, match="2 of 3 cases failed") as error:
        gather(
            outcomes(), "abc", taken.__setitem__, on_case=lambda: seen.append("case")
        )
    assert [str(e) for e in error.value.exceptions] == [
        "case b: b.nii.gz: not a probability",
        "case c: c.nii.gz: damaged",
    ]
    assert (taken, len(seen)) == ({"a": 1}, 3)


def test_what_may_be_missing_is_told_and_left_out():
    taken, lines = {}, []
    options = {"allow_missing": True, "on_failure": lines.append}
    failures = gather(outcomes(), "abc", taken.__setitem__, name=str.upper, **options)
    assert list(failures) == ["b", "c"]
    assert lines[1] == "left out: case C: c.nii.gz: damaged"
    assert taken == {"a": 1}


def test_not_all_cases_may_be_missing():
    failed = [Outcome(case, None, ValueError("bad")) for case in "ab"]
    with pytest.raises(ExceptionGroup, match="2 of 2 cases failed"):
        gather(failed, "ab", lambda _case, _value: None, allow_missing=True)


def test_training_names_the_case_of_an_unfit_file(tmp_path):
    pytest.importorskip("optax")
    pytest.importorskip("grain")
    pytest.importorskip("orbax")
    from coverax.train.cases import CaseFiles
    from coverax.train.config import parse_config
    from coverax.train.run import prepare

    data = {"images": "i", "labels": "l", "classes": {"background": 0, "a": 1}}
    config = parse_config({"data": data}, tmp_path)
    files = {"case_7": CaseFiles(tmp_path / "x.nii.gz", tmp_path / "y.nii.gz")}
    with pytest.raises(ExceptionGroup) as error:
        prepare(config, files)
    (line,) = error.value.exceptions
    assert str(line).startswith("case case_7: ")
