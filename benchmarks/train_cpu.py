"""Layers in the form that suits a CPU against the plain one; a step with either.

    python -m benchmarks.train_cpu [--size tiny|full] [--rounds 7]

  transposed  zeros between the voxels, or by phases (nets/conv.py)
  norm        over flattened voxels, or over the map as it lies (nets/norm.py)
  slope       learned below zero: of a product of maps, or of a sum (nets/strided_unet.py)
  slices      the same convolutions as the compiler has them, or on all cores (cpu.py)

Plain forms are compiled as the compiler has it, the others as nets are (`NetProgram`).
Answers and gradients are compared before anything is timed; forms take turns; compile
time is apart. The step is loss and gradients of made-up patches, no augmentation.
"""

import argparse
import contextlib
import statistics
from datetime import date
from functools import partial
from pathlib import Path
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax.train.config import parse_config
from coverax.train.cpu import NetProgram
from coverax.train.dry_run import made_up_batch
from coverax.train.model import build_model
from coverax.train.nets import conv
from coverax.train.nets.norm import GroupNorm
from coverax.train.nets.slices import convolve_packed, convolve_slices
from coverax.train.nets.strided_unet import Unit
from coverax.train.step import make_loss

# Voxels, channels in and out, kernel, step.
LAYERS = {
    "tiny": [((4,) * 3, 2, 2, 3, 2)],
    "full": [
        ((16,) * 3, 16, 3, 3, 2),
        ((8,) * 3, 48, 8, 3, 2),
        ((16,) * 3, 64, 16, 3, 2),
        ((8,) * 3, 8, 8, 5, 3),
        ((64,) * 2, 32, 16, 3, 2),
    ],
}
NARROW = [(3, 3), (4, 4)]  # channels in and out
WIDE = {"tiny": (4, 2), "full": (32, 16)}  # voxels a side, channels
PROGRAMS = {"plain": jax.jit, "fast": NetProgram}
MAPS = {
    "tiny": [((4,) * 3, 2)],
    "full": [((32,) * 3, 16), ((16,) * 3, 32), ((64,) * 2, 16)],
}
NETS = {
    "unet3d-strided": {"channels": [16, 32, 64], "strides": [2, 2]},
    "unet3d-small": {},
}
SIDE = {"tiny": 8, "full": 32}


def flattened_norm(norm, x):
    """Mean and variance over one axis of all voxels."""
    flat = x.astype(jnp.float32).reshape(x.shape[0], -1, norm.groups, 1)
    centred = flat - jnp.mean(flat, (1, 3), keepdims=True)
    variance = jnp.mean(jnp.square(centred), (1, 3), keepdims=True)
    y = (centred * jax.lax.rsqrt(variance + norm.epsilon)).reshape(x.shape)
    return y if norm.scale is None else y * norm.scale[...] + norm.bias[...]


def sloped(unit, x):
    """The slope times the map, of which the negative part is taken."""
    y = unit.norm(x)
    return jnp.where(y > 0, y, unit.slope[...] * y)


@contextlib.contextmanager
def plain_layers():
    """Nets with the plain forms."""
    with (
        patch.object(conv, "spread_phases", conv.spread_whole),
        patch.object(GroupNorm, "__call__", flattened_norm),
        patch.object(Unit, "__call__", sloped),
    ):
        yield


def timed(plain, fast, arguments, rounds):
    """Cells `plain / fast (gain)`, forward and with gradients, after both agreed."""
    forms = {"plain": plain, "fast": fast}
    cells = []
    for wrap in (lambda f: f, with_gradients):
        calls = {name: PROGRAMS[name](wrap(form)) for name, form in forms.items()}
        agree(calls["plain"](*arguments), calls["fast"](*arguments))
        cells.append(cell(calls, arguments, rounds))
    return cells


def cell(calls, arguments, rounds):
    """Median milliseconds of both, and the median gain within a round."""
    runs = {
        name: lambda call=call: jax.block_until_ready(call(*arguments))
        for name, call in calls.items()
    }
    seconds = interleaved(runs, rounds)
    slow, fast = (1e3 * statistics.median(seconds[n]) for n in ("plain", "fast"))
    gain = ratio(seconds["plain"], seconds["fast"])
    return f"{slow:.1f} / {fast:.1f} ({gain:.1f})"


def with_gradients(form):
    return jax.grad(lambda *a: jnp.sum(jnp.sin(form(*a))), argnums=(0, 1))


def agree(found, want):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        if float(jnp.abs(a - b).max()) > 1e-3 * max(1.0, float(jnp.abs(b).max())):
            raise RuntimeError("the forms differ")


def normals(*shape):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal(shape, np.float32))


