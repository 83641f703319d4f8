"""Files appear complete or not at all."""

import pytest

from coverax.files import publish_json, publish_rows, publish_text, publishing
from coverax.folders import check_output_folder
from coverax.table.parquet import write_rows


def write_half(path):
    with publishing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def test_a_write_that_is_stopped_leaves_what_was_there(tmp_path):
    path = tmp_path / "new/a.txt"
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert list((tmp_path / "new").iterdir()) == []
    publish_text(path, "whole")
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert path.read_text() == "whole"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_json_is_strict(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        publish_json(tmp_path / "a.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file_and_a_full_one_no_output(tmp_path):
    with pytest.raises(FileExistsError, match="is a folder; name a file"):
        publish_text(tmp_path, "x")
    check_output_folder(tmp_path)
    check_output_folder(tmp_path / "new")
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError, match="not empty"):
        check_output_folder(tmp_path)
    with pytest.raises(FileExistsError, match="not a folder"):
        check_output_folder(tmp_path / "a")


ROWS = [{"a": 1}]
WRITERS = {
    ".json": lambda path: publish_json(path, ROWS),
    ".csv": lambda path: publish_rows(path, ROWS),
    ".parquet": lambda path: write_rows(path, ROWS),
}


@pytest.mark.parametrize("ending", WRITERS)
def test_a_file_is_not_written_under_the_ending_of_another_format(tmp_path, ending):
    for other in ({*WRITERS, ".xlsx", ".NII"}) - {ending}:
        with pytest.raises(
            ValueError, match=f"{ending[1:]} is written here.* a{ending}$"
        ):
            WRITERS[ending](tmp_path / f"a{other}")
    assert list(tmp_path.iterdir()) == []
    for name in (f"a{ending}", f"a{ending.upper()}", "a", "a.b"):
        WRITERS[ending](tmp_path / name)
        assert (tmp_path / name).stat().st_size
