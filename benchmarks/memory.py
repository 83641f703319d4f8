"""What scoring keeps in memory: growth of the process with the number of cases.

    python -m benchmarks.memory [--size tiny|full]

64 volumes of 16x16x12, each under many names; every run is a process of its own, and what
counts is the largest memory it ever had (Linux). The growth a case is the difference of
two numbers of cases over their difference, so that Python, JAX and buffers cancel.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

from tests.synthetic import write_cohort

from benchmarks.common import machine, markdown, peak_memory, save
from coverax.scores import ScoreDefinition, score_cohort
from coverax.stream import Journal
from coverax.volumes import Cohort, match_folders

SIZES = {"tiny": (64, 128), "full": (1024, 4096, 8192)}
N_FILES, SHAPE, N_LESION = 64, (16, 16, 12), 60
TABLES = {
    "default (20 bins, 1,024 cuts)": {},
    "the same, held in memory": {"held": True},
    "`--soft-bins 20` beside them": {"n_soft_bins": 20},
    "`--no-grid`": {"grid": False},
    "`--bins 0 --no-grid`": {"grid": False, "n_bins": 0},
}


def score(root: Path, n_cases: int, options: dict) -> None:
    """Score files under so many names as the command does, and say the peak in kB.

    With `held` the table is in memory, as from Python where no output is named.
    """
    held = options.pop("held", False)
    files = match_folders(root / "probs", root / "labels").cases
    cases = [
        replace(file, case_id=f"{file.case_id}_{k}", unit=f"{file.unit}_{k}")
        for k in range(n_cases // len(files))
        for file in files
    ]
    definition = ScoreDefinition(allow_duplicates=True, **options)
    journal = Journal(root / "s.parquet", definition.to_json(), resume=False)
    cohort = Cohort(tuple(cases), {})
    output = root / "s.parquet"
    table = score_cohort(
        cohort,
        definition,
        engine="host",
        threads=1,
        journal=journal,
        beside=None if held else output,
    )
    table.write(output)
    journal.close(keep=False)
    kept = sum(column.nbytes for column in table.columns.values())
    peak = peak_memory() / 1024
    size = (root / "s.parquet").stat().st_size
    print(json.dumps({"peak": peak, "table": kept, "file": size}))


def measured(root: Path, n_cases: int, options: dict) -> dict[str, float]:
    """Peak, table and file of a run in a process of its own."""
    asked = json.dumps([str(root), n_cases, options])
    command = [sys.executable, "-m", "benchmarks.memory", "--one", asked]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure every kind of table, or one run of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--one", type=json.loads)
    options = parser.parse_args()
    if options.one:
        root, n_cases, asked = options.one
        score(Path(root), n_cases, asked)
        return
    counts, rows = SIZES[options.size], []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_cohort(root, N_FILES, SHAPE, N_LESION)
        for name, asked in TABLES.items():
            found = [measured(root, n, asked) for n in counts]
            steps = [
                (b["peak"] - a["peak"]) / (m - n)
                for a, b, n, m in zip(
                    found, found[1:], counts, counts[1:], strict=False
                )
            ]
            last = found[-1]
            rows.append(
                [
                    name,
                    *[f"{entry['peak'] / 1024:.0f}" for entry in found],
                    *[f"{step:.1f}" for step in steps],
                    f"{last['table'] / counts[-1] / 1024:.1f}",
                    f"{last['file'] / counts[-1] / 1024:.1f}",
                ]
            )
    heads = [f"peak at {n:,} cases, MB" for n in counts]
    spans = [f"kB a case, {n:,} to {m:,}" for n, m in pairwise(counts)]
    head = ["table", *heads, *spans, "table, kB a case", "file, kB a case"]
    command = f"python -m benchmarks.memory --size {options.size}"
    where = f"`{command}`, {date.today()}, {machine()}"
    name = "memory" if options.size == "full" else "memory_tiny"
    save(name, f"# Memory of scoring\n\n{where}\n\n{markdown(head, rows)}")


if __name__ == "__main__":
    main()
