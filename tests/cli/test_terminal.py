"""What reaches a terminal: signs it has, nothing that acts on it, one cause once."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from tests.cli.conftest import N_CASES

ENCODINGS = ("ascii", "cp1252", "utf-8", "utf-16-le")


def run(args, encoding, cwd):
    """The command line in a process of its own, whose streams have an encoding."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "coverax", *map(str, args)],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=environment,
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_evaluate_prints_its_table_in_any_encoding(files, calibrated, encoding):
    args = ("evaluate", calibrated, *files.options, "-o", files.root / "e")
    done = run(args, encoding, files.root)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode(encoding)
    assert "FNR of cases, 0 to 1" in out
    assert "\\u" not in out
    assert (files.root / "e" / "evaluation.json").is_file()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("command", ["reliability", "plan", "validate"])
def test_every_table_is_printed_in_any_encoding(files, scored, command, encoding):
    args = {
        "reliability": ("reliability", scored, "-o", files.root / "r", "--no-figures"),
        "plan": ("plan", "--alpha", "0.1", "--delta", "0.05"),
        "validate": ("validate", scored, "--alpha", "0.1"),
    }[command]
    done = run(args, encoding, files.root)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.decode(encoding).splitlines()) > 5


@pytest.mark.slow
def test_demo_ends_well_on_a_terminal_of_ascii(tmp_path):
    done = run(("demo", "-o", tmp_path / "demo", "--engine", "host"), "ascii", tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_was_asked_for_is_on_stdout_and_all_else_on_stderr(files, scored, cli):
    """Of every command: thresholds, tables, verdicts; not progress or what was written."""
    out, root = files.root / "c.json", files.root
    asked = {
        ("calibrate", scored, "--alpha", "0.2", "-o", out): "With probability at least",
        ("evaluate", out, *files.options, "-o", root / "e"): "FNR of cases",
        ("validate", scored, "--alpha", "0.2"): "coverage",
        ("monitor", out, *files.options[:2]): "no drift found",
        ("monitor", out, *files.options[:2], "--state", root / "w"): "no alarm",
        ("temperature", "fit", *files.options, "-o", root / "t.json"): "temperature ",
        ("reliability", scored, "-o", root / "r", "--no-figures"): "ECE",
        ("verify", out): "whole: ",
        ("plan", "--alpha", "0.2"): "units",
        ("score", *files.options, "-o", root / "s2"): "",
        ("predict", out, *files.options[:2], "-o", root / "m"): "",
    }
    for command, words in asked.items():
        done = cli(*command)
        assert done.code == 0, done.err
        assert words in done.out, command
        assert bool(done.out) == bool(words), command
        for of_stderr in ("/s, ", "left", "further columns"):
            assert of_stderr not in done.out, command


def test_control_characters_of_files_do_not_reach_the_terminal(files, cli):
    """Of names of files, of folders, and of cells: shown as escapes, or refused."""
    wild = "x\x1b[2J\x07\u202e"
    folder = files.root / wild
    shutil.copytree(files.probs, folder)
    (folder / "more.mgz").write_bytes(b"")
    (folder / f"{wild}.mgh").write_bytes(b"")
    labels = ("--labels", files.labels)
    done = cli("score", "--probs", folder, *labels, "-o", files.root / "s.parquet")
    assert done.code == 0
    assert "2 files are no volume" in done.err
    (folder / f"{wild}.nii.gz").write_bytes(b"")
    refused = cli("score", "--probs", folder, *labels, "-o", files.root / "s.parquet")
    assert refused.code == 1
    assert "cannot name a file" in refused.err
    missing = cli("score", "--cohort", files.root / f"{wild}.csv", "-o", "s.parquet")
    assert missing.code == 1
    for text in (done.err, refused.err, missing.err):
        assert "\\x1b" in text
        assert all(c.isprintable() or c == "\n" for c in text)


def test_notes_of_the_package_are_lines_of_the_command_line(files, cli):
    """Once each, for every command that takes a folder, and only while one runs."""
    (files.probs / "case_99.nii.zst").write_bytes(b"")
    (files.labels / "case_99.mgz").write_bytes(b"")
    table, out = files.root / "s.parquet", files.root / "c.json"
    done = cli("score", *files.options, "-o", table)
    assert done.err.count("passed over: case_99.nii.zst") == 1
    assert done.err.count("passed over: case_99.mgz") == 1
    assert cli("calibrate", table, "--alpha", "0.1", "-o", out).code == 0
    for command in (
        ("predict", out, *files.options[:2], "-o", files.root / "m"),
        ("monitor", out, *files.options[:2]),
        ("evaluate", out, *files.options, "-o", files.root / "e"),
        ("reliability", *files.options, "-o", files.root / "r", "--no-figures"),
        ("temperature", "fit", *files.options, "-o", files.root / "t.json"),
    ):
        done = cli(*command)
        assert done.err.count("passed over: case_99.nii.zst") == 1, command


def test_one_cause_is_said_once_and_every_case_is_listed(files, cli, monkeypatch):
    """Two causes: three cases have a line each, nine share one; the file has them all."""
    for i in range(N_CASES):
        files.map(i).write_bytes(b"" if i < 3 else b"text" * 99)
    output = files.root / "s.parquet"
    done = cli("score", *files.options, "-o", output)
    assert done.code == 1
    assert len(done.errors) == 3 + 1 + 1
    for i in range(3):
        assert f"case case_{i:02d}: {files.map(i)} is empty" in done.errors[i]
    words = "error: 9 cases alike (case_03, case_04, case_05 and 6 more), the first: "
    assert done.errors[3].startswith(
        f"{words}case case_03: {files.map(3)}: not a sound"
    )
    assert done.errors[4] == f"error: {N_CASES} of {N_CASES} cases failed"
    listed = files.root / "s.parquet.errors.txt"
    assert f"all of them are listed in {listed}" in done.err
    lines = listed.read_text().splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        f"case case_{i:02d}" for i in range(N_CASES)
    ]
    monkeypatch.setenv("COVERAX_DEBUG", "1")
    from coverax.cli.app import run as run_here

    assert run_here(["score", *map(str, files.options), "-o", str(output)]) == 1


