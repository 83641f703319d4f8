"""Every command, killed or failed at every change it makes to the file system.

    python tests/faults/harness.py [COMMAND ...] [--kinds kill half full error]
                                   [--every K] [--seed S]

Runs itself again under `shim.c` (compiled on the spot), imports coverax once, and forks
a child for each trial. A trial arms the shim at the N-th change below the working
folder, runs the command, and asks:

* the output is not there, or the same bytes as of an undisturbed run (the folder of a
  training run grows as it goes: there `coverax verify` finds nothing damaged);
* the command run again (with `--resume` where it has it) ends well with these bytes (of
  a training run: its metrics, config and split, and the digests of all weights);
* nothing is left beside it then but what the undisturbed run leaves;
* `coverax verify` finds all of it whole.

Prints one JSON object: trials and failures by command and kind.
"""

import argparse
import contextlib
import ctypes
import gc
import hashlib
import importlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = {"kill": 1, "half": 2, "full": 3, "error": 4}
N_CASES, SHAPE = 4, (7, 6, 5)
LONGEST_S = 120  # of a trial; what takes longer hangs
TRAIN = """
[data]
images = "probs"
labels = "labels"
classes = { background = 0, lesion = 1 }
shares = { train = 0.3, learning = 0.3, calibration = 0.4, test = 0.0 }
cache = "../cache"

[net.sizes]
channels = [2, 2]
blocks = [1, 1]
decoder_blocks = [1]
strides = [2]
supervised = 1

[patch]
size = [4, 4, 4]
batch = 1
rotation_degrees = 0.0
zoom = 0.0
noise = 0.0
blur_voxels = 0.0
gamma = 0.0

[run]
steps = 2
validate_every = 1
checkpoint_every = 1
"""


@dataclass(frozen=True)
class Command:
    """A command, what it writes, and whether it resumes.

    `beside` is a second output; `grows` says that the output is there from the start;
    `old` is a folder that lies there before: it or the whole new one always does.
    """

    args: tuple[str, ...]
    output: str = "out"
    resumes: bool = False
    beside: str = "none"
    grows: bool = False
    old: str = ""

    @property
    def trains(self) -> bool:
        return self.args[0] in ("train", "infer")


