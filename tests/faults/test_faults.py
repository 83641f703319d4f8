"""Commands killed or failed at changes of the file system, and racing for one output.

A bounded sample by default; `slow` takes more. `harness.py` by hand takes every change
of every command (counts in docs/testing.md).
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs import make_cli
from tests.faults.harness import COMMANDS

HARNESS = Path(__file__).with_name("harness.py")
# A command and option that write, and why no fault is aimed at them.
NOT_AIMED_AT = {
    ("demo", "--output"): "14,450 changes, all within one `whole_folder` as evaluate's"
}
needs_gcc = pytest.mark.skipif(
    shutil.which("gcc") is None or sys.platform != "linux",
    reason="the faults are aimed by a library that gcc builds, on Linux",
)


def report_of(*args):
    done = subprocess.run(
        [sys.executable, HARNESS, *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def failures_of(report):
    return {
        (command, kind): found["failures"]
        for command, kinds in report.items()
        for kind, found in kinds.items()
        if kind != "changes" and found["failures"]
    }


def writing_options():
    """Every command with each of its options that name what it writes."""
    for name, command in make_cli.commands():
        words = name.removeprefix("coverax ")
        for option in command.params:
            is_new = "new folder" in (getattr(option, "help", None) or "").lower()
            if is_new or "--output" in option.opts:
                yield words, option.opts


def test_every_option_that_writes_is_under_the_harness():
    aimed_at = [command.args for command in COMMANDS.values()]
    missing = [
        (words, names)
        for words, names in writing_options()
        if not any((words, name) in NOT_AIMED_AT for name in names)
        and not any(
            args[: len(words.split())] == tuple(words.split()) and {*names} & {*args}
            for args in aimed_at
        )
    ]
    assert missing == []


@needs_gcc
def test_a_sample_of_faults_leaves_no_half_output_and_nothing_behind():
    report = report_of("predict", "evaluate", "--every", 20)
    assert report["predict"]["changes"] > 20
    assert all(report[c][k]["trials"] for c in report for k in ("kill", "full"))
    assert failures_of(report) == {}


@needs_gcc
def test_the_harness_sees_a_half_output():
    """A writer that opens its output under its own name is caught."""
    report = report_of("careless", "--kinds", "half")
    assert failures_of(report)


@needs_gcc
@pytest.mark.slow
def test_faults_of_every_command_leave_no_half_output_and_nothing_behind():
    quick = [name for name, command in COMMANDS.items() if not command.trains]
    assert failures_of(report_of(*quick, "--every", 25)) == {}


@needs_gcc
@pytest.mark.slow
def test_faults_of_training_leave_no_half_output_and_nothing_behind():
    dear = [name for name, command in COMMANDS.items() if command.trains]
    assert failures_of(report_of(*dear, "--every", 120)) == {}


@needs_gcc
@pytest.mark.parametrize(
    "rounds", [3, pytest.param(50, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_two_runs_with_one_output_never_mix(rounds):
    report = report_of("--races", rounds)
    assert report["races"]["rounds"] == rounds
    assert report["races"]["failures"] == []
    assert report["races"]["published"] > 0
