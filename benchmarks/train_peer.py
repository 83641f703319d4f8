"""Nets trained here and in PyTorch, side by side, of the same patches.

    python -m benchmarks.train_peer DATA [--steps 200] [--seeds 1] [--rounds 7]

Needs torch and monai beside coverax. DATA holds `images/` and `labels/` of the hippocampus
task. MONAI's UNet (16, 32, 64; two units) beside `unet3d-strided` of the same sizes, and
`unet3d-small` beside the same layers in PyTorch, see the same patches in the same order: 60
cases, 2 patches of 32^3 a step, no augmentation, Dice plus cross-entropy, AdamW .003 with
warm-up and cosine. Dice and ACE are of 24 other cases. Rows: PyTorch's; ours from PyTorch's
first weights; ours as it starts. Then time of a step and of one forward pass of 2 patches,
each side by itself, and memory of a step, each side in a process of its own (Linux).
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from datetime import date
from functools import partial
from itertools import islice
from pathlib import Path

import jax
import numpy as np
import optax

from benchmarks.common import (
    interleaved,
    machine,
    markdown,
    memory,
    peak_memory,
    save,
)
from benchmarks.train_start import CLASSES, N_OTHER, N_TRAIN, config_of, row
from coverax.losses import deep_supervision_weights
from coverax.train import find_cases, make_predict, predict_volume
from coverax.train.cases import prepare_case
from coverax.train.data import train_batches
from coverax.train.model import build_model
from coverax.train.optimiser import learning_rate
from coverax.train.step import device_mesh, make_step, shared_batch, start_state
from coverax.train.validation import validate

SIZES = {
    "unet3d-strided": {"channels": [16, 32, 64], "strides": [2, 2]},
    "unet3d-small": {},  # of the same channels
}
EDGES = {"tiny": (32,), "full": (32, 64)}  # of the patches whose memory is measured


class Ours:
    """The step of coverax, of a net as it starts or of another model."""

    def __init__(self, config, model=None):
        self.config = config
        model = build_model(config) if model is None else model
        self.mesh = device_mesh(config.patch.batch)
        self.step = make_step(model, config, self.mesh, lambda _k, x, y, _c: (x, y))
        self.state = start_state(model, config, self.mesh)
        self.apply = make_predict(model)

    def train(self, batch):
        """The loss of a step."""
        self.state, metrics = self.step(self.state, shared_batch(batch, self.mesh))
        return float(metrics["loss"])

    def predict(self, images):
        """Softmax of patches."""
        return np.asarray(self.apply(self.state.params, jax.numpy.asarray(images)))


class Theirs:
    """The same step in PyTorch: the losses written out."""

    def __init__(self, config):
        import torch

        from benchmarks.peer_nets import PEERS

        self.torch, self.config, self.done = torch, config, 0
        torch.manual_seed(config.run.seed)
        peer = PEERS[config.net.preset]
        self.net = peer.make(len(CLASSES))
        weights = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]
        decay = config.optimiser.weight_decay
        groups = [{"params": weights, "weight_decay": decay}]
        groups += [{"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=1.0)
        self.twin = peer.twin(config, self.net)

    def train(self, batch):
        """The loss of a step."""
        torch, config = self.torch, self.config
        images = torch.from_numpy(np.moveaxis(batch["image"], -1, 1).copy())
        labels = torch.from_numpy(batch["label"].astype(np.int64))
        rate = float(learning_rate(config.optimiser, config.run.steps, self.done))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        levels = self.net(images)
        shares = deep_supervision_weights(len(levels)).tolist()
        loss = sum(
            share * self.loss(logits, labels)
            for share, logits in zip(shares, levels, strict=True)
        )
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.optimiser.clip)
        self.optimiser.step()
        self.done += 1
        return float(loss.detach())

    def loss(self, logits, labels):
        """Dice plus cross-entropy of a level, on labels at its voxel centres."""
        torch = self.torch
        stride = labels.shape[1] // logits.shape[2]
        own = (slice(stride // 2, None, stride),) * 3
        labels = labels[(slice(None), *own)]
        probs = torch.softmax(logits, 1)
        ones = torch.nn.functional.one_hot(labels, len(CLASSES)).movedim(-1, 1)
        axes = (2, 3, 4)
        overlap = 2 * (probs * ones).sum(axes) + 1e-5
        dice = overlap / ((probs**2).sum(axes) + ones.sum(axes) + 1e-5)
        return torch.nn.functional.cross_entropy(logits, labels) + (1 - dice).mean()

    def predict(self, images):
        """Softmax of patches."""
        torch = self.torch
        with torch.no_grad():
            x = torch.from_numpy(np.moveaxis(np.asarray(images), -1, 1).copy())
            return np.moveaxis(torch.softmax(self.net(x)[0], 1).numpy(), 1, -1)


SIDES = {"PyTorch": Theirs, "coverax": Ours}


def run(side, config, batches, other):
    """Losses of all steps, and the measures of the other cases."""
    losses = [side.train(batch) for batch in islice(batches, config.run.steps)]

    def volumes(case):
        size = config.patch.size
        return predict_volume(side.predict, case.image, size, len(CLASSES), batch=2)

    return losses, validate(volumes, other, list(CLASSES))


def timing_rows(preset, sides, batch, rounds):
    """Milliseconds of a step and of a forward pass, and ours over theirs.

    Each side runs its rounds in a row: in turns, the threads of one library would keep
    the cores from the other. The least is what a free machine would take.
    """
    rows = []
    for what, call in (
        ("a step", lambda side: side.train(batch)),
        ("forward", lambda side: side.predict(batch["image"])),
    ):
        cells, least = [], []
        for name, side in sides.items():
            seconds = interleaved({name: partial(call, side)}, rounds)[name]
            least.append(1e3 * min(seconds))
            cells.append(f"{1e3 * statistics.median(seconds):.0f} ({least[-1]:.0f})")
        rows.append([preset, what, *cells, f"{least[1] / least[0]:.2f}"])
    return rows


def memory_of(preset, name, edge, folder):
    """MiB of a first and of a later step over the net at rest, libraries loaded."""
    config = config_of(folder, preset, SIZES[preset], 4, 0)
    config = replace(config, patch=replace(config.patch, size=(edge,) * 3))
    side = SIDES[name](config)
    learning_rate(config.optimiser, config.run.steps, 0)  # loads what PyTorch's borrows
    rng, shape = np.random.default_rng(0), (config.patch.batch, *(edge,) * 3)
    batch = {
        "image": rng.standard_normal((*shape, 1), np.float32),
        "label": rng.integers(0, len(CLASSES), shape, np.int32),
    }
    rest = memory("VmRSS")
    peaks = []
    for _ in range(2):
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        side.train(batch)
        peaks.append((peak_memory() - rest) / 2**20)
    return peaks


def memory_rows(preset, folder, size):
    """Memory of both sides, each in a process of its own, and ours over theirs."""
    rows = []
    for edge in EDGES[size]:
        found = []
        for name in SIDES:
            command = [sys.executable, "-m", "benchmarks.train_peer", str(folder)]
            command += ["--memory-of", preset, name, str(edge)]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True
            )
            found.append(json.loads(done.stdout.splitlines()[-1]))
        theirs, ours = found
        cells = [f"{later:.0f} ({first:.0f})" for first, later in found]
        rows.append([preset, f"2 x {edge}^3", *cells, f"{ours[1] / theirs[1]:.2f}"])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--size", choices=N_TRAIN, default="full")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        preset, name, edge = arguments.memory_of
        print(json.dumps(memory_of(preset, name, int(edge), arguments.data)))
        return
    size, steps = arguments.size, arguments.steps
    first = config_of(arguments.data, "unet3d-small", {}, steps, 0)
    files = list(find_cases(first.data).values())[: N_TRAIN[size] + N_OTHER[size]]
    cases = [prepare_case(*pair, first.data) for pair in files]
    train, other = cases[: N_TRAIN[size]], cases[N_TRAIN[size] :]
    batch = next(iter(train_batches(train, first.patch, 0).to_iter_dataset()))
    rows, times, peaks = [], [], []
    for preset, sizes in SIZES.items():
        for seed in range(arguments.seeds):
            config = config_of(arguments.data, preset, sizes, steps, seed)
            peer, ours = Theirs(config), Ours(config)
            named = {
                "PyTorch": peer,
                "coverax from the same weights": Ours(config, peer.twin),
                "coverax": ours,
            }
            for name, side in named.items():
                batches = train_batches(train, config.patch, seed).to_iter_dataset()
                found = run(side, config, iter(batches), other)
                rows.append([preset, *row(name, seed, *found)])
                print(" | ".join(rows[-1]), flush=True)
        sides = dict(zip(SIDES, (peer, ours), strict=True))
        times += timing_rows(preset, sides, batch, arguments.rounds)
        peaks += memory_rows(preset, arguments.data, size)
    import monai
    import torch

    header = ["net", "by", "seed", "loss 0", f"step {steps // 4}", "last 20"]
    text = "\n\n".join(
        [
            "# Beside PyTorch",
            f"`python -m benchmarks.train_peer DATA --steps {steps} "
            f"--seeds {arguments.seeds} --rounds {arguments.rounds}`, {date.today()}",
            f"{machine()}, torch {torch.__version__}, monai {monai.__version__}, "
            f"optax {optax.__version__}",
            markdown([*header, "Dice anterior / posterior", "ACE"], rows),
            markdown(
                ["net", "ms (least), 2 x 32^3", *SIDES, "ratio of the least"],
                times,
            ),
            "Memory of a later step (and of the first, with what compiles it) over the "
            "net at rest.",
            markdown(["net", "MiB", *SIDES, "ratio of a later step"], peaks),
        ]
    )
    save("train_peer", text, whole=size == "full")


if __name__ == "__main__":
    main()
