"""Runs that were stopped: by bad files, by Ctrl-C; and how they go on."""

import json
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pyarrow.parquet as pq
import pytest
from isal import igzip
from tests.cli.conftest import N_CASES
from tests.synthetic import case, write_nifti

from coverax.volumes import maps
from coverax.volumes.nifti import read_voxels

# Waited for what never ends; no claim about speed.
HANGS_S = 300


def broken(path):
    good = path.read_bytes()
    path.write_bytes(good[:-9])
    return good


def mend(path, good):
    path.write_bytes(good)


def journal_keys(output):
    lines = output.with_name(output.name + ".partial.jsonl").read_text().splitlines()
    return [json.loads(line)["key"] for line in lines[1:]]


def test_score_goes_on_after_a_failure_and_gives_the_same_table(files, cli, engine):
    whole, output = files.root / "whole.parquet", files.root / "s.parquet"
    command = (
        "score",
        *files.options,
        "--engine",
        engine,
        "--tolerance=0",
        "--tolerance=.1",
    )
    assert cli(*command, "-o", whole).code == 0
    good = broken(files.map(4))
    result = cli(*command, "-o", output)
    assert result.code == 1
    assert "go on with --resume" in result.err
    assert len(journal_keys(output)) == N_CASES - 1
    assert not output.exists()
    mend(files.map(4), good)
    assert cli(*command, "-o", output, "--resume").code == 0
    assert pq.read_table(output).equals(pq.read_table(whole), check_metadata=True)
    assert files.names() == ["s.parquet", "whole.parquet"]


def test_finished_cases_are_not_read_again(files, cli, monkeypatch):
    output = files.root / "s.parquet"
    good = broken(files.map(4))
    assert cli("score", *files.options, "-o", output).code == 1
    mend(files.map(4), good)
    read = []

    def counting(path, **options):
        read.append(path)
        return read_voxels(path, **options)

    monkeypatch.setattr(maps, "read_voxels", counting)
    assert cli("score", *files.options, "-o", output, "--resume").code == 0
    assert sorted(read) == [files.label(4), files.map(4)]