def layer_rows(size, rounds):
    """A row a layer and shape."""
    rows = []
    for spatial, n_in, n_out, side, step in LAYERS[size]:
        n = len(spatial)
        arguments = normals(2, *spatial, n_in), normals(*(side,) * n, n_in, n_out)
        forms = [
            lambda x, k, form=form, n=n, step=step: form(x, k, (step,) * n)
            for form in (conv.spread_whole, conv.spread_phases)
        ]
        voxels = " x ".join(map(str, spatial))
        name = f"transposed, {side} voxels, step {step}: {voxels}, {n_in} to {n_out}"
        rows.append([name, *timed(*forms, arguments, rounds)])
    side, width = WIDE[size]
    arguments = normals(2, *(side,) * 3, width), normals(3, 3, 3, width, width)
    slices = partial(convolve_slices, stride=(1, 1, 1))
    name = f"slices on all cores: {side} x {side} x {side}, {width} to {width}"
    rows.append([name, *timed(slices, slices, arguments, rounds)])
    for n_in, n_out in NARROW:
        spatial = (SIDE[size],) * 3
        arguments = normals(2, *spatial, n_in), normals(3, 3, 3, n_in, n_out)
        forms = slices, convolve_packed
        voxels = " x ".join(map(str, spatial))
        name = f"3 x 3 x 3, few channels: {voxels}, {n_in} to {n_out}"
        rows.append([name, *timed(*forms, arguments, rounds)])
    for spatial, n_channels in MAPS[size]:
        x, slope = normals(2, *spatial, n_channels), jnp.float32(0.25)
        forms = [unit_of(norm, use) for norm, use in ((0, 0), (1, 1))]
        voxels = " x ".join(map(str, spatial))
        name = f"norm and slope: {voxels}, {n_channels}"
        rows.append([name, *timed(*forms, (x, slope), rounds)])
    return rows


def unit_of(is_direct, is_sum):
    """Norm and learned slope as a function of the map and the slope."""

    def unit(x, slope):
        axes = tuple(range(1, x.ndim - 1))
        if not is_direct:
            flat, axes = x.reshape(x.shape[0], -1, x.shape[-1], 1), (1, 3)
        else:
            flat = x
        centred = flat - jnp.mean(flat, axes, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axes, keepdims=True)
        y = (centred * jax.lax.rsqrt(variance + 1e-5)).reshape(x.shape)
        if is_sum:
            return jnp.where(y > 0, y, 0) + slope * jnp.where(y > 0, 0, y)
        return jnp.where(y > 0, y, slope * y)

    return unit


def step_row(name, sizes, side, rounds):
    """Forward pass, and loss with gradients, of a whole net."""
    raw = {
        "data": {"images": "i", "labels": "l"}
        | {"classes": {"background": 0, "anterior": 1, "posterior": 2}},
        "net": {"preset": name, "sizes": sizes},
        "patch": {"size": [side] * 3, "batch": 2},
    }
    config = parse_config(raw, Path())
    batch, calls = made_up_batch(config), {"forward": {}, "gradients": {}}
    params = build_model(config).start(0)
    for form, layers in (("plain", plain_layers), ("fast", contextlib.nullcontext)):
        with layers():
            model = build_model(config)
            loss = make_loss(model, config)
            program = PROGRAMS[form]
            forward = program(lambda p, b, m=model: m.apply(p, b["image"])[0])
            gradients = program(
                lambda p, b, loss=loss: jax.grad(loss, has_aux=True)(
                    p, b["image"], jnp.asarray(b["label"])
                )[0]
            )
            calls["forward"][form] = forward.lower(params, batch).compile()
            calls["gradients"][form] = gradients.lower(params, batch).compile()
    cells = []
    for pair in calls.values():
        agree(pair["plain"](params, batch), pair["fast"](params, batch))
        cells.append(cell(pair, (params, batch), rounds))
    return [f"{name}: 2 x {side}^3", *cells]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=LAYERS, default="full")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    size, rounds = arguments.size, arguments.rounds
    rows = layer_rows(size, rounds)
    rows += [step_row(n, s, SIDE[size], rounds) for n, s in NETS.items()]
    text = "\n\n".join(
        [
            "# Training on a CPU",
            f"`python -m benchmarks.train_cpu --size {size} --rounds {rounds}`, "
            f"{date.today()}",
            machine(),
            f"Milliseconds, plain form / form for CPUs (gain); medians of {rounds} "
            "interleaved rounds, gains within a round.",
            markdown(["what", "forward", "gradients"], rows),
        ]
    )
    save("train_cpu", text, whole=size == "full")


if __name__ == "__main__":
    main()
