"""Validation over all splits, random splits, and bounds: seconds from the table.

    python -m benchmarks.validate [--size tiny|full]

Full size: 2,000 cases, 9 levels x 5 tolerances x 9 calibration shares with FNR and
predicted share over all splits; 10,000 random splits at 9 levels; each bound at 1,000
thresholds x 2,000 cases; a minute on two cores. All splits are first compared with
random ones. The published procedure re-reads every volume and bisects every case for
each of 100 splits: its time is one reading and bisection of a case, times cases, times
splits, for one level and tolerance.
"""

import argparse
import time
from datetime import date

import numpy as np
from tests import synthetic

from benchmarks.common import machine, markdown, save
from coverax.calibrate import bounds
from coverax.validate import all_splits, make_pool, random_splits, splits_of

ALPHAS = [f"0.{k}" for k in range(1, 10)]
SIZES = {
    "tiny": (40, 200, 50, (16, 24, 24)),
    "full": (2000, 10_000, 1000, (64, 128, 128)),
}
TOLERANCES = 5


def seconds(fn, repeats=3):
    """Best of a few runs, and the last answer."""
    best, answer = np.inf, None
    for _ in range(repeats):
        start = time.perf_counter()
        answer = fn()
        best = min(best, time.perf_counter() - start)
    return best, answer


def make_table(n, rng):
    """Scores, and two metrics at every threshold, one set a tolerance."""
    tables = []
    for _ in range(TOLERANCES):
        scores = rng.standard_normal(n)
        fnr = 1 / (1 + np.exp(2 * (scores[None, :] - rng.standard_normal(n)[:, None])))
        tables.append((scores, {"fnr": fnr, "pc": 0.1 * (1 - fnr)}))
    return tables


def validate_all(tables):
    out = []
    for scores, metrics in tables:
        pool = make_pool(scores, metrics)
        for share in range(1, 10):
            n = max(1, share * scores.size // 10)
            out += [splits_of(pool, n, alpha) for alpha in ALPHAS]
    return out


def published_case(shape, folder, rng):
    """Read one volume and bisect its threshold, as published, in 14 steps."""
    from coverax.volumes import read_labels, read_probs

    probs, mask = synthetic.case(shape, shape[0] * 20, rng)
    map_path = synthetic.write_nifti(folder / "p.nii.gz", probs)
    mask_path = synthetic.write_nifti(folder / "y.nii.gz", mask)

    def procedure():
        values = read_probs(map_path, channels=(0,)).probs[0]
        truth = read_labels(mask_path)[0].astype(bool)
        low, high = 0.0, 1.0
        for _ in range(14):
            cut = (low + high) / 2
            missed = np.count_nonzero(truth & (values < cut)) / np.count_nonzero(truth)
            low, high = (cut, high) if missed <= 0.1 else (low, cut)
        return low

    return seconds(procedure)[0]


def main():
    import tempfile
    from pathlib import Path

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    size = parser.parse_args().size
    n, n_splits, n_lams, shape = SIZES[size]
    rng = np.random.default_rng(0)
    tables = make_table(n, rng)
    scores = tables[0][0]
    some = random_splits(scores, n // 2, ["0.1"], n_splits=2000, seed=1)
    exact = all_splits(scores, n // 2, "0.1")
    error = abs(some.mean() - exact.coverage_mean)
    assert error < 6 * np.sqrt(exact.coverage_variance / 2000)
    rows: list[list[str]] = []
    whole, answers = seconds(lambda: validate_all(tables))
    rows.append(
        [f"all splits, {len(answers)} settings, 2 metrics", f"{n:,}", f"{whole:.3f}"]
    )
    drawn, _ = seconds(
        lambda: random_splits(scores, n // 2, ALPHAS, n_splits=n_splits, seed=0)
    )
    rows.append([f"{n_splits:,} random splits, 9 levels", f"{n:,}", f"{drawn:.3f}"])
    losses = np.sort(rng.random((n, n_lams)), axis=1)[:, ::-1] ** 3
    for name, fn in bounds.BOUNDS.items():
        table = np.round(losses) if name == "clopper_pearson" else losses
        took, _ = seconds(lambda fn=fn, table=table: fn(table, 0.05), repeats=1)
        rows.append([f"bound {name}, {n_lams:,} thresholds", f"{n:,}", f"{took:.3f}"])
    with tempfile.TemporaryDirectory() as folder:
        each = published_case(shape, Path(folder), rng)
    published = each * n * 100
    one = whole / len(answers)
    rows.append(
        [
            f"published: 100 splits, 1 setting, scaled from {each * 1e3:.1f} ms a case",
            f"{n:,}",
            f"{published:.0f}",
        ]
    )
    rows.append(
        [
            "ratio of published to all splits, a setting",
            f"{n:,}",
            f"{published / one:,.0f}",
        ]
    )
    table = markdown(["what", "cases", "seconds"], rows)
    text = f"{machine()}, {date.today()}, size {size}\n\n{table}\n"
    save("validate", text, whole=size == "full")


if __name__ == "__main__":
    main()
