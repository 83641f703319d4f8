"""Every command, killed or failed at every change it makes to the file system.

    python tests/faults/harness.py [COMMAND ...] [--kinds kill half full error]
                                   [--every K] [--seed S]

Runs itself again under `shim.c` (compiled on the spot), imports coverax once, and forks
a child for each trial. A trial arms the shim at the N-th change below the working
folder, runs the command, and asks:

* the output is not there, or the same bytes as of an undisturbed run;
* the command run again (with `--resume` where it has it) ends well with these bytes;
* nothing is left beside it then but what the undisturbed run leaves;
* `coverax verify` finds all of it whole.

Prints one JSON object: trials and failures by command and kind.
"""

import argparse
import contextlib
import ctypes
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = {"kill": 1, "half": 2, "full": 3, "error": 4}
N_CASES, SHAPE = 4, (7, 6, 5)


@dataclass(frozen=True)
class Command:
    """A command, what it writes, and whether it resumes."""

    args: tuple[str, ...]
    output: str
    resumes: bool = False


# Not of the package: what the harness must catch.
CARELESS = Command(("careless",), "out")
SCORES = ("--probs", "in/probs", "--labels", "in/labels")
SETS = ("--transform", "inner=identity", "--transform", "outer=distance")
SETS = (*SETS, "--set-sizes")
COMMANDS = {
    "score": Command(
        ("score", *SCORES, "--engine", "host", "-o", "out"), "out", resumes=True
    ),
    "calibrate": Command(
        ("calibrate", "in/s.parquet", "--alpha", ".3", "-o", "out"), "out"
    ),
    "learn-sets": Command(
        ("learn-sets", "in/s.parquet", "--folds", "2", "--alpha", ".8", "-o", "out"),
        "out",
    ),
    "predict": Command(
        ("predict", "in/c.json", "--probs", "in/probs", "-o", "out"), "out", True
    ),
    "predict-sides": Command(
        ("predict", "in/sets.json", "--probs", "in/probs", "--sides", "-o", "out"),
        "out",
        resumes=True,
    ),
    "predict-bids": Command(
        ("predict", "in/sets.json", "--probs", "in/bids", "--bids", "out"),
        "out",
        resumes=True,
    ),
    "evaluate": Command(
        ("evaluate", "in/c.json", *SCORES, "--engine", "host", "-o", "out"), "out"
    ),
    "validate": Command(
        ("validate", "in/s.parquet", "--method", "fnr", "--alpha", ".4", "-o", "out"),
        "out",
    ),
    "reliability": Command(("reliability", "in/s.parquet", "-o", "out"), "out"),
    "fit": Command(("temperature", "fit", *SCORES, "-o", "out"), "out"),
    "apply": Command(
        ("temperature", "apply", "in/t.json", "--probs", "in/probs", "-o", "out"),
        "out",
        resumes=True,
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("commands", nargs="*", default=list(COMMANDS))
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--every", type=int, default=1, help="Take one change in K.")
    parser.add_argument("--seed", type=int, default=0, help="Of which one.")
    parser.add_argument("--races", type=int, help="Rounds of two runs, one output.")
    options = parser.parse_args()
    if "libfault" not in os.environ.get("LD_PRELOAD", ""):
        return run_under_shim()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        prepare()
        report = {"races": race(options.races)} if options.races else campaign(options)
        sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0


def run_under_shim() -> int:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "libfault.so")
        source = Path(__file__).with_name("shim.c")
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"],
            check=True,
        )
        env = os.environ | {"LD_PRELOAD": str(library)}
        return subprocess.run([sys.executable, *sys.argv], env=env).returncode


def prepare() -> None:
    """The inputs of every command, in `in/`."""
    import nibabel as nib
    import numpy as np

    rng = np.random.default_rng(0)
    for name in ("probs", "labels", "bids"):
        Path("in", name).mkdir(parents=True)
    for i in range(N_CASES):
        probs = rng.random(SHAPE, np.float32)
        labels = (probs + rng.normal(0, 0.2, SHAPE) > 0.6).astype(np.uint8)
        for name in ("probs/c", "bids/sub-"):
            nib.save(nib.Nifti1Image(probs, np.eye(4)), f"in/{name}{i}.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), f"in/labels/c{i}.nii.gz")
    for args in (
        ("score", *SCORES, *SETS, "--engine", "host", "-o", "in/s.parquet"),
        ("calibrate", "in/s.parquet", "--alpha", ".3", "-o", "in/c.json"),
        (
            *("calibrate", "in/s.parquet", "--method", "sets", "--alpha", ".4"),
            *("--joint", "max", "-o", "in/sets.json"),
        ),
        ("temperature", "fit", *SCORES, "-o", "in/t.json"),
    ):
        code, text = run_command(args)
        assert code == 0, (args, text)


def run_command(args) -> tuple[int, str]:
    if args == CARELESS.args:
        Path("out").write_text("a result\n" * 100)
        return 0, ""
    from coverax.cli.app import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(args))
    return code, out.getvalue()


