"""First parameters judged: PyTorch's scheme by layer, He's, and He's with small outputs.

    python -m benchmarks.train_start DATA [--steps 200] [--seeds 2] [--net NAME] [--start NAME]

DATA holds `images/` and `labels/` of the hippocampus task. Every run of a preset and seed
sees the same patches in the same order: 60 cases, 2 patches of 32^3 a step, Dice plus
cross-entropy, AdamW .003, the default warm-up and cosine, no validation. Dice and ACE are
of 24 other cases, whole, means over both parts. One run after the other.
"""

import argparse
import time
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import jax
import numpy as np

from benchmarks.common import machine, markdown, save
from coverax.train import find_cases, make_predict, parse_config, predict_volume
from coverax.train.augment import augment
from coverax.train.cases import prepare_case
from coverax.train.data import train_batches
from coverax.train.model import build_model
from coverax.train.step import device_mesh, make_step, shared_batch, start_state
from coverax.train.validation import validate

CLASSES = {"background": 0, "anterior": 1, "posterior": 2}
# Narrow nets: the comparison is of starts, and 2 cores are shared.
NETS = {
    "unet3d-strided": {"channels": [8, 16, 32], "strides": [2, 2]},
    "unet3d-small": {"channels": [8, 16, 32]},
    "segresnet": {"channels": 8, "blocks_down": [1, 1, 1], "blocks_up": [1, 1]},
}
# The layers that give logits, and the transposed convolutions, by their place.
OUTPUTS = {
    "unet3d-strided": ("decoder.0.residual",),
    "unet3d-small": ("heads",),
    "segresnet": ("head",),
}
N_TRAIN, N_OTHER = {"tiny": 4, "full": 60}, {"tiny": 2, "full": 24}


def he(params, seed, preset, output_share):
    """The same shapes by He's scheme, biases 0; the output layers' kernels smaller."""
    rng = np.random.default_rng([seed, 5])

    def start(path, value):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if "kernel" not in name:
            is_conv = "conv" in name or "up" in name or "head" in name
            return np.zeros_like(value) if "bias" in name and is_conv else value
        shape = value.shape
        fan = np.prod(shape[:-1])
        if ".up." in name:  # inputs that meet in a voxel of the output
            fan = fan / 8
        is_output = any(part in name for part in OUTPUTS[preset])
        scale = (2 / fan) ** 0.5 * (output_share if is_output else 1)
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(start, jax.device_get(params))


def by_inputs(params, _seed, _preset):
    """PyTorch's, but transposed kernels by the inputs that meet in a voxel."""

    def start(path, value):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if "up.kernel" not in name:
            return value
        n_in, n_out = value.shape[-2:]
        return value * (8 * n_out / n_in) ** 0.5  # all steps here are 2

    return jax.tree_util.tree_map_with_path(start, params)


STARTS = {
    "PyTorch's": lambda params, _seed, _preset: params,
    "PyTorch's, transposed by inputs": by_inputs,
    "He's": partial(he, output_share=1.0),
    "He's, outputs over the root of 6": partial(he, output_share=6**-0.5),
}


def config_of(folder, preset, sizes, steps, seed):
    raw = {
        "data": {"images": "images", "labels": "labels", "classes": CLASSES}
        | {"allow_missing": True},
        "net": {"preset": preset, "sizes": sizes},
        "patch": {"size": [32] * 3, "batch": 2},
        "optimiser": {"learning_rate": 0.003},
        "run": {"steps": steps, "seed": seed, "validate_every": 0},
    }
    return parse_config(raw, folder)


def run(config, start, train, other):
    """Losses of all steps, and the measures of the other cases."""
    preset, seed = config.net.preset, config.run.seed
    model = build_model(config)
    drawn = model.start
    model = model._replace(start=lambda s: start(drawn(s), s, preset))
    mesh = device_mesh(config.patch.batch)
    step = make_step(model, config, mesh, augment)
    state = start_state(model, config, mesh)
    batches = iter(train_batches(train, config.patch, seed).to_iter_dataset())
    losses = []
    for _ in range(config.run.steps):
        state, metrics = step(state, shared_batch(next(batches), mesh))
        losses.append(float(metrics["loss"]))
    predict = partial(make_predict(model), state.params)

    def volumes(case):
        size = config.patch.size
        return predict_volume(predict, case.image, size, len(CLASSES), batch=2)

    return losses, validate(volumes, other, list(CLASSES))


def row(name, seed, losses, found):
    middle = len(losses) // 4
    return [
        name,
        f"{seed}",
        f"{losses[0]:.2f}",
        f"{np.mean(losses[max(0, middle - 5) : middle + 5]):.3f}",
        f"{np.mean(losses[-20:]):.3f}",
        f"{found['dice_anterior']:.3f} / {found['dice_posterior']:.3f}",
        f"{found['ace']:.3f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--start", choices=STARTS, action="append")
    parser.add_argument("--net", choices=NETS, action="append")
    parser.add_argument("--size", choices=N_TRAIN, default="full")
    arguments = parser.parse_args()
    size, steps = arguments.size, arguments.steps
    first = config_of(arguments.data, "unet3d-small", {}, steps, 0)
    files = list(find_cases(first.data).values())[: N_TRAIN[size] + N_OTHER[size]]
    cases = [prepare_case(*pair, replace(first.data, cache=None)) for pair in files]
    train, other = cases[: N_TRAIN[size]], cases[N_TRAIN[size] :]
    rows = []
    for preset in arguments.net or NETS:
        for seed in range(arguments.seeds):
            for name in arguments.start or STARTS:
                began = time.perf_counter()
                config = config_of(arguments.data, preset, NETS[preset], steps, seed)
                found = run(config, STARTS[name], train, other)
                rows.append([preset, *row(name, seed, *found)])
                seconds = time.perf_counter() - began
                print(" | ".join(rows[-1]), f"({seconds:.0f} s)", flush=True)
    header = ["net", "start", "seed", "loss 0", f"step {steps // 4}", "last 20"]
    text = "\n\n".join(
        [
            "# First parameters",
            f"`python -m benchmarks.train_start DATA --steps {steps} "
            f"--seeds {arguments.seeds}`, {date.today()}",
            machine(),
            markdown([*header, "Dice anterior / posterior", "ACE"], rows),
        ]
    )
    save(
        "train_start",
        text,
        whole=size == "full" and not (arguments.start or arguments.net),
    )


if __name__ == "__main__":
    main()
