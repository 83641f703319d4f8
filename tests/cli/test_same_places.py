"""Wherever the cases are worked on, the same bytes: tables, masks, sidecars, records."""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import threading
import time

import pytest

N_PARTS = 4
SCORED = ("--transform=outer=distance:cut=0.5", "--tolerance=0", "--tolerance=.1")
SCORED += ("--engine", "host")


def bytes_of(path):
    """Every file below a folder, by name; of a file its own."""
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(files)}


class Flow:
    """The commands over cases, each into an output of its own."""

    def __init__(self, files, cli):
        self.files, self.cli = files, cli
        self.numbers = itertools.count()

    def run(self, *command):
        result = self.cli(*command)
        assert result.code == 0, result.err

    def prepare(self):
        root, options = self.files.root, self.files.options
        self.run("score", *options, *SCORED, "-o", root / "s.parquet")
        level = ("--alpha=.3", "--tolerance=.1")
        self.run("calibrate", root / "s.parquet", *level, "-o", root / "c.json")
        self.run("temperature", "fit", *options, "-o", root / "t.json")
        probs = ("--probs", self.files.probs)
        one = "--threads=1"
        return {
            "score": ("score", *options, *SCORED, one),
            "predict": ("predict", root / "c.json", *probs, one),
            "apply": ("temperature", "apply", root / "t.json", *probs, one),
            "evaluate": ("evaluate", root / "c.json", *options, "--engine=host", one),
        }

    def output(self):
        return self.files.root / f"out{next(self.numbers)}"

    def made(self, command, *more):
        output = self.output()
        if command[0] == "score":
            output = output.with_suffix(".parquet")
        self.run(*command, *more, "-o", output)
        return bytes_of(output)

    def in_parts(self, command):
        parts, numbers = self.output(), list(range(1, N_PARTS + 1))
        random.Random(7).shuffle(numbers)
        for i in numbers:
            self.run(*command, f"--shard={i}/{N_PARTS}", "-o", parts)
        if command[0] != "score":
            return self.made(command, "--parts", parts)
        shuffled = [parts / f"part-{i}-of-{N_PARTS}.parquet" for i in numbers]
        output = self.output().with_suffix(".parquet")
        self.run("merge", *shuffled, "-o", output)
        return bytes_of(output)

    def after_a_shuffled_journal(self, command):
        """As if cases had been done in another order before an interrupt."""
        good = self.files.map(4).read_bytes()
        self.files.map(4).write_bytes(good[:-9])
        output = self.output().with_suffix(".parquet")
        assert self.cli(*command, "-o", output).code == 1
        self.files.map(4).write_bytes(good)
        journal = output.with_name(output.name + ".partial.jsonl")
        head, *lines = journal.read_text().splitlines(keepends=True)
        random.Random(3).shuffle(lines)
        journal.write_text("".join([head, *lines]))
        self.run(*command, "-o", output, "--resume")
        return bytes_of(output)


@pytest.fixture
def flow(files, cli):
    return Flow(files, cli)


def test_parts_workers_and_another_order_give_the_same_bytes(flow):
    commands = flow.prepare()
    for name, command in commands.items():
        here = flow.made(command)
        assert here
        if name != "apply":  # the other folder goes the same way
            assert flow.made(command, "--workers=2") == here, name
        assert flow.in_parts(command) == here, name
    assert flow.after_a_shuffled_journal(commands["score"]) == flow.made(
        commands["score"]
    )


def spoil_missing(parts):
    shutil.rmtree(parts / "part-3-of-4")
    return "part-3-of-4 of 4 parts missing"


def spoil_mask(parts):
    next((parts / "part-2-of-4").glob("*.nii.gz")).write_bytes(b"")
    return "altered after it was written"


def spoil_record(parts):
    path = parts / "part-2-of-4" / "part.json"
    path.write_text(path.read_text().replace('"n_cases": 12', '"n_cases": 13'))
    return "altered after it was written"


def spoil_twice(parts):
    shutil.copytree(parts / "part-2-of-4", parts / "part-1-of-2")
    return "beside parts of another run"


