"""Parts of a run: joined they are the run, to the byte, or they are refused by name."""

import shutil

import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import N_CASES

N_PARTS = 4
OPTIONS = ("--engine", "host", "--tolerance=0", "--transform=outer=distance:cut=0.5")


def parts_of(files, cli, *more, n=N_PARTS, name="parts", options=OPTIONS):
    folder = files.root / name
    for i in range(1, n + 1):
        shard = (f"--shard={i}/{n}", "-o", folder)
        assert cli("score", *files.options, *options, *more, *shard).code == 0
    return folder


def whole(files, cli, *more):
    path = files.root / "whole.parquet"
    assert cli("score", *files.options, *OPTIONS, *more, "-o", path).code == 0
    return path.read_bytes()


@pytest.mark.parametrize("n", [N_PARTS, N_CASES + 3])
def test_merged_parts_are_the_table_of_one_process(files, cli, n):
    folder, merged = parts_of(files, cli, n=n), files.root / "merged.parquet"
    assert cli("merge", folder, "-o", merged).code == 0
    assert merged.read_bytes() == whole(files, cli)


def test_so_it_is_with_cases_that_failed_and_files_without_a_partner(files, cli):
    for i in (2, 6, 10):  # all of one part
        files.map(i).write_bytes(files.map(i).read_bytes()[:-9])
    files.label(5).unlink()
    allowed = "--allow-missing"
    folder, merged = parts_of(files, cli, allowed), files.root / "merged.parquet"
    done = cli("merge", folder, "-o", merged)
    assert done.code == 0
    assert "left out" in done.err
    assert merged.read_bytes() == whole(files, cli, allowed)


def test_a_part_goes_on_after_a_failure_and_is_the_same(files, cli):
    good = files.map(4).read_bytes()
    files.map(4).write_bytes(good[:-9])
    shard = ("score", *files.options, *OPTIONS, "--shard=1/4", "-o", files.root / "p")
    result = cli(*shard)
    assert result.code == 1
    assert "--resume" in result.err
    files.map(4).write_bytes(good)
    assert cli(*shard, "--resume").code == 0
    again = (files.root / "p" / "part-1-of-4.parquet").read_bytes()
    other = parts_of(files, cli) / "part-1-of-4.parquet"
    assert again == other.read_bytes()
    assert [p.name for p in (files.root / "p").iterdir()] == [other.name]


def missing(files, cli, folder):
    (folder / "part-3-of-4.parquet").unlink()
    return "part-3-of-4"


def twice(files, cli, folder):
    copy = folder.parent / "part-2-of-4.parquet"
    shutil.copy(folder / "part-2-of-4.parquet", copy)
    return "both part 2 of 4"


def of_other_options(files, cli, folder):
    other = parts_of(files, cli, "--bins=7", name="other")
    shutil.copy(other / "part-2-of-4.parquet", folder)
    return r"part-2-of-4.parquet was scored with other options.*n_bins"


def of_another_cohort(files, cli, folder):
    files.map(1).unlink()
    files.label(1).unlink()
    other = parts_of(files, cli, name="other")
    shutil.copy(other / "part-2-of-4.parquet", folder)
    return r"part-2-of-4.parquet is of another cohort"


def of_another_count(files, cli, folder):
    other = parts_of(files, cli, name="other", n=3)
    shutil.copy(other / "part-2-of-3.parquet", folder)
    return r"one of 3 parts.*one of 4|one of 4 parts.*one of 3"


def altered(files, cli, folder):
    path = folder / "part-2-of-4.parquet"
    rows = pq.read_table(path)
    values = rows["n_voxels"].to_pylist()
    values[0] += 1
    place = rows.schema.get_field_index("n_voxels")
    changed = rows.set_column(place, rows.schema.field(place), [values])
    pq.write_table(changed, path)
    return "part-2-of-4.parquet: altered"


def a_whole_table(files, cli, folder):
    (folder / "part-2-of-4.parquet").write_bytes(whole(files, cli))
    return "part-2-of-4.parquet: a whole score table"


@pytest.mark.parametrize(
    "spoil",
    [
        *(missing, twice, of_other_options, of_another_cohort, of_another_count),
        *(altered, a_whole_table),
    ],
)
def test_parts_that_are_not_those_of_one_run_are_refused_by_name(files, cli, spoil):
    import re

    folder = parts_of(files, cli)
    said = spoil(files, cli, folder)
    merged = files.root / "merged.parquet"
    more = [folder.parent / "part-2-of-4.parquet"] if spoil is twice else []
    result = cli("merge", folder, *more, "-o", merged)
    assert result.code == 1
    assert re.search(said, " ".join(result.err.split()))
    assert not merged.exists()


def test_what_one_process_refuses_of_all_cases_is_refused_in_merging(files, cli):
    """A copy lies in another part: only together can it be seen."""
    files.map(1).write_bytes(files.map(0).read_bytes())
    folder = parts_of(files, cli)
    result = cli("merge", folder, "-o", files.root / "merged.parquet")
    assert result.code == 1
    assert "one map under several names: case_00, case_01" in result.err


def test_a_part_is_no_table_and_is_known_to_verify(files, cli):
    folder = parts_of(files, cli)
    part = folder / "part-1-of-4.parquet"
    result = cli("calibrate", part, "--alpha=.3", "-o", files.root / "c.json")
    assert result.code == 1
    assert "coverax merge" in result.err
    assert cli("verify", folder).code == 0
    altered(files, cli, folder)
    assert cli("verify", folder).code == 1


def test_curves_of_all_cases_are_not_made_in_parts(files, cli):
    shard = ("--curves", "--shard=1/4", "-o", files.root / "p")
    assert cli("score", *files.options, *shard).code == 2


def test_a_shard_from_the_environment_is_said(files, cli, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "5")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "4")
    options = (*files.options, "--shard=auto", "-o", files.root / "p")
    result = cli("score", *options)
    assert result.code == 0
    assert "SLURM_ARRAY_TASK_ID=7" in result.err
    assert (files.root / "p" / "part-3-of-4.parquet").is_file()
