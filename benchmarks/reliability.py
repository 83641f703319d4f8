"""Calibration statistics against MONAI and torchmetrics, and a cohort against inflate.

    python -m benchmarks.reliability [--size tiny|full] [--rounds 5]

Full size: one map of 64x128x128 with 3 classes in memory (20 bins), 40 million voxels
for exactness, and 64 cases of that shape as files (8 different ones); three minutes on
two cores. MONAI 1.6.1 and torchmetrics 1.9 (with any PyTorch; none is a dependency of
coverax) must be importable for the comparison and are left out where they are not. The
answers are compared before anything is timed; on an accelerator the device rows use it.
"""

import argparse
import importlib.util
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tests.synthetic import write_nifti

from benchmarks.common import interleaved, machine, markdown, ratio, save
from benchmarks.end_to_end import inflate_reused, on_threads
from coverax import host, kernels
from coverax.reliability import calibration_errors, summarise
from coverax.scores import ScoreDefinition, score_cohort
from coverax.stream import default_threads, map_cases
from coverax.volumes import Case, Cohort, Region, read_labels, read_probs

N_BINS = 20
SIZES = {
    "tiny": ((8, 16, 16), 1 << 18, 4),
    "full": ((64, 128, 128), 40_000_000, 64),
}


def softmax_case(shape, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((3, *shape), dtype=np.float32)
    z[0] += 3
    e = np.exp(z)
    p = e / e.sum(0)
    draw = rng.random((1, *shape), dtype=np.float32)
    labels = (draw > p.cumsum(0)).sum(0).clip(0, 2)
    return p.astype(np.float32), labels.astype(np.uint8)


def has(*names):
    return all(importlib.util.find_spec(name) for name in names)


def monai_run(probs, masks):
    import torch
    from monai.metrics import calibration_binning

    y_pred = torch.from_numpy(probs[None].copy())
    y = torch.from_numpy(masks[None].astype(np.float32))
    return lambda: calibration_binning(y_pred, y, num_bins=N_BINS, right=True)


def torchmetrics_run(probs, masks):
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    pairs = [
        (torch.from_numpy(p.ravel().copy()), torch.from_numpy(m.ravel().astype(int)))
        for p, m in zip(probs, masks, strict=True)
    ]
    return lambda: [
        float(binary_calibration_error(p, y, n_bins=N_BINS, norm="l1"))
        for p, y in pairs
    ]


def in_memory(shape, rounds):
    probs, labels = softmax_case(shape, 0)
    masks = np.stack([labels == c for c in range(3)])
    flat = probs.reshape(3, -1), masks.reshape(3, -1)
    on_device = tuple(jnp.asarray(x) for x in flat)
    runs = {
        "coverax host": lambda: host.bin_statistics(*flat, N_BINS),
        "coverax device": lambda: jax.block_until_ready(
            kernels.bin_statistics(*on_device, N_BINS)
        ),
        "coverax host, soft bins": lambda: host.soft_bin_statistics(*flat, N_BINS),
        "coverax device, soft bins": lambda: jax.block_until_ready(
            kernels.soft_bin_statistics(*on_device, N_BINS)
        ),
    }
    ours = runs["coverax host"]()
    for a, b in zip(ours, runs["coverax device"](), strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))
    ece = calibration_errors(ours).ece
    if has("torch", "monai"):
        runs["MONAI"] = monai_run(probs, masks)
        mean_p, mean_y, count = (np.asarray(x)[0] for x in runs["MONAI"]())
        gap = np.nan_to_num(np.abs(mean_p - mean_y))
        theirs = (gap * count).sum(1) / count.sum(1)
        np.testing.assert_allclose(theirs, ece, rtol=1e-3, atol=1e-5)
    if has("torch", "torchmetrics"):
        runs["torchmetrics"] = torchmetrics_run(probs, masks)
        np.testing.assert_allclose(runs["torchmetrics"](), ece, rtol=1e-3, atol=1e-5)
    table = [
        [name, f"{wall * 1e3:.1f}", times, f"{cpu * 1e3:.1f}", cpu_times]
        for name, wall, times, cpu, cpu_times in timed(runs, rounds, "coverax host")
    ]
    jitted = jax.jit(kernels.bin_statistics, static_argnums=2)
    program = jitted.lower(*on_device, N_BINS).compile()
    temporary = program.memory_analysis().temp_size_in_bytes / flat[0].nbytes
    return (
        markdown(
            ["bins of 3 classes", "ms", "times the host's", "CPU ms", "times"], table
        )
        + f"\n\nTemporary memory of the device program: {temporary:.1f} times the map; "
        "of the host: blocks of 65,536 voxels and a copy of the rarer outcome."
    )


