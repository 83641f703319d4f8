"""Many cases: workers beside threads, joining parts, going on after all was done.

    python -m benchmarks.throughput [--size tiny|full] [--rounds 5] [--dask]

Full size: 64 cases of 64x128x128 float32 `.nii.gz`; 1,000 parts of 100 cases; 4,096 cases
of 16x16x12. Some minutes on two cores that have nothing else to do, and 1 GB of disk. The
files are in the cache of the system. Workers are timed with the start of their processes,
and without it as the difference of two runs of which one has twice the cases.

With `--dask` a Dask cluster beside workers, and that alone: 500 cases of 128x192x192, which
are 16 files under many names; four minutes. Both have two processes of one thread. The
cluster stands before the clock starts; connecting to it counts, as does the start of workers.
"""

import argparse
import itertools
import os
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

import numpy as np
from tests.synthetic import write_cohort

from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax.scores import (
    ScoreDefinition,
    merge_parts,
    resolve_engine,
    score_cohort,
    score_part,
)
from coverax.stream import Journal, Shard, Where
from coverax.table.part import ScoredCase
from coverax.volumes import Case, Cohort, match_folders

SIZES = {"tiny": (4, (12, 16, 10), 10, 48), "full": (64, (64, 128, 128), 1000, 4096)}
# Cases for Dask, files of them, and their shape: a second of work is some 15 cases.
DASK_SIZES = {"tiny": (6, 2, (12, 16, 10)), "full": (500, 16, (128, 192, 192))}
PLACES = {
    "1 thread": (1, Where()),
    "2 threads": (2, Where()),
    "1 worker": (1, Where(workers=1)),
    "2 workers": (1, Where(workers=2)),
}


def under_names(cohort, n_cases):
    """The cases over and over under further names: each is read, and computed, anew."""
    files = itertools.islice(itertools.cycle(cohort.cases), n_cases)
    named = [
        replace(case, case_id=f"{case.case_id}_{i}", unit=f"{case.unit}_{i}")
        for i, case in enumerate(files)
    ]
    return Cohort(tuple(named), {})


def workers_table(root, n_cases, shape, rounds):
    """Milliseconds a case in each place, and what two workers gain over one."""
    cohort = match_folders(*write_cohort(root / "volumes", n_cases, shape, 500))
    definition = ScoreDefinition(allow_duplicates=True)
    twice = under_names(cohort, 2 * n_cases)

    def run(cases, place):
        threads, where = place
        return lambda: score_cohort(
            cases, definition, engine="host", threads=threads, where=where
        )

    runs = {name: run(cohort, place) for name, place in PLACES.items()}
    runs |= {f"{name}, twice": run(twice, place) for name, place in PLACES.items()}
    seconds = interleaved(runs, rounds)
    rows, steady = [], {}
    for name in PLACES:
        whole = seconds[name]
        more = [b - a for a, b in zip(whole, seconds[f"{name}, twice"], strict=True)]
        steady[name] = more
        each = [1000 * statistics.median(times) / n_cases for times in (whole, more)]
        start = statistics.median(a - b for a, b in zip(whole, more, strict=True))
        rows.append([name, *[f"{x:.1f}" for x in each], f"{max(start, 0):.2f}"])
    gain = statistics.median(
        a / b for a, b in zip(steady["1 worker"], steady["2 workers"], strict=True)
    )
    head = ["place", "ms a case", "ms a case, started", "start, s"]
    return markdown(head, rows), gain


def dask_text(size, rounds):
    """A Dask cluster beside workers, in words; None where the extra is missing."""
    try:
        from distributed import LocalCluster
    except ModuleNotFoundError:
        return None
    n_cases, n_files, shape = DASK_SIZES[size]
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(**options, processes=True) as cluster,
    ):
        files = write_cohort(Path(folder) / "volumes", n_files, shape, 500)
        cohort = under_names(match_folders(*files), n_cases)
        definition = ScoreDefinition(allow_duplicates=True)
        digests = set()

        def run(where):
            table = score_cohort(
                cohort, definition, engine="host", threads=1, where=where
            )
            digests.add(table.rows_digest)

        places = {
            "2 workers": Where(workers=2),
            "a Dask cluster of 2 workers": Where(dask=cluster.scheduler_address),
        }
        runs = {name: partial(run, where) for name, where in places.items()}
        seconds = interleaved(runs, rounds)
    assert len(digests) == 1, "the places do not score alike"
    plain, over = seconds.values()
    each = 2 * statistics.median(over) / n_cases
    rows = [[name, f"{statistics.median(s):.1f}"] for name, s in seconds.items()]
    return (
        f"{n_cases} cases of {'x'.join(map(str, shape))} float32 .nii.gz, default table, "
        f"medians of {rounds}; a case takes {1000 * each:.0f} ms of a worker, and a task "
        "has as many cases as take a second and a half, at most 64. Dask takes "
        f"**{ratio(over, plain):.2f}** times as long as workers.\n\n"
        f"{markdown(['place', 's'], rows)}"
    )