def test_a_file_replaced_with_size_and_time_kept_is_read_again(files, cli):
    """As `cp -p`, `rsync -t` or `tar` leave it."""
    output = files.root / "s.parquet"
    good = broken(files.map(4))
    assert cli("score", *files.options, "-o", output).code == 1
    mend(files.map(4), good)
    stat = files.map(5).stat()
    files.map(5).write_bytes(b"x" * stat.st_size)
    os.utime(files.map(5), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    result = cli("score", *files.options, "-o", output, "--resume")
    assert result.code == 1
    assert str(files.map(5)) in result.err


def test_a_file_replaced_in_between_is_read_again(files, cli):
    output = files.root / "s.parquet"
    good = broken(files.map(4))
    assert cli("score", *files.options, "-o", output).code == 1
    mend(files.map(4), good)
    ones = np.ones(nib.load(files.map(5)).shape, np.float32)
    write_nifti(files.map(5), ones)
    assert cli("score", *files.options, "-o", output, "--resume").code == 0
    rows = pq.read_table(output).to_pylist()
    assert rows[5]["critical_probability@0.1"] == 1.0


def test_units_corrected_in_between_are_the_corrected_ones(files, cli, engine):
    csv, output = files.root / "cohort.csv", files.root / "s.parquet"

    def write(unit):
        rows = [
            f"c{i},probs/{files.map(i).name},labels/{files.label(i).name},{unit}{i},g,2"
            for i in range(4)
        ]
        csv.write_text(
            "\n".join(["case_id,probs,labels,unit,group,weight", *rows]) + "\n"
        )

    command = ("score", "--cohort", csv, "--engine", engine, "-o", output)
    write("typo")
    good = broken(files.map(3))
    assert cli(*command).code == 1
    mend(files.map(3), good)
    write("patient")
    assert cli(*command, "--resume").code == 0
    units = pq.read_table(output).column("unit").to_pylist()
    assert units == [f"patient{i}" for i in range(4)]


def test_a_run_with_other_options_does_not_go_on(files, cli):
    output = files.root / "s.parquet"
    good = broken(files.map(4))
    assert cli("score", *files.options, "-o", output).code == 1
    mend(files.map(4), good)
    result = cli("score", *files.options, "--tolerance=0.2", "-o", output, "--resume")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "other options" in result.errors[0]
    assert not output.exists()


def test_allow_missing_publishes_and_records_the_failed(files, cli, engine):
    for i in (2, 6):
        broken(files.map(i))
    output = files.root / "s.parquet"
    command = ("score", *files.options, "--engine", engine, "--allow-missing")
    result = cli(*command, "-o", output, "--json")
    assert result.code == 0
    assert result.json["n_rows"] == N_CASES - 2
    assert result.json["excluded"] == {"failed": ["case_02", "case_06"]}
    calibration = files.root / "c.json"
    assert cli("calibrate", output, "--alpha", "0.1", "-o", calibration).code == 0
    content = json.loads(calibration.read_text())
    assert content["n_units"] == N_CASES - 2
    assert content["excluded"] == {"failed": ["case_02", "case_06"]}


def test_allow_missing_says_why_each_case_failed(files, cli):
    broken(files.map(2))
    result = cli(
        "score", *files.options, "--allow-missing", "-o", files.root / "s.parquet"
    )
    assert result.code == 0
    assert "case case_02" in result.err
    assert "truncated" in result.err


def test_nothing_left_is_an_error_even_where_cases_may_be_missing(files, cli, engine):
    for i in range(N_CASES):
        broken(files.map(i))
    command = ("score", *files.options, "--engine", engine, "--allow-missing")
    result = cli(*command, "-o", files.root / "s.parquet")
    assert result.code == 1
    assert files.names() == []


def test_predict_goes_on_after_a_failure(calibrated, files, cli):
    masks = files.root / "masks"
    command = ("predict", calibrated, "--probs", files.probs, "-o", masks)
    good = broken(files.map(4))
    result = cli(*command)
    assert result.code == 1
    assert "go on with --resume" in result.err
    assert not masks.exists()
    partial = files.root / "masks.partial"
    assert len(list(partial.glob("*.json"))) == N_CASES - 1
    first = (partial / "case_00.nii.gz").stat().st_mtime_ns
    mend(files.map(4), good)
    result = cli(*command, "--resume", "--json")
    assert (result.code, result.json["n_cases"]) == (0, N_CASES)
    assert len(list(masks.iterdir())) == 2 * N_CASES
    assert (masks / "case_00.nii.gz").stat().st_mtime_ns == first
    assert not partial.exists()


def test_predict_resumed_reads_a_replaced_map_and_forgets_a_removed_one(
    calibrated, files, cli
):
    masks = files.root / "masks"
    command = ("predict", calibrated, "--probs", files.probs, "-o", masks)
    broken(files.map(4))
    assert cli(*command).code == 1
    files.map(4).unlink()
    files.map(3).unlink()
    ones = np.ones(nib.load(files.map(5)).shape, np.float32)
    write_nifti(files.map(5), ones)
    assert cli(*command, "--resume").code == 0
    assert np.asanyarray(nib.load(masks / "case_05.nii.gz").dataobj).min() == 1
    assert not list(masks.glob("case_03*"))
    assert len(list(masks.iterdir())) == 2 * (N_CASES - 2)


def test_predict_with_allow_missing_names_the_failed(calibrated, files, cli):
    broken(files.map(4))
    masks = files.root / "masks"
    command = ("predict", calibrated, "--probs", files.probs, "-o", masks)
    result = cli(*command, "--allow-missing", "--json")
    assert result.code == 0
    assert list(result.json["failed"]) == ["case_04"]
    assert len(list(masks.iterdir())) == 2 * (N_CASES - 1)


def test_predict_with_another_calibration_does_not_go_on(
    calibrated, scored, files, cli
):
    masks, other = files.root / "masks", files.root / "other.json"
    broken(files.map(4))
    command = ("--probs", files.probs, "-o", masks)
    assert cli("predict", calibrated, *command).code == 1
    assert cli("calibrate", scored, "--alpha", "0.3", "-o", other).code == 0
    result = cli("predict", other, *command, "--resume")
    assert (result.code, len(result.errors)) == (1, 1)
    assert "another calibration" in result.errors[0]


@pytest.fixture(scope="module")
def many_cases(tmp_path_factory):
    """Enough work that Ctrl-C meets it half done: 24 shifts of one large case."""
    folder = tmp_path_factory.mktemp("many")
    probs, mask = case((96, 96, 80), 500, np.random.default_rng(0))
    for i in range(24):
        for name, volume in (("probs", probs), ("labels", mask.astype(np.uint8))):
            image = nib.Nifti1Image(np.roll(volume, i, axis=0), np.eye(4))
            path = folder / name / f"case_{i:03d}.nii.gz"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(igzip.compress(image.to_bytes(), compresslevel=1))
    return folder


@pytest.fixture
def ctrl_c():
    """Ctrl-C as at a terminal: in the background shells start tests with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield signal.SIGINT
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["score", "predict", "temperature"])
def test_ctrl_c_in_the_middle_ends_with_130_and_resumes(
    many_cases, cli, tmp_path, command, ctrl_c
):
    probs, labels = many_cases / "probs", many_cases / "labels"
    score = ["score", "--probs", probs, "--labels", labels, "--engine", "host"]
    score.append("--allow-duplicates")
    whole, calibration = tmp_path / "whole.parquet", tmp_path / "c.json"
    assert cli(*score, "-o", whole).code == 0
    output = tmp_path / "output"
    args = [*score, "-o", output]
    if command == "predict":
        assert cli("calibrate", whole, "--alpha", "0.1", "-o", calibration).code == 0
        args = ["predict", calibration, "--probs", probs, "-o", output]
    elif command == "temperature":
        fit = ["temperature", "fit", "--probs", probs, "--labels", labels]
        assert cli(*fit, "--voxels", 10_000, "-o", calibration).code == 0
        args = ["temperature", "apply", calibration, "--probs", probs, "-o", output]

    def finished():
        """Cases done so far; a command has nothing half done when it is asked."""
        if command != "score":
            mark = "*.json" if command == "predict" else "case*.nii.gz"
            return len(list((tmp_path / "output.partial").glob(mark)))
        journal = tmp_path / "output.partial.jsonl"
        return journal.read_text().count("\n") - 1 if journal.exists() else 0

    process = subprocess.Popen(
        [sys.executable, "-m", "coverax", *map(str, args), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stop = time.monotonic() + HANGS_S
    while finished() < 2 and time.monotonic() < stop and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(ctrl_c)
    _, err = process.communicate(timeout=HANGS_S)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "--resume" in err
    assert 2 <= finished() < 24
    assert not output.exists()
    assert cli(*args, "--resume").code == 0
    if command == "score":
        assert pq.read_table(output).equals(pq.read_table(whole), check_metadata=True)
    else:
        # A sidecar a mask; one record beside scaled maps.
        n_files = {"predict": 48, "temperature": 25}
        assert len(list(output.iterdir())) == n_files[command]
    left = {p.name for p in tmp_path.iterdir()} - {"whole.parquet", "c.json"}
    assert left == {"output"}
