"""The preset `nnunet-like` beside `unet3d-small` with the defaults, for equal minutes.

    python -m benchmarks.train_nnunet [DATA] [--minutes 6] [--size full] [--runs NAME ...]
                                      [--kept FOLDER]

DATA holds `images/` and `labels/` of the hippocampus task; without it, balls in noise, which
say that it runs and no more. 60 cases train, 40 others are predicted whole. Each net has a
process of its own: its steps are the minutes over the median of the steps that were tried
after compiling, its memory is the largest resident set by the end of training and by the
end of prediction. The preset at half its channels has a quarter of the arithmetic, counted
(GFLOP) of the step as it is traced, before the compiler. With --kept a net that is done
stays done: start again to go on.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import machine, markdown, peak_memory, save
from coverax.train import find_cases, make_predict, parse_config, predict_volume
from coverax.train.augment import augment
from coverax.train.cases import Prepared, prepare_case
from coverax.train.data import train_batches
from coverax.train.model import Model, build_model
from coverax.train.step import (
    TrainState,
    device_mesh,
    make_step,
    shared_batch,
    start_state,
)
from coverax.train.validation import validate

CLASSES = {"background": 0, "anterior": 1, "posterior": 2}
N_TRAIN, N_OTHER = {"tiny": 3, "full": 60}, {"tiny": 2, "full": 40}
N_TRIED = 5
HALF = "nnunet-like, half the channels"
RUNS = {
    "nnunet-like": {"preset": "nnunet-like"},
    HALF: {
        "preset": "nnunet-like",
        "net": {"sizes": {"channels": [16, 32, 64, 128]}},
    },
    "unet3d-small": {"optimiser": {"learning_rate": 0.003}},
}
TINY = {
    "nnunet-like": {
        "net": {"sizes": {"channels": [4, 6, 8, 8]}},
        "patch": {"size": [16, 16, 16]},
    },
    HALF: {
        "net": {"sizes": {"channels": [2, 3, 4, 4]}},
        "patch": {"size": [16, 16, 16]},
    },
    "unet3d-small": {
        "net": {"sizes": {"channels": [4, 6, 8]}},
        "patch": {"size": [16, 16, 16]},
    },
}


def config_of(name, size, folder, steps):
    data = {"images": "images", "labels": "labels", "classes": CLASSES}
    raw = {"data": data | {"allow_missing": True}} | RUNS[name]
    raw["run"] = {"steps": steps, "validate_every": 0}
    return parse_config(raw | (TINY[name] if size == "tiny" else {}), folder)


def cases_of(config, size, has_files):
    """Cases to train on, then others."""
    count = N_TRAIN[size] + N_OTHER[size]
    if has_files:
        files = list(find_cases(config.data).values())[:count]
        cases = [prepare_case(*pair, config.data) for pair in files]
    else:
        cases = [ball(number) for number in range(count)]
    return cases[: N_TRAIN[size]], cases[N_TRAIN[size] :]


def ball(number):
    """A ball in a shell in noise."""
    grid = np.stack(np.meshgrid(*[np.arange(18) - 8.5] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.where(radius < 3, 1, np.where(radius < 6, 2, 0)).astype(np.int32)
    noise = np.random.default_rng(number).standard_normal(labels.shape)
    image = np.array([-1.0, 1.5, 0.3])[labels] + 0.3 * noise
    image = image.astype(np.float32)[..., None]
    return Prepared(f"ball{number}", image, labels, None, (1.0, 1.0, 1.0))


def run(name, size, folder, minutes):
    """Train for the minutes, predict the others; a row of the table as plain values."""
    config = config_of(name, size, folder or ".", 10**6)
    train, other = cases_of(config, size, folder)
    steps = N_TRIED
    if size == "full":
        seconds = statistics.median(timed(config, train, N_TRIED).seconds[1:])
        steps = max(20, round(60 * minutes / seconds))
    config = config_of(name, size, folder or ".", steps)
    done = timed(config, train, steps)
    memory = [peak_memory() / 2**30]
    apply = make_predict(done.model)

    def predict(patches):
        return np.asarray(apply(done.state.params, jnp.asarray(patches)))

    def volumes(case):
        return predict_volume(predict, case.image, config.patch.size, 3, batch=2)

    found = validate(volumes, other, list(CLASSES))
    leaves = jax.tree.leaves(done.state.params)
    return {
        "name": name,
        "parameters": sum(leaf.size for leaf in leaves),
        "patches": f"{config.patch.batch} x {' x '.join(map(str, config.patch.size))}",
        "steps": steps,
        "minutes": sum(done.seconds) / 60,
        "step": statistics.median(done.seconds[1:]),
        "gflop": done.gflop,
        "loss": float(np.mean(done.losses[-20:])),
        "memory": [*memory, peak_memory() / 2**30],
        **{k: found[k] for k in ("dice_anterior", "dice_posterior", "ace")},
    }


class Timed(NamedTuple):
    """Seconds and loss of each step, its arithmetic, the model and its last state."""

    seconds: list[float]
    losses: list[float]
    gflop: float
    model: Model
    state: TrainState


def timed(config, train, steps):
    """Train for some steps."""
    model, mesh = build_model(config), device_mesh(config.patch.batch)
    step = make_step(model, config, mesh, augment)
    state = start_state(model, config, mesh)
    batches = iter(train_batches(train, config.patch, 0).to_iter_dataset())
    first = shared_batch(next(batches), mesh)
    gflop = step.lower(state, first).cost_analysis()["flops"] / 1e9
    batches = iter(train_batches(train, config.patch, 0).to_iter_dataset())
    times, losses = [], []
    for _ in range(steps):
        began = time.perf_counter()
        state, metrics = step(state, shared_batch(next(batches), mesh))
        losses.append(float(metrics["loss"]))
        times.append(time.perf_counter() - began)
    return Timed(times, losses, gflop, model, state)


def cells(found):
    return [
        found["name"],
        f"{found['parameters']:,}",
        found["patches"],
        f"{found['steps']}",
        f"{found['minutes']:.1f}",
        f"{1e3 * found['step']:.0f}",
        f"{found['gflop']:.3g} ({found['gflop'] / found['step']:.2g})",
        f"{found['loss']:.3f}",
        f"{found['dice_anterior']:.3f} / {found['dice_posterior']:.3f}",
        f"{found['ace']:.3f}",
        " / ".join(f"{peak:.2f}" for peak in found["memory"]),
    ]


def row_of(name, kept):
    """What `run` finds in a process of its own; of an earlier call if it is kept."""
    file = kept / f"{name}.json" if kept else None
    if file and file.exists():
        return json.loads(file.read_text())
    command = [sys.executable, "-m", "benchmarks.train_nnunet", *sys.argv[1:]]
    command += ["--only", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = done.stdout.splitlines()[-1]
    if file:
        kept.mkdir(parents=True, exist_ok=True)
        file.write_text(row)
    return json.loads(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--size", choices=N_TRAIN, default="full")
    parser.add_argument("--kept", type=Path, help="folder of rows that are done")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--only", choices=RUNS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.only:
        found = run(asked.only, asked.size, asked.data, asked.minutes)
        print(json.dumps(found, default=float))
        return
    rows = []
    for name in asked.runs:
        rows.append(cells(row_of(name, asked.kept)))
        print(" | ".join(rows[-1]), flush=True)
    header = ["run", "parameters", "patches a step", "steps", "minutes", "ms a step"]
    header += [
        "GFLOP a step (a second)",
        "loss, last 20",
        "Dice anterior / posterior",
        "ACE",
    ]
    words = ["--minutes", f"{asked.minutes:g}"]
    if asked.runs != list(RUNS):
        words += ["--runs", *asked.runs]
    text = "\n\n".join(
        [
            "# The preset nnunet-like",
            f"`python -m benchmarks.train_nnunet DATA {shlex.join(words)}`, {date.today()}",
            machine(),
            markdown([*header, "GiB: training / with prediction"], rows),
        ]
    )
    save("train_nnunet", text, whole=asked.size == "full" and asked.data)


if __name__ == "__main__":
    main()
