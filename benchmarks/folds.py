"""`predict` from five folds against only reading the five maps.

    python -m benchmarks.folds [--size tiny|full] [--rounds 5] [--threads 2]

Full size: 16 cases of 64x128x128, a float32 `.nii.gz` a fold, half a minute a round on
two cores. Files are in the cache of the system. Memory is of a process of its own with
one thread: what a large case takes beyond a small one, in maps of it as float32.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import numpy as np
from tests.synthetic import write_nifti

import coverax as cx
from benchmarks.common import interleaved, machine, markdown, peak_memory, ratio, save
from benchmarks.formats import smooth_softmax
from coverax.volumes import Buffer, read_probs

SIZES = {"tiny": (2, (12, 16, 10)), "full": (16, (64, 128, 128))}
N_FOLDS, N_EACH = 5, 40
SMALL = (12, 14, 12)  # of the volumes that calibrate
LARGE = {"tiny": (48, 64, 64), "full": (192, 256, 256)}  # whose memory is measured


def under(fold, probs, rng):
    """The map of another model of the same case."""
    odds = np.log(probs / (1 - probs)) * (1 - 0.05 * fold) - 0.1 * fold
    return (1 / (1 + np.exp(-odds - rng.normal(0, 0.1, odds.shape)))).astype(np.float32)


def calibrations():
    """Sets and votes from the same folds."""
    rng = np.random.default_rng(0)
    n = N_FOLDS * N_EACH
    probs = [smooth_softmax(SMALL, rng)[1] for _ in range(n)]
    labels = [p + rng.normal(0, 0.1, p.shape) > 0.5 for p in probs]
    transforms = ["inner=identity", "outer=identity"]
    folds = [i % N_FOLDS for i in range(n)]
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], folds=folds, transforms=transforms
    )
    return {
        "sets": cx.calibrate.calibrate_fold_sets(table, "0.2"),
        "crc, majority": cx.calibrate.calibrate_fold_crc(table, "0.2"),
    }


def make(root, n_cases, shape):
    """Maps of every fold: case id to file, one mapping a fold."""
    rng = np.random.default_rng(1)
    maps = [{} for _ in range(N_FOLDS)]
    for i in range(n_cases):
        probs = np.clip(smooth_softmax(shape, rng)[1], 1e-6, 1 - 1e-6)
        for fold, own in enumerate(maps):
            path = root / str(fold) / f"c{i:02}.nii.gz"
            own[f"c{i:02}"] = write_nifti(path, under(fold, probs, rng))
    return maps


def read_all(maps, threads):
    def of_case(case):
        buffer = Buffer()
        for own in maps:
            read_probs(own[case], channels=[0], buffer=buffer)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(of_case, maps[0]))


def predict(calibration, maps, root, threads):
    with tempfile.TemporaryDirectory(dir=root) as folder:
        out = Path(folder) / "masks"
        options = {"threads": threads, "allow_vacuous": True}
        cx.predict.predict_folds(calibration, maps, out, **options)


def grown(root, method):
    """Bytes that the large case takes beyond a small one."""
    calibration, peaks = calibrations()[method], []
    for size in ("small", "large"):
        folders = [root / size / str(fold) for fold in range(N_FOLDS)]
        predict(calibration, [{"c00": f / "c00.nii.gz"} for f in folders], root, 1)
        peaks.append(peak_memory())
    print(json.dumps(peaks[1] - peaks[0]))


def maps_held(root, method, shape):
    """Maps of the large case that a process of its own holds at a time."""
    asked = json.dumps([str(root), method])
    command = [sys.executable, "-m", "benchmarks.folds", "--one", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]) / (4 * np.prod(shape))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        grown(Path(args.one[0]), args.one[1])
        return
    n_cases, shape = SIZES[args.size]
    load, known = os.getloadavg()[0], calibrations()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        maps = make(root, n_cases, shape)
        runs = {"read": lambda: read_all(maps, args.threads)}
        for name, calibration in known.items():
            runs[name] = lambda c=calibration: predict(c, maps, root, args.threads)
        seconds = interleaved(runs, args.rounds)
        make(root / "small", 1, SMALL)
        make(root / "large", 1, LARGE[args.size])
        held = {name: maps_held(root, name, LARGE[args.size]) for name in known}
    ms = {k: 1e3 * statistics.median(v) / n_cases for k, v in seconds.items()}
    rows = [
        [
            name,
            f"{ms[name]:.1f}",
            f"{ratio(seconds[name], seconds['read']):.2f}",
            f"{held[name]:.1f}" if name in held else "",
        ]
        for name in runs
    ]
    head = (
        f"`python -m benchmarks.folds --size {args.size}`, {date.today()}, {machine()}; "
        f"load before it {load:.1f}. {n_cases} cases of {'x'.join(map(str, shape))}, "
        f"{N_FOLDS} folds, {args.threads} threads, medians of {args.rounds} rounds. "
        f"Memory: one case of {'x'.join(map(str, LARGE[args.size]))}, one thread."
    )
    table = markdown(
        ["", "ms a case", "to reading the five maps", "memory, in maps"], rows
    )
    save("folds" if args.size == "full" else "folds_tiny", f"{head}\n\n{table}")


if __name__ == "__main__":
    main()
