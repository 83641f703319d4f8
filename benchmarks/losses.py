"""Calibration losses, value and gradient, against PyTorch written from the formulas.

    python -m benchmarks.losses [--size tiny|quick|full] [--rounds 5]

Full size: 2 images x 16 classes x 0.5 M voxels, 20 bins; `quick` takes a quarter of the
voxels and leaves out the largest maps.
PyTorch (any CPU build; not a dependency of coverax) must be importable for the
comparison, and is left out where it is not. It runs on the CPU, like JAX on a machine
without an accelerator. The answers are compared before anything is timed.

Sides:
  coverax      value and gradient, jitted, map channels last, one-hot boolean targets
  scatter_add  PyTorch, channels first, a loop over batch and class: bin, scatter_add of
               count, probabilities and references (both neighbours for soft bins)
  research     the same loop as the research code writes it: bucketize and scatter_reduce
               of means for hard bins, tables of half-bin borders for soft ones

Then, of coverax alone: temporary memory, the cost of 100 bins over 10, the cost of a voxel
from 2**15 to 2**24 voxels (2 classes, 20 bins; all sizes within each round, small ones
repeated), and the other losses.
"""

import argparse
import importlib.util
import os
import statistics
import time
from datetime import date

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax import losses

SIZES = {
    "tiny": ((2, 4, 1 << 9), [1 << 8, 1 << 10], (1, 8, 8, 8, 3)),
    "quick": ((2, 16, 1 << 17), [1 << k for k in (15, 18, 21)], (1, 64, 64, 64, 3)),
    "full": ((2, 16, 1 << 19), [1 << k for k in (15, 18, 21, 24)], (1, 64, 64, 64, 3)),
}
N_BINS = 20
ACE = {"hard": losses.hard_l1_ace, "soft": losses.soft_l1_ace}


def make_maps(batch, classes, voxels, seed=0):
    """Softmax maps and one-hot references, channels last."""
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((batch, voxels, classes), dtype=np.float32)
    labels = rng.integers(0, classes, (batch, voxels))
    targets = labels[..., None] == np.arange(classes)
    probs = jax.nn.softmax(jnp.asarray(3 * logits + 2 * targets))
    return probs, jnp.asarray(targets)


def value_and_grad(loss, **options):
    """Compiled mean of a loss over batch and classes, and its gradient."""
    return jax.jit(jax.value_and_grad(lambda p, y: loss(p, y, **options).mean()))


def call(function, *arguments):
    """The call as a run to be timed, to its end."""
    return lambda: jax.block_until_ready(function(*arguments))


def torch_gap(mean_p, mean_y, used, present):
    gap = (mean_p - mean_y).abs()
    return gap[used].mean() * present


def torch_hard(torch, p, y, edges):
    k = torch.bucketize(p, edges[1:-1])
    zeros = torch.zeros(len(edges) - 1)
    count = zeros.scatter_add(0, k, torch.ones_like(p))
    sum_p, sum_y = zeros.scatter_add(0, k, p), zeros.scatter_add(0, k, y)
    used = count > 0
    safe = count.clamp(min=1)
    return torch_gap(sum_p / safe, sum_y / safe, used, (y.sum() > 0).float())


def torch_hard_research(torch, p, y, edges):
    k = torch.bucketize(p, edges[1:-1])
    zeros = torch.zeros(len(edges) - 1)
    count = zeros.scatter_add(0, k, torch.ones_like(p))
    mean_p = zeros.scatter_reduce(0, k, p, "mean", include_self=False)
    mean_y = zeros.scatter_reduce(0, k, y, "mean", include_self=False)
    return torch_gap(mean_p, mean_y, count > 0, (y.sum() > 0).float())


def torch_soft(torch, p, y, edges):
    n_bins = len(edges) - 1
    u = (p * n_bins - 0.5).clamp(0, n_bins - 1)
    left = u.detach().floor().long().clamp(max=n_bins - 2)
    t = u - left
    return torch_share(torch, p, y, (left, left + 1), (1 - t, t), n_bins)


