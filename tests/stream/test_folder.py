"""A folder that a run fills: what a run that failed leaves belongs to the next."""

import shutil
import time

import pytest

from coverax.files import OutputError
from coverax.stream import fill_folder


@pytest.mark.parametrize("resume", [False, True])
def test_what_could_not_be_removed_is_known_as_the_run_s_own(
    tmp_path, monkeypatch, resume
):
    """An error ends a run before its first case, and another keeps it from tidying up."""
    source, output = tmp_path / "a.nii.gz", tmp_path / "out"
    source.write_bytes(b"a map")

    def write(case_id, _path, folder):
        (folder / f"{case_id}.txt").write_text("whole", encoding="utf-8")

    def fail(case_id, path, folder):
        write(case_id, path, folder)
        raise OutputError("no space is left")

    def fill(write_case, **options):
        return fill_folder(
            output,
            {"a": source},
            write_case,
            files={"a": ["a.txt"]},
            kind="calibration",
            meaning=1,
            **options,
        )

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_args, **_options: None)
        with pytest.raises(OutputError, match="no space"):
            fill(fail)
    assert not output.exists()
    assert fill(write, resume=resume) == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nii.gz", "out"]
    assert (output / "a.txt").read_text(encoding="utf-8") == "whole"


def test_no_case_is_at_work_when_an_error_is_told(tmp_path):
    """An error where a case is taken in, while others are still being worked on."""
    source, at_work = tmp_path / "a", []
    source.write_bytes(b"a map")

    def write(case_id, _path, folder):
        at_work.append(case_id)
        time.sleep(0 if case_id == "0" else 0.3)
        (folder / case_id).write_text("whole", encoding="utf-8")
        at_work.remove(case_id)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill_folder(
            tmp_path / "out",
            {str(i): source for i in range(4)},
            write,
            files={str(i): [str(i)] for i in range(4)},
            kind="calibration",
            meaning=1,
            threads=2,
            on_case=stop,
        )
    assert at_work == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