def test_rows_of_one_cause_are_said_once_too(files, cli):
    rows = [f"c{i},p{i},l,left kidney" for i in range(5)] + ["d,,l,x"]
    csv = files.root / "c.csv"
    csv.write_text("\n".join(["case_id,probs,labels,region", *rows]) + "\n")
    done = cli("score", "--cohort", csv, "-o", files.root / "s.parquet")
    assert len(done.errors) == 3
    words = "error: 5 lines alike (line 2, line 3, line 4 and 2 more), the first: "
    assert done.errors[0].startswith(f"{words}{csv}, line 2: region 'left kidney'")
    assert done.errors[1:] == [
        f"error: {csv}, line 7: probs is empty",
        f"error: {csv}: 6 lines are wrong",
    ]
    listed = (files.root / "s.parquet.errors.txt").read_text()
    assert all(f"line {i}: " in listed for i in range(2, 8))


def test_the_list_of_an_earlier_run_goes_when_a_run_ends_well(files, cli):
    good = [files.map(i).read_bytes() for i in range(N_CASES)]
    for i in range(N_CASES):
        files.map(i).write_bytes(b"")
    output = files.root / "s.parquet"
    command = ("score", *files.options, "-o", output)
    assert cli(*command).code == 1
    assert files.names() == ["s.parquet.errors.txt"]
    for i in range(4, N_CASES):
        files.map(i).write_bytes(good[i])
    done = cli(*command, "--allow-missing", "--json")
    assert done.code == 0
    assert done.err.count("4 cases alike (case_00, case_01, case_02 and 1 more)") == 0
    assert len(done.json["excluded"]["failed"]) == 4
    assert files.names() == ["s.parquet"]
    assert "4 cases alike (case_00," in cli(*command, "--allow-missing").err


@pytest.mark.parametrize(("level", "same"), [("1/3", "1/3"), ("0.29", "29/100")])
def test_a_level_stays_the_number_that_was_written(scored, files, cli, level, same):
    import coverax as cx

    out = files.root / "c.json"
    assert cli("calibrate", scored, "--alpha", level, "-o", out).code == 0
    mine = cx.calibrate.calibrate_fnr(cx.scores.read_table(scored), same)
    theirs = json.loads(out.read_text())
    assert theirs["thresholds"] == mine.to_json()["thresholds"]
    assert theirs["alpha"] == mine.alpha


@pytest.mark.parametrize(
    "level", ["1e-30000000", "1e-999999999", "1E+999999999", "0." + "1" * 10_000]
)
def test_a_number_beyond_use_is_refused_at_once(scored, files, cli, level):
    import time

    start = time.process_time()
    for args in (
        ("calibrate", scored, "--alpha", level, "-o", files.root / "c.json"),
        ("score", *files.options, "--tolerance", level, "-o", files.root / "t.parquet"),
        ("plan", "--alpha", level),
    ):
        assert cli(*args).code == 2
    assert time.process_time() - start < 5