# Not of the package: what the harness must catch.
CARELESS = Command(("careless",))
SCORES = ("--probs", "in/probs", "--labels", "in/labels")
SETS = ("--transform", "inner=identity", "--transform", "outer=distance")
SETS = (*SETS, "--set-sizes")
INFER = ("infer", "in/model", "--images", "in/probs", "-o", "out")
COMMANDS = {
    "score": Command(("score", *SCORES, "--engine", "host", "-o", "out"), resumes=True),
    "score-shard": Command(
        ("score", *SCORES, "--engine", "host", "--shard", "1/2", "-o", "out"),
        output="out/part-1-of-2.parquet",
        resumes=True,
    ),
    "split": Command(
        ("split", "in/cohort.csv", "--calibration", ".5", "-o", "out"),
    ),
    "merge": Command(("merge", "in/parts", "-o", "out")),
    "calibrate": Command(("calibrate", "in/s.parquet", "--alpha", ".3", "-o", "out")),
    "summarise": Command(("summarise", "in/s.parquet", "--fewest", "1", "-o", "out")),
    "learn-sets": Command(
        ("learn-sets", "in/s.parquet", "--folds", "2", "--alpha", ".8", "-o", "out")
    ),
    "predict": Command(
        ("predict", "in/c.json", "--probs", "in/probs", "-o", "out"), resumes=True
    ),
    "predict-overwrite": Command(
        ("predict", "in/c.json", "--probs", "in/probs", "-o", "out", "--overwrite"),
        resumes=True,
        old="in/old",
    ),
    "validate-overwrite": Command(
        (
            *("validate", "in/s.parquet", "--method", "fnr", "--alpha", ".4"),
            *("-o", "out", "--overwrite"),
        ),
        old="in/old",
    ),
    "predict-sides": Command(
        ("predict", "in/sets.json", "--probs", "in/probs", "--sides", "-o", "out"),
        resumes=True,
    ),
    "predict-overlay": Command(
        (
            *("predict", "in/sets.json", "--probs", "in/probs", "-o", "out"),
            *("--overlay", "pictures"),
        ),
        resumes=True,
        beside="pictures",
    ),
    "picture": Command(
        ("picture", "in/masks", "--images", "in/probs", "-o", "out"), resumes=True
    ),
    "predict-bids": Command(
        ("predict", "in/sets.json", "--probs", "in/bids", "--bids", "out"),
        resumes=True,
    ),
    "pack": Command(("pack", "in/probs", "-o", "out"), resumes=True),
    "export": Command(("export", "in/probs", "-o", "out"), resumes=True),
    "import-bids": Command(
        ("import", "bids", "in/derivative", "--labels", "in/derivative", "-o", "out")
    ),
    "import-images": Command(
        ("import", "images", "in/probs", "--labels", "in/labels", "-o", "out")
    ),
    "evaluate": Command(
        ("evaluate", "in/c.json", *SCORES, "--engine", "host", "-o", "out")
    ),
    "validate": Command(
        ("validate", "in/s.parquet", "--method", "fnr", "--alpha", ".4", "-o", "out")
    ),
    "reliability": Command(("reliability", "in/s.parquet", "-o", "out")),
    "report": Command(("report", "in/s.parquet", "in/c.json", "-o", "out")),
    "fit": Command(("temperature", "fit", *SCORES, "-o", "out")),
    "apply": Command(
        ("temperature", "apply", "in/t.json", "--probs", "in/probs", "-o", "out"),
        resumes=True,
    ),
    "import-nnunet": Command(
        (
            "import",
            "nnunet",
            "in/nnunet/results",
            "--labels",
            "in/nnunet/labels",
            "-o",
            "out",
        )
    ),
    "train": Command(
        ("train", "in/run.toml", "-o", "out"),
        resumes=True,
        beside="cache",
        grows=True,
    ),
    "infer": Command(INFER, resumes=True),
    "infer-score": Command(
        (*INFER, "--score-only", "--labels", "in/labels"), resumes=True
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
        prepare(options.commands)
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
        env = os.environ | {
            "LD_PRELOAD": str(library),
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "xla")),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        return subprocess.run([sys.executable, *sys.argv], env=env).returncode


def prepare(commands: list[str]) -> None:
    """The inputs of the commands, in `in/`."""
    import nibabel as nib
    import numpy as np

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests import nnunet_files

    from coverax.table import blocks

    blocks.HELD = 0  # small tables take the way of large ones: lists lie in a file

    rng = np.random.default_rng(0)
    for name in ("probs", "labels", "bids"):
        Path("in", name).mkdir(parents=True)
    for i in range(N_CASES):
        probs = rng.random(SHAPE, np.float32)
        labels = (probs + rng.normal(0, 0.2, SHAPE) > 0.6).astype(np.uint8)
        for name in ("probs/c", "bids/sub-"):
            nib.save(nib.Nifti1Image(probs, np.eye(4)), f"in/{name}{i}.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), f"in/labels/c{i}.nii.gz")
        own = Path("in", "derivative", f"sub-{i}", "anat")
        own.mkdir(parents=True)
        nib.save(nib.Nifti1Image(probs, np.eye(4)), own / f"sub-{i}_probseg.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), own / f"sub-{i}_dseg.nii.gz")
    rows = [f"c{i},probs/c{i}.nii.gz,labels/c{i}.nii.gz" for i in range(N_CASES)]
    Path("in", "cohort.csv").write_text("\n".join(["case_id,probs,labels", *rows]))
    parts = ("--engine", "host", "-o", "in/parts", "--shard")
    for args in (
        ("score", *SCORES, *parts, "1/2"),
        ("score", *SCORES, *parts, "2/2"),
        ("score", *SCORES, *SETS, "--engine", "host", "-o", "in/s.parquet"),
        ("calibrate", "in/s.parquet", "--alpha", ".3", "-o", "in/c.json"),
        ("calibrate", "in/s.parquet", "--alpha", ".6", "-o", "in/old.json"),
        ("predict", "in/old.json", "--probs", "in/probs", "-o", "in/old"),
        (
            *("calibrate", "in/s.parquet", "--method", "sets", "--alpha", ".4"),
            *("--joint", "max", "-o", "in/sets.json"),
        ),
        ("temperature", "fit", *SCORES, "-o", "in/t.json"),
        ("predict", "in/c.json", "--probs", "in/probs", "-o", "in/masks"),
    ):
        code, text = run_command(args)
        assert code == 0, (args, text)
    nnunet_files.cohort(Path("in", "nnunet"), 2)
    if any(COMMANDS[name].trains for name in commands if name in COMMANDS):
        prepare_training()


def prepare_training() -> None:
    """A trained net, and everything imported that a child would import."""
    import grain  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import tensorboardX  # noqa: F401

    Path("in", "run.toml").write_text(TRAIN)
    assert run_command(("train", "in/no.toml", "-o", "in/no"))[0] == 1
    # JAX starts threads, which no fork survives: it may run in children alone.
    code, text, _ = in_child(("train", "in/run.toml", "-o", "in/model"), 1 << 40, 0)
    assert code == 0, text


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
    gc.freeze()  # a collection in the child would copy every page
    pid = os.fork()
    if pid == 0:
        signal.alarm(LONGEST_S)
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
        answer = json.dumps([code, text[-2000:], n_changes, list(sys.modules)])
        with os.fdopen(writer, "wb") as stream:
            stream.write(answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        answer = stream.read()
    _, ended = os.waitpid(pid, 0)
    if answer:
        *found, modules = json.loads(answer)
        import_what(modules)
        return tuple(found)
    hangs = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGALRM
    return None, "ESCAPED: it hangs" if hangs else "", -1


def import_what(modules: list[str]) -> None:
    """What a child imported, so that the next one need not."""
    for name in set(modules) - set(sys.modules):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def bytes_of(path: Path) -> dict[str, str]:
    """Digest of every file at or below a path, by its name; nothing where it is not.

    Of a checkpoint the arrays are told by their digests in `about`: their files, and
    what seals them, hold times and random names; so do TensorBoard's.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    found = {}
    for p in files:
        name = str(p.relative_to(path))
        if p.is_file() and not re.match(r"tensorboard/|checkpoints/\d+/state/", name):
            has_times = name.endswith(("/seal.json", "/_CHECKPOINT_METADATA"))
            content = b"" if has_times else p.read_bytes()
            found[name] = hashlib.sha256(content).hexdigest()
    return found


def start_over(command: Command | None = None) -> None:
    for path in Path().iterdir():
        if path.name != "in":
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    if command is not None and command.old:
        shutil.copytree(command.old, command.output)


def campaign(options) -> dict:
    report = {}
    for name in options.commands:
        command = CARELESS if name == "careless" else COMMANDS[name]
        start_over(command)
        code, text, _ = in_child(command.args, 1 << 40, 0)
        assert code == 0, (name, text)
        whole = results_of(command)
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
    start_over(command)
    return in_child(command.args, 1 << 40, 0)[2]


def results_of(command: Command) -> tuple[dict[str, str], dict[str, str]]:
    return bytes_of(Path(command.output)), bytes_of(Path(command.beside))


def trial(command: Command, at: int, kind: str, whole: tuple) -> str | None:
    """What is wrong after a fault at the N-th change; None where nothing is."""
    start_over(command)
    output = Path(command.output)
    code, text, _ = in_child(command.args, at, KINDS[kind])
    where = f"change {at}: "
    # Threads of the libraries that write checkpoints print what they raise.
    if "ESCAPED" in text or ("Traceback" in text and not command.grows):
        return where + text
    published, beside = results_of(command)
    old = bytes_of(Path(command.old)) if command.old else {}
    if not command.grows and (
        published not in (old, whole[0]) or beside not in ({}, whole[1])
    ):
        found = differences((published, beside), whole)
        return where + f"half an output, by {found}"
    if code == 0 and (published, beside) != whole:
        found = differences((published, beside), whole)
        return where + f"exit 0 without the output: {found}"
    is_folder = published and not output.is_file()
    if is_folder and not command.grows and not command.old:
        return None  # a folder that is there is not replaced
    if command.grows and output.exists() and (why := damage_of(output)):
        return where + f"verify before it goes on: {why}"
    again = (*command.args, "--resume") if command.resumes else command.args
    code, text, _ = in_child(again, 1 << 40, 0)
    if code != 0:
        return where + f"again: {text}"
    if (found := results_of(command)) != whole:
        return where + f"again: other bytes: {differences(found, whole)}"
    known = {"in", *output.parts, command.beside}
    left = {p.name for p in (*Path().iterdir(), *output.parent.iterdir())} - known
    if left:
        return where + f"left behind: {sorted(left)}"
    if command is not CARELESS and (why := damage_of(output)):
        return where + f"verify: {why}"
    return None


def damage_of(output: Path) -> str | None:
    """What `coverax verify` has against an output."""
    code, text, _ = in_child(("verify", str(output)), 1 << 40, 0)
    return text if code else None


def differences(found: tuple, whole: tuple) -> list[str]:
    """Names of the files that differ, at most three."""
    each = (set(a.items()) ^ set(b.items()) for a, b in zip(found, whole, strict=True))
    return sorted({name for own in each for name, _ in own})[:3]


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