def torch_soft_research(torch, p, y, edges):
    n_bins = len(edges) - 1
    half = torch.linspace(0, 1, 2 * n_bins + 1)
    k = torch.bucketize(p, half[1:-1])
    far = torch.tensor([1e4])
    centres = torch.cat((-far, half[1::2].repeat_interleave(2), far))
    below, above = p - centres[k], centres[k + 2] - p
    sides = ((k - 1).clamp(min=0) // 2, (k + 1).clamp(max=2 * n_bins - 1) // 2)
    shares = (above / (below + above), below / (below + above))
    return torch_share(torch, p, y, sides, shares, n_bins)


def torch_share(torch, p, y, sides, shares, n_bins):
    zeros = torch.zeros(n_bins)
    weight, sum_p, sum_y = (
        sum(zeros.scatter_add(0, k, w * x) for k, w in zip(sides, shares, strict=True))
        for x in (torch.ones_like(p), p, y)
    )
    used = weight >= 0.01
    safe = torch.where(used, weight, 1)
    return torch_gap(sum_p / safe, sum_y / safe, used, (y.sum() > 0).float())


def make_torch_side(form, probs, targets):
    """Value and gradient of a PyTorch form, batch and classes in a Python loop."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    first = [torch.tensor(np.moveaxis(np.asarray(x), -1, 1)) for x in (probs, targets)]
    p, y = first[0].contiguous(), first[1].float().contiguous()
    edges = torch.linspace(0, 1, N_BINS + 1)

    def run():
        leaf = p.detach().requires_grad_()
        terms = [
            form(torch, leaf[b, c], y[b, c], edges)
            for b in range(len(leaf))
            for c in range(leaf.shape[1])
        ]
        value = torch.stack(terms).mean()
        value.backward()
        return value.item(), leaf.grad

    return run


def compare(size, rounds):
    """Rows of the comparison, each after its answers agreed."""
    probs, targets = make_maps(*SIZES[size][0])
    forms = {
        "hard": {"scatter_add": torch_hard, "research": torch_hard_research},
        "soft": {"scatter_add": torch_soft, "research": torch_soft_research},
    }
    rows = []
    for name, sides in forms.items():
        ours = value_and_grad(ACE[name], n_bins=N_BINS)
        value, gradient = ours(probs, targets)
        runs = {"coverax": call(ours, probs, targets)}
        for side, form in sides.items():
            runs[side] = make_torch_side(form, probs, targets)
            check_agreement(name, side, (value, gradient), runs[side]())
        seconds = interleaved(runs, rounds)
        for side in runs:
            rows.append(
                [
                    f"{name} mL1-ACE",
                    side,
                    f"{statistics.median(seconds[side]):.3f}",
                    f"{ratio(seconds[side], seconds['coverax']):.1f}",
                ]
            )
    return rows


def check_agreement(name, side, ours, theirs):
    """Values to 1e-4 relative; gradients to 1e-3 of their norm.

    Their bins are sums over the whole image in float32, and a probability within a
    rounding of a border may lie in either bin.
    """
    value, gradient = float(ours[0]), np.moveaxis(np.asarray(ours[1]), -1, 1)
    if abs(value - theirs[0]) > 1e-4 * abs(value):
        raise RuntimeError(f"{name} {side}: {theirs[0]} where coverax has {value}")
    difference = np.linalg.norm(gradient - theirs[1].numpy())
    if difference > 1e-3 * np.linalg.norm(gradient):
        raise RuntimeError(f"{name} {side}: gradients differ by {difference}")


def by_bins(size, rounds):
    """Rows of coverax alone: temporary memory, and the cost of 100 bins over 10."""
    probs, targets = make_maps(*SIZES[size][0])
    rows, runs = [], {}
    for name, loss in ACE.items():
        compiled = value_and_grad(loss, n_bins=N_BINS).lower(probs, targets).compile()
        share = compiled.memory_analysis().temp_size_in_bytes / probs.nbytes
        rows.append([f"{name}: temporary memory / map", f"{share:.2f}"])
        for n in (10, 100):
            runs[name, n] = call(value_and_grad(loss, n_bins=n), probs, targets)
    seconds = interleaved(runs, rounds)
    for name in ACE:
        cost = ratio(seconds[name, 100], seconds[name, 10])
        rows.append([f"{name}: time of 100 bins / 10 bins", f"{cost:.2f}"])
    return rows


def by_voxels(size, rounds):
    """Rows of coverax alone: cost of a voxel and class, from small maps to large ones.

    In processor time of all threads, so that other work on the machine does not count.
    """
    clock = time.process_time
    if jax.default_backend() != "cpu":
        clock = time.perf_counter
    n_voxels, rows = SIZES[size][1], []
    maps = {n: make_maps(1, 2, n) for n in n_voxels}
    for name, loss in ACE.items():
        function = value_and_grad(loss, n_bins=N_BINS)
        times = {n: min(64, n_voxels[-1] // n) for n in n_voxels}
        runs = {n: repeated(call(function, *maps[n]), times[n]) for n in n_voxels}
        seconds = interleaved(runs, rounds, clock)
        each = {n: [s / (2 * n * times[n]) for s in seconds[n]] for n in n_voxels}
        for n, cost in each.items():
            per_voxel = f"{statistics.median(cost) * 1e9:.1f} ns"
            against = f"{ratio(cost, each[n_voxels[0]]):.2f}"
            rows.append([name, f"{n:,}", per_voxel, against])
    return rows


def repeated(run, times):
    """The run several times over, so that a small map is timed as well as a large one."""

    def several():
        for _ in range(times):
            run()

    return several


def others(size, rounds):
    """Rows of the other losses on one volume, value and gradient by the logits."""
    batch, *spatial, classes = SIZES[size][2]
    probs, targets = make_maps(batch, classes, int(np.prod(spatial)))
    logits = jnp.log(probs).reshape(batch, *spatial, classes)
    targets = targets.reshape(logits.shape)
    names = ["cross_entropy", "soft_dice", "focal", "svls", "mbls", "nacl", "sdc"]
    runs = {
        n: call(value_and_grad(losses.combine({n: 1.0})), logits, targets)
        for n in names
    }
    seconds = interleaved(runs, rounds)
    return [[n, f"{statistics.median(seconds[n]) * 1e3:.1f}"] for n in names]


def bandwidth(size, rounds):
    """Share of an accelerator's memory bandwidth; the least a pass can do is 13 bytes."""
    if jax.default_backend() == "cpu":
        return []
    probs, targets = make_maps(*SIZES[size][0])
    runs = {n: value_and_grad(f, n_bins=N_BINS) for n, f in ACE.items()}
    calls = {n: call(f, probs, targets) for n, f in runs.items()}
    copy = jax.jit(lambda x: x + 1)
    calls["copy"] = call(copy, probs)
    seconds = interleaved(calls, rounds)
    speed = 8 * probs.size / statistics.median(seconds["copy"])
    return [
        [
            f"{n}: share of the bandwidth of a copy",
            f"{13 * probs.size / statistics.median(seconds[n]) / speed:.2f}",
        ]
        for n in ACE
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, rounds = arguments.size, arguments.rounds
    batch, classes, voxels = SIZES[size][0]
    parts = [
        "# Calibration losses",
        f"`python -m benchmarks.losses --size {size} --rounds {rounds}`, {date.today()}",
        machine(),
    ]
    if importlib.util.find_spec("torch"):
        import torch

        parts.append(
            f"Value and gradient, {batch} images x {classes} classes x {voxels:,} voxels, "
            f"{N_BINS} bins; PyTorch {torch.__version__} on the CPU. Medians of {rounds} "
            "interleaved rounds; ratios within a round."
        )
        header = ["loss", "side", "seconds", "times coverax"]
        parts.append(markdown(header, compare(size, rounds)))
    rows = by_bins(size, rounds) + bandwidth(size, rounds)
    parts.append(markdown(["coverax alone, value and gradient", ""], rows))
    header = [
        "mL1-ACE",
        "voxels, 2 classes",
        "processor time a value",
        "over the smallest",
    ]
    parts.append(markdown(header, by_voxels(size, rounds)))
    shape = "x".join(map(str, SIZES[size][2]))
    parts.append(
        markdown([f"loss, {shape}, by the logits", "ms"], others(size, rounds))
    )
    text = "\n\n".join(parts)
    save("losses", text, whole=size == "full")


if __name__ == "__main__":
    main()