@pytest.mark.parametrize(
    "spoil", [spoil_missing, spoil_mask, spoil_record, spoil_twice]
)
def test_parts_of_a_folder_that_are_not_whole_are_refused_by_name(
    flow, files, cli, spoil
):
    predict = flow.prepare()["predict"]
    parts = files.root / "parts"
    for i in range(1, N_PARTS + 1):
        flow.run(*predict, f"--shard={i}/{N_PARTS}", "-o", parts)
    assert cli("verify", parts).code == 0
    said = spoil(parts)
    result = cli(*predict, "--parts", parts, "-o", files.root / "masks")
    assert result.code == 1
    assert said in " ".join(result.err.split())
    assert not (files.root / "masks").exists()


def test_parts_of_another_calibration_are_refused(flow, files, cli):
    predict = list(flow.prepare()["predict"])
    parts, other = files.root / "parts", files.root / "c2.json"
    for i in range(1, N_PARTS + 1):
        flow.run(*predict, f"--shard={i}/{N_PARTS}", "-o", parts)
    scored = files.root / "s.parquet"
    flow.run("calibrate", scored, "--alpha=.5", "--tolerance=.1", "-o", other)
    predict[1] = other
    result = cli(*predict, "--parts", parts, "-o", files.root / "masks")
    assert result.code == 1
    assert "part-1-of-4: made with another calibration" in result.err


@pytest.mark.slow
@pytest.mark.dask
def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(flow, monkeypatch):
    distributed = pytest.importorskip("distributed")
    commands = flow.prepare()
    expected = {name: flow.made(command) for name, command in commands.items()}
    with (
        distributed.LocalCluster(
            n_workers=3, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        killed = []

        def kill_one_at_work():
            pids = client.run(os.getpid)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                for address in client.run_on_scheduler(at_work):
                    if address in pids:
                        os.kill(pids[address], signal.SIGKILL)
                        killed.append(address)
                        return
                time.sleep(0.005)

        for name, command in commands.items():
            client.wait_for_workers(3)
            killer = threading.Thread(target=kill_one_at_work)
            killer.start()
            made = flow.made(command, "--dask", cluster.scheduler_address)
            killer.join()
            assert made == expected[name], name
        assert len(killed) == len(commands)


def at_work(dask_scheduler):
    """Addresses of workers that have a task."""
    workers = dask_scheduler.workers.values()
    return [worker.address for worker in workers if worker.processing]


def worker_pids():
    """Processes that this one has spawned to work."""
    own = str(os.getpid())
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/stat") as file:  # noqa: PTH123
                    parent = file.read().rsplit(")", 1)[1].split()[1]
                with open(f"/proc/{entry.name}/cmdline") as file:  # noqa: PTH123
                    line = file.read()
            except OSError:
                continue
            if parent == own and "spawn_main" in line:
                yield int(entry.name)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("seed", range(5))
def test_workers_killed_at_random_points_cost_nothing_or_a_case_by_name(
    flow, files, cli, seed
):
    """Nothing lost, nothing counted twice: what is missing is named."""
    rng = random.Random(seed)
    command = flow.prepare()["score"]
    here = flow.made(command)
    stop = threading.Event()
    n_killed = 0

    def kill():
        nonlocal n_killed
        while not stop.wait(0.002) and n_killed < 5:
            pids = sorted(worker_pids())
            if pids and not (n_killed and stop.wait(rng.uniform(0, 0.8))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(pids), signal.SIGKILL)
                    n_killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    output = files.root / "killed.parquet"
    try:
        result = cli(*command, "--workers=2", "-o", output)
    finally:
        stop.set()
        killer.join()
    tried = 0
    while result.code and tried < 3:
        named = [line for line in result.errors if "case " in line]
        assert named or "workers ended" in result.err, result.err
        result = cli(*command, "--workers=2", "--resume", "-o", output)
        tried += 1
    assert n_killed
    assert bytes_of(output) == here
    assert json.dumps(sorted(files.names())).count("partial") == 0
