"""Steps of training: the presets, and which convolution a CPU should use.

    python -m benchmarks.train [--size tiny|full] [--rounds 5] [--part conv|presets]

Convolution, value alone and with both gradients, 3 x 3 x 3 kernels, one jitted call each;
the answers are compared before anything is timed, compile time is apart:
  whole     the compiler's 3-D convolution
  slices    one 2-D convolution of slices with their neighbours as channels (nets/slices.py)
  products  27 matrix products of shifted copies, added up
  stacked   9 shifted copies stacked as channels, 3 matrix products

Presets, one optimiser step on made-up patches with augmentation (train/dry_run.py):
parameters, memory, seconds to compile, steps and voxels a second.
"""

import argparse
import itertools
import statistics
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax.train.augment import augment
from coverax.train.config import parse_config
from coverax.train.dry_run import dry_run
from coverax.train.model import build_model
from coverax.train.nets import PRESETS
from coverax.train.nets.conv import convolve_whole
from coverax.train.nets.slices import convolve_slices

ONE = (1, 1, 1)
# Voxels a side, channels in, channels out.
SHAPES = {
    "tiny": [(8, 1, 4), (8, 4, 4)],
    "full": [
        (16, 1, 16),
        (16, 16, 16),
        (16, 32, 32),
        (16, 64, 64),
        (32, 1, 16),
        (32, 4, 16),
        (32, 16, 16),
        (32, 32, 32),
        (32, 32, 3),
        (64, 1, 16),
        (64, 16, 16),
        (8, 64, 64),
    ],
}
PATCH = {"tiny": 16, "full": 32}


def shifted(x):
    """The 27 shifted copies of a map, by shift along x."""
    *_, rows, columns, layers, _ = x.shape
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    return [
        [
            x[:, i : i + rows, j : j + columns, k : k + layers]
            for j, k in itertools.product(range(3), repeat=2)
        ]
        for i in range(3)
    ]


def products(x, kernel):
    taps = kernel.reshape(27, *kernel.shape[3:])
    copies = [copy for plane in shifted(x) for copy in plane]
    return sum(copy @ tap for copy, tap in zip(copies, taps, strict=True))


def stacked(x, kernel):
    rows = kernel.reshape(3, -1, kernel.shape[-1])
    planes = [jnp.concatenate(plane, axis=-1) for plane in shifted(x)]
    return sum(plane @ row for plane, row in zip(planes, rows, strict=True))


FORMS = {
    "whole": lambda x, kernel: convolve_whole(x, kernel, ONE),
    "slices": lambda x, kernel: convolve_slices(x, kernel, ONE),
    "products": products,
    "stacked": stacked,
}


def with_gradients(form):
    """Gradients by map and kernel of the sum of the output times a slope."""
    return jax.grad(lambda x, k, slope: jnp.sum(form(x, k) * slope), argnums=(0, 1))


def convolution_row(side, n_in, n_out, rounds):
    """Milliseconds of each form on one shape, after all agreed."""
    rng = np.random.default_rng(0)
    batch = 2 if side < 64 else 1
    x, slope = (
        jnp.asarray(rng.standard_normal((batch, *(side,) * 3, n), np.float32))
        for n in (n_in, n_out)
    )
    kernel = jnp.asarray(rng.standard_normal((3, 3, 3, n_in, n_out), np.float32))
    forward = {name: jax.jit(form) for name, form in FORMS.items()}
    both = {name: jax.jit(with_gradients(form)) for name, form in FORMS.items()}
    check(forward, both, (x, kernel, slope))
    runs = {}
    for name in FORMS:
        runs[name, 0] = call(forward[name], x, kernel)
        runs[name, 1] = call(both[name], x, kernel, slope)
    seconds = interleaved(runs, rounds)
    cells = [
        " / ".join(f"{1e3 * statistics.median(seconds[name, k]):.1f}" for k in (0, 1))
        for name in FORMS
    ]
    gains = [ratio(seconds["whole", k], seconds["slices", k]) for k in (0, 1)]
    shape = f"{batch} x {side}^3, {n_in} to {n_out}"
    return [shape, *cells, " / ".join(f"{gain:.1f}" for gain in gains)]


def check(forward, both, arguments):
    """All forms give the same map and gradients, to float32 sums of normals."""
    want = forward["whole"](*arguments[:2]), *both["whole"](*arguments)
    for name in FORMS:
        found = forward[name](*arguments[:2]), *both[name](*arguments)
        for a, b in zip(found, want, strict=True):
            if float(jnp.abs(a - b).max()) > 1e-4 * float(jnp.abs(b).max()):
                raise RuntimeError(f"{name} differs from whole")


def call(function, *arguments):
    """The call as a run to be timed, to its end."""
    return lambda: jax.block_until_ready(function(*arguments))


def preset_row(name, side):
    """One step of a preset."""
    raw = {
        "data": {"images": "i", "labels": "l", "classes": {"background": 0, "a": 1}},
        "net": {"preset": name},
        "patch": {"size": [side] * 3, "batch": 2},
    }
    config = parse_config(raw, Path())
    found = dry_run(config, build_model(config), augment)
    return [
        name,
        f"{found.n_parameters:,}",
        f"{found.temporary_bytes / 2**20:,.0f}",
        f"{found.compile_seconds:.0f}",
        f"{1 / found.seconds_per_step:.2f}",
        f"{found.voxels_per_second:,.0f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SHAPES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", choices=("conv", "presets"))
    parser.add_argument("--preset", choices=sorted(PRESETS), action="append")
    arguments = parser.parse_args()
    size, rounds = arguments.size, arguments.rounds
    parts = [
        "# Training",
        f"`python -m benchmarks.train --size {size} --rounds {rounds}`, {date.today()}",
        machine(),
    ]
    if arguments.part != "presets":
        rows = []
        for shape in SHAPES[size]:
            rows.append(convolution_row(*shape, rounds))
            print(" | ".join(rows[-1]), flush=True)
        parts.append(
            f"3 x 3 x 3 convolution: milliseconds, forward / both gradients; medians of "
            f"{rounds} interleaved rounds, gain of slices over whole within a round."
        )
        parts.append(markdown(["map, channels", *FORMS, "gain"], rows))
    if arguments.part != "conv":
        side, rows = PATCH[size], []
        names = ["unet3d-small"] if size == "tiny" else list(PRESETS)
        for name in arguments.preset or names:
            rows.append(preset_row(name, side))
            print(" | ".join(rows[-1]), flush=True)
        parts.append(f"One step, 2 patches of {side}^3, one channel, two classes.")
        header = ["preset", "parameters", "MiB a step", "compile s"]
        parts.append(markdown([*header, "steps/s", "voxels/s"], rows))
    text = "\n\n".join(parts)
    save("train", text, whole=size == "full" and not arguments.part)


if __name__ == "__main__":
    main()
