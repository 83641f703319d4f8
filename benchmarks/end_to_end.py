"""Scoring a cohort from files, against the published way and against mere inflating.

    python -m benchmarks.end_to_end [--size tiny|full] [--rounds 7] [--threads 2]

Full size: 64 cases of 64x128x128 dense float32 .nii.gz maps, five tolerances, lesions of
about 500, 5,000 and 50,000 voxels (each case within 10 %); about ten minutes on two
cores, nearly all of it the published algorithm. Also: the scoring step without
decoding, peak memory of one 512x512x300 case, start-up of `coverax --help`.

Sides, all on the same threads, warm, in process, in turns:
  published   nibabel, then Algorithm 1 of Tan et al. per tolerance: bisection of the cut
              on whole-volume masks to 1e-4 of the tolerance, at most 200 steps; the
              loss as its formula reads, `(mask & labels).sum() / labels.sum()`
  published*  the same with NumPy's fastest count (`count_nonzero`) in the loop
  inflate     isal alone, each file into memory that is reused (its fastest form)
  inflate*    isal alone, `igzip.decompress` of the file's bytes (its usual form)
  host        coverax, host engine: everything up to the finished score table, which
              holds critical probabilities (`score --bins 0 --no-grid`)
  host+       the same with what `score` keeps by default: bins and loss curves too
  device      coverax, device engine
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip
from tests import synthetic

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax import host
from coverax.scores import ScoreDefinition, score_cohort
from coverax.volumes import match_folders

TOLERANCES = (0.05, 0.1, 0.2, 0.3, 0.5)
DELTA, MAX_STEPS = 1e-4, 200
SIDES = ["published", "published*", "inflate", "inflate*", "host", "host+", "device"]
SIZES = {
    "tiny": (3, (16, 24, 24), (50, 500), (32, 32, 32)),
    "full": (64, (64, 128, 128), (500, 5_000, 50_000), (512, 512, 300)),
}


def published_cut(probs, labels, n_foreground, tolerance, count=np.sum):
    """Algorithm 1 as printed, capped as the published code caps it."""
    low, high = 0.0, 1.0
    for _ in range(MAX_STEPS):
        t = (low + high) / 2
        loss = 1 - count((probs >= 1 - t) & labels) / n_foreground
        if abs(loss - tolerance) <= DELTA:
            break
        low, high = (t, high) if loss > tolerance else (low, t)
    return 1 - t


def published_case(case, count=np.sum):
    probs = np.asanyarray(nib.load(case.probs).dataobj)
    labels = np.asanyarray(nib.load(case.labels).dataobj) > 0
    n_foreground = np.count_nonzero(labels)
    return [published_cut(probs, labels, n_foreground, t, count) for t in TOLERANCES]


def published_tuned_case(case):
    return published_case(case, np.count_nonzero)


def compare_answers(cohort, table):
    """Published cuts stop near the tolerance, or close in on the exact cut."""
    exact = np.stack([table.critical_probability(t) for t in TOLERANCES], axis=1)
    for case, row in zip(cohort.cases[:4], exact, strict=False):
        probs = np.asanyarray(nib.load(case.probs).dataobj)
        foreground = probs[np.asanyarray(nib.load(case.labels).dataobj) > 0]
        for cut, critical, tolerance in zip(
            published_case(case), row, TOLERANCES, strict=True
        ):
            near = abs(np.mean(foreground < cut) - tolerance) <= DELTA
            assert near or abs(cut - critical) < 1e-6, (case.case_id, cut, critical)
            assert np.mean(foreground < critical) <= tolerance


def inflate_reused(case, local=threading.local()):  # noqa: B008
    for path in (case.probs, case.labels):
        with path.open("rb") as stream:
            stream.seek(-4, 2)  # the gzip trailer holds the inflated size
            size = int.from_bytes(stream.read(4), "little")
        if getattr(local, "memory", np.empty(0)).size < size:
            local.memory = np.empty(size, np.uint8)
        with igzip.open(path, "rb") as stream:
            stream.readinto(memoryview(local.memory)[:size])
            stream.read(1)


def inflate_usual(case):
    for path in (case.probs, case.labels):
        igzip.decompress(path.read_bytes())


def on_threads(fn, cases, threads):
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(fn, cases))


def end_to_end(folder, n_cases, shape, n_voxels, rounds, threads):
    rng = np.random.default_rng(n_voxels)
    for i in range(n_cases):
        size = int(n_voxels * rng.uniform(0.9, 1.1))
        probs, labels = synthetic.case(shape, size, rng)
        synthetic.write_nifti(folder / "probs" / f"case_{i:03d}.nii.gz", probs)
        synthetic.write_nifti(folder / "labels" / f"case_{i:03d}.nii.gz", labels)
    cohort = match_folders(folder / "probs", folder / "labels")
    lean = ScoreDefinition(tolerances=TOLERANCES, n_bins=0, grid=False)
    full = ScoreDefinition(tolerances=TOLERANCES)

    def score(engine, definition=lean):
        return score_cohort(cohort, definition, engine=engine, threads=threads)

    table = score("host")
    assert table.rows_digest == score("device").rows_digest
    compare_answers(cohort, table)
    seconds = interleaved(
        {
            "inflate": lambda: on_threads(inflate_reused, cohort.cases, threads),
            "inflate*": lambda: on_threads(inflate_usual, cohort.cases, threads),
            "host": lambda: score("host"),
            "host+": lambda: score("host", full),
            "device": lambda: score("device"),
        },
        rounds,
    )
    slow = interleaved(
        {
            "published": lambda: on_threads(published_case, cohort.cases, threads),
            "published*": lambda: on_threads(
                published_tuned_case, cohort.cases, threads
            ),
            "host": lambda: score("host"),
        },
        max(3, rounds // 2),
    )
    ms = {k: 1e3 * statistics.median(v) / n_cases for k, v in (slow | seconds).items()}
    cells = [f"{ms[side]:.0f}" for side in SIDES[:2]]
    cells += [f"{ms[side]:.1f}" for side in SIDES[2:]]
    return [
        f"{n_voxels:,}",
        *cells,
        f"**{ratio(slow['published'], slow['host']):.1f}x**",
        f"{ratio(slow['published*'], slow['host']):.1f}x",
        f"**{ratio(seconds['host'], seconds['inflate']):.2f}**",
        f"{ratio(seconds['host'], seconds['inflate*']):.2f}",
        f"{ratio(seconds['host+'], seconds['inflate']):.2f}",
    ]


def scoring_alone(shape, n_voxels, rounds):
    """One case in memory, no decoding: exact order statistics against bisection."""
    probs, labels = synthetic.case(shape, n_voxels, np.random.default_rng(0))
    n_foreground = np.count_nonzero(labels)
    seconds = interleaved(
        {
            "published": lambda: [
                published_cut(probs, labels, n_foreground, t) for t in TOLERANCES
            ],
            "host": lambda: host.critical_probability(
                probs[None], labels[None], TOLERANCES
            ),
        },
        rounds,
    )
    ms = {name: 1e3 * statistics.median(values) for name, values in seconds.items()}
    return [
        f"{n_voxels:,}",
        f"{ms['published']:.1f}",
        f"{ms['host']:.3f}",
        f"**{ratio(seconds['published'], seconds['host']):.0f}x**",
    ]


def peak_of_score(folder, shape):
    """Peak resident memory of scoring one large case, in bytes, in a fresh process."""
    rng = np.random.default_rng(0)
    probs = rng.random(shape, dtype=np.float32)
    labels = np.zeros(shape, np.uint8)
    labels[: shape[0] // 4, : shape[1] // 4, : shape[2] // 4] = 1
    synthetic.write_nifti(folder / "probs" / "big.nii.gz", probs)
    synthetic.write_nifti(folder / "labels" / "big.nii.gz", labels)
    code = (
        "import sys; from benchmarks.common import peak_memory; "
        "from coverax.cli.app import run; "
        "code = run(['score', '--engine', 'host', *sys.argv[1:]]); "
        "print(peak_memory()); sys.exit(code)"
    )
    args = ["--probs", folder / "probs", "--labels", folder / "labels", "-o"]
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, args), str(folder / "s.parquet")],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(out.stdout.split()[-1]), probs.nbytes


def help_seconds(rounds):
    command = [sys.executable, "-m", "coverax", "--help"]
    runs = {"help": lambda: subprocess.run(command, capture_output=True, check=True)}
    return statistics.median(interleaved(runs, rounds)["help"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    n_cases, shape, lesions, big = SIZES[args.size]
    rows = []
    for n_voxels in lesions:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(
                end_to_end(
                    Path(folder), n_cases, shape, n_voxels, args.rounds, args.threads
                )
            )
    alone = [scoring_alone(shape, n_voxels, args.rounds) for n_voxels in lesions]
    with tempfile.TemporaryDirectory() as folder:
        peak, own = peak_of_score(Path(folder), big)
    text = "\n".join(
        [
            f"`python -m benchmarks.end_to_end --size {args.size}`, {date.today()}, "
            f"{machine()}",
            "",
            f"{n_cases} cases of {'x'.join(map(str, shape))} float32 .nii.gz, five "
            f"tolerances, {args.threads} threads, ms a case, medians of {args.rounds}; "
            "ratios are medians within rounds.",
            "",
            markdown(
                [
                    "lesion",
                    *SIDES,
                    "published / host",
                    "published* / host",
                    "host / inflate",
                    "host / inflate*",
                    "host+ / inflate",
                ],
                rows,
            ),
            "",
            "The scoring step alone, one case in memory, ms:",
            "",
            markdown(["lesion", "published", "host", "published / host"], alone),
            "",
            f"Peak memory of `coverax score` on one {'x'.join(map(str, big))} float32 case: "
            f"{peak / 1e6:.0f} MB, {peak / own:.2f} times the map's own {own / 1e6:.0f} MB "
            "(the interpreter and its libraries included).",
            "",
            f"`coverax --help`: {help_seconds(args.rounds):.2f} s.",
        ]
    )
    save("end_to_end" if args.size == "full" else "end_to_end_tiny", text)


if __name__ == "__main__":
    main()