def exactness(n_voxels):
    """ECE of one long map whose voxels nearly all fall into one bin."""
    rng = np.random.default_rng(1)
    p = np.full(n_voxels, 0.01, np.float32)
    p[: n_voxels // 1000] = 0.7
    y = rng.random(n_voxels) < 0.04
    sums = [(p[n_voxels // 1000 :], y[n_voxels // 1000 :])]
    sums.append((p[: n_voxels // 1000], y[: n_voxels // 1000]))
    true = (
        sum(abs(a.sum(dtype=np.float64) - b.sum(dtype=np.int64)) for a, b in sums)
        / n_voxels
    )
    rows = [["float64 on the definition", f"{true:.7f}"]]
    for name, ops in (("coverax host", host), ("coverax device", kernels)):
        found = calibration_errors(ops.bin_statistics(p[None], y[None], N_BINS)).ece[0]
        np.testing.assert_allclose(found, true, rtol=1e-6)
        rows.append([name, f"{found:.7f}"])
    if has("torch", "monai"):
        import torch
        from monai.metrics import calibration_binning

        binned = calibration_binning(
            torch.from_numpy(p)[None, None],
            torch.from_numpy(y.astype(np.float32))[None, None],
            num_bins=N_BINS,
            right=True,
        )
        mean_p, mean_y, count = (np.asarray(x, np.float64)[0, 0] for x in binned)
        gap = np.nan_to_num(np.abs(mean_p - mean_y))
        rows.append(["MONAI", f"{(gap * count).sum() / count.sum():.7f}"])
    if has("torch", "torchmetrics"):
        import torch
        from torchmetrics.functional.classification import binary_calibration_error

        found = binary_calibration_error(
            torch.from_numpy(p), torch.from_numpy(y.astype(int)), n_bins=N_BINS
        )
        rows.append(["torchmetrics", f"{float(found):.7f}"])
    return markdown([f"ECE, {n_voxels / 1e6:.1f} M voxels", "value"], rows)


def cohort_run(shape, n_cases, rounds):
    regions = (Region("a", (1,), (1,)), Region("b", (2,), (2,)))
    definition = ScoreDefinition(regions=regions, softmax=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cases = []
        for i in range(min(n_cases, 8)):
            p, y = softmax_case(shape, i)
            write_nifti(root / f"p{i}.nii.gz", np.moveaxis(p, 0, -1))
            write_nifti(root / f"y{i}.nii.gz", y)
        for i in range(n_cases):
            files = root / f"p{i % 8}.nii.gz", root / f"y{i % 8}.nii.gz"
            cases.append(Case(f"c{i}", *files, unit=f"c{i}"))
        cohort = Cohort(tuple(cases), {})

        def read():
            def read_case(case):
                read_probs(case.probs, channels=(0, 1, 2))
                read_labels(case.labels)

            for outcome in map_cases(read_case, cases):
                assert outcome.error is None

        def reliability():
            summarise(score_cohort(cohort, definition, engine="host"))

        runs = {
            "inflate only": lambda: on_threads(
                inflate_reused, cases, default_threads()
            ),
            "read the files only": read,
            "reliability": reliability,
        }
        rows = [
            [name, f"{wall:.2f}", times, f"{cpu:.2f}", cpu_times]
            for name, wall, times, cpu, cpu_times in timed(runs, rounds, "inflate only")
        ]
    header = [f"{n_cases} cases, 3 classes", "s", "times inflating", "CPU s", "times"]
    return markdown(header, rows)


def timed(runs, rounds, base):
    """Of each run seconds and processor seconds of all threads, and their ratios."""
    wall = interleaved(runs, rounds)
    cpu = interleaved(runs, rounds, time.process_time)
    for name in runs:
        yield (
            name,
            statistics.median(wall[name]),
            f"{ratio(wall[name], wall[base]):.2f}",
            statistics.median(cpu[name]),
            f"{ratio(cpu[name], cpu[base]):.2f}",
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    shape, n_voxels, n_cases = SIZES[args.size]
    parts = [
        "# Calibration statistics",
        f"{date.today()}, {machine()}; `python -m benchmarks.reliability --size "
        f"{args.size} --rounds {args.rounds}`.",
        in_memory(shape, args.rounds),
        exactness(n_voxels),
        cohort_run(shape, n_cases, args.rounds),
    ]
    name = "reliability" if args.size == "full" else "reliability_tiny"
    save(name, "\n\n".join(parts))


if __name__ == "__main__":
    main()