def write_parts(folder, n_parts, n_each, grid):
    """Parts of a cohort that was never there: rows of one case under many names."""
    files = write_cohort(folder / "few", n_each, (16, 16, 12), 40)
    definition = ScoreDefinition(grid=grid)
    base = score_part(match_folders(*files), definition, Shard(1, 1), engine="host")
    rng = np.random.default_rng(0)
    for index in range(1, n_parts + 1):
        numbers = list(Shard(index, n_parts).numbers(n_parts * n_each))
        ids = np.array([f"case_{n:07d}" for n in numbers], object)
        columns = dict(base.columns) | {"case_id": ids, "unit": ids}
        columns["map_fingerprint"] = np.array(numbers, np.uint64) + 1
        for name in ("grid_predicted", "grid_true_positive"):
            if name in columns:
                columns[name] = columns[name] + rng.integers(0, 99, (n_each, 1))
        cases = [
            ScoredCase(n, str(i), old.fold, old.kind, old.notes, 1)
            for n, i, old in zip(numbers, ids, base.cases, strict=True)
        ]
        replace(
            base,
            shard=(index, n_parts),
            n_cases=n_parts * n_each,
            columns=columns,
            cases=tuple(cases),
        ).write(folder / "parts" / f"part-{index}-of-{n_parts}.parquet")
    return sorted((folder / "parts").iterdir())


def merge_seconds(root, n_parts, grid):
    """Seconds to join parts and write the table, and its size."""
    paths = write_parts(root / f"merge{grid}", n_parts, 100, grid)
    started = time.perf_counter()
    output = root / "merged.parquet"
    merge_parts(paths, beside=output).write(output)
    seconds = time.perf_counter() - started
    shutil.rmtree(root / f"merge{grid}")
    return seconds, output.stat().st_size


def resume_seconds(root, n_cases):
    """Seconds of a run all of whose cases are in its journal."""
    probs, labels = write_cohort(root / "small", 64, (16, 16, 12), 40)
    for i in range(64, n_cases):
        for folder in (probs, labels):
            os.link(folder / f"case_{i % 64:03d}.nii.gz", folder / f"copy_{i}.nii.gz")
    stems = sorted(path.name for path in probs.iterdir())
    cases = tuple(Case(s, probs / s, labels / s, unit=s) for s in stems)
    definition = ScoreDefinition(allow_duplicates=True)
    meaning = definition.with_engine(resolve_engine("host").name).to_json()
    output = root / "resumed.parquet"
    seconds = []
    for resume in (False, True):
        journal = Journal(output, meaning, resume=resume)
        started = time.perf_counter()
        table = score_cohort(
            Cohort(cases, {}), definition, engine="host", journal=journal
        )
        table.write(output)
        seconds.append(time.perf_counter() - started)
        journal.close(keep=not resume)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dask", action="store_true", help="a Dask cluster alone")
    args = parser.parse_args()
    if args.dask:
        head = f"`python -m benchmarks.throughput --dask --size {args.size}`"
        load = os.getloadavg()[0]
        text = dask_text(args.size, args.rounds)
        if text is None:
            print("not measured: Dask is missing (pip install 'coverax[dask]')")
            return
        text = (
            f"{head}, {date.today()}, {machine()}; load before it {load:.1f}\n\n{text}"
        )
        save("throughput_dask", text, whole=args.size == "full")
        return
    n_cases, shape, n_parts, n_resumed = SIZES[args.size]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        table, gain = workers_table(root, n_cases, shape, args.rounds)
        merged = {grid: merge_seconds(root, n_parts, grid) for grid in (True, False)}
        first, again = resume_seconds(root, n_resumed)
    dims = "x".join(map(str, shape))
    rows = [
        [
            f"`merge` of {n_parts:,} parts of 100 cases, {name}",
            f"{merged[grid][0]:.1f}",
            f"{merged[grid][1] / 1e6:.0f} MB",
        ]
        for grid, name in ((True, "default table"), (False, "`--no-grid`"))
    ]
    rows += [
        [f"`score` of {n_resumed:,} cases of 16x16x12", f"{first:.1f}", ""],
        ["the same with `--resume`, all of them finished", f"{again:.1f}", ""],
    ]
    text = (
        f"`python -m benchmarks.throughput --size {args.size}`, {date.today()}, "
        f"{machine()}\n\n"
        f"{n_cases} cases of {dims} float32 .nii.gz, default table, medians of "
        f"{args.rounds}; two workers are **{gain:.2f}** times as fast as one once they "
        f"have started.\n\n{table}\n\n{markdown(['what', 's', 'file'], rows)}"
    )
    save("throughput" if args.size == "full" else "throughput_tiny", text)


if __name__ == "__main__":
    main()