def in_child(args, at: int, kind: int) -> tuple[int | None, str, int]:
    """Exit code (None: killed), what was said, and the changes made."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        shim = ctypes.CDLL(None)
        shim.fault_arm(bytes(Path.cwd()), ctypes.c_long(at), kind)
        code, text = 99, ""
        try:
            code, text = run_command(args)
        except BaseException as error:  # noqa: BLE001  whatever escapes is a finding
            text = f"ESCAPED {type(error).__name__}: {error}"
        n_changes = int(shim.fault_count())
        shim.fault_arm(b"/nowhere", ctypes.c_long(-1), 0)
        answer = json.dumps([code, text[-2000:], n_changes])
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    os.waitpid(pid, 0)
    return tuple(json.loads(answer)) if answer else (None, "", -1)


def bytes_of(path: Path) -> dict[str, str]:
    """Digest of every file at or below a path, by its name; nothing where it is not."""
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    return {
        str(p.relative_to(path)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.is_file()
    }


def start_over() -> None:
    for path in Path().iterdir():
        if path.name != "in":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def campaign(options) -> dict:
    report = {}
    for name in options.commands:
        command = CARELESS if name == "careless" else COMMANDS[name]
        start_over()
        code, text, _ = in_child(command.args, 1 << 40, 0)
        assert code == 0, (name, text)
        whole = bytes_of(Path(command.output))
        start_over()
        n_changes = count_changes(command)
        report[name] = {"changes": n_changes}
        rng = random.Random(f"{options.seed} {name}")
        for kind in options.kinds:
            first = rng.randint(1, min(options.every, n_changes))
            trials = range(first, n_changes + 1, options.every)
            failures = [f for n in trials if (f := trial(command, n, kind, whole))]
            report[name][kind] = {"trials": len(trials), "failures": failures}
            sys.stderr.write(f"{name} {kind}: {len(failures)} of {len(trials)}\n")
    return report


def count_changes(command: Command) -> int:
    start_over()
    return in_child(command.args, 1 << 40, 0)[2]


def trial(command: Command, at: int, kind: str, whole: dict[str, str]) -> str | None:
    """What is wrong after a fault at the N-th change; None where nothing is."""
    start_over()
    output = Path(command.output)
    code, text, _ = in_child(command.args, at, KINDS[kind])
    where = f"change {at}: "
    if "Traceback" in text or "ESCAPED" in text:
        return where + text
    published = bytes_of(output)
    if published not in ({}, whole):
        return where + "half an output"
    if code == 0 and published != whole:
        return where + "exit 0 without the output"
    if published and not output.is_file():  # a folder that is there is not replaced
        return None
    again = (*command.args, "--resume") if command.resumes else command.args
    code, text, _ = in_child(again, 1 << 40, 0)
    if code != 0:
        return where + f"again: {text}"
    if bytes_of(output) != whole:
        return where + "again: other bytes"
    left = {p.name for p in Path().iterdir()} - {"in", command.output}
    if left:
        return where + f"left behind: {sorted(left)}"
    if command is CARELESS:
        return None
    code, text, _ = in_child(("verify", command.output), 1 << 40, 0)
    return where + f"verify: {text}" if code else None


def race(rounds: int) -> dict:
    """Two calibrations predict into one folder at once, shifted a little each round.

    Whoever exits 0 has published a whole folder of its own calibration; the other is
    refused. One at least publishes where the other was refused.
    """
    others = ("predict", "in/c.json"), ("predict", "in/other.json")
    args = ("calibrate", "in/s.parquet", "--alpha", ".4", "-o", "in/other.json")
    assert run_command(args)[0] == 0
    rest = ("--probs", "in/probs", "-o", "out")
    whole = []
    for first in others:
        start_over()
        assert in_child((*first, *rest), 1 << 40, 0)[0] == 0
        whole.append(bytes_of(Path("out")))
    failures, published = [], 0
    for i in range(rounds):
        start_over()
        readers = []
        for first in others:
            reader, writer = os.pipe()
            if os.fork() == 0:
                code, text = run_command((*first, *rest))
                os.write(writer, json.dumps([code, text[-500:]]).encode())
                os._exit(0)
            os.close(writer)
            readers.append(reader)
            time.sleep(i % 10 / 100)
        ends = []
        for reader in readers:
            with os.fdopen(reader, "rb") as stream:
                ends.append(json.loads(stream.read()))
            os.wait()
        won = [k for k, (code, _) in enumerate(ends) if code == 0]
        published += len(won)
        found = bytes_of(Path("out"))
        if len(won) != 1 or found != whole[won[0]]:
            failures.append(f"round {i}: {ends}, {len(found)} files")
    return {"rounds": rounds, "published": published, "failures": failures}


if __name__ == "__main__":
    sys.exit(main())
