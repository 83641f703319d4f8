"""What a clinic gets on 200 hippocampi: intervals of volumes, and masks to release.

    python -m benchmarks.clinic [--splits 500]

Half of the cases calibrate and half are new, in random splits. Needs ../shared/data; a
minute on two cores. Nothing is timed.
"""

import argparse
from datetime import date

import numpy as np

from benchmarks.common import machine, markdown, save
from benchmarks.sets import hippocampus
from coverax.calibrate import (
    Interval,
    Triage,
    change_bounds,
    change_score,
    conformal_rank,
    floor_scores,
    is_released,
    measured,
    release_limit,
    split_threshold,
)
from coverax.scores import read_bins, read_proper_scores, score_arrays

N_CASES, N_CALIBRATION = 200, 100
ALPHA = "0.1"
RULES = [
    ("cut=0.5", "mass", None),
    ("cut=0.5", "log", None),
    ("cut=0.5", "none", None),
    ("sum", "mass", None),
    ("cut=0.5", "mass", "at-least"),
    ("cut=0.5", "mass", "at-most"),
]


def scored():
    """The table of all cases, voxels of a cubic millimetre."""
    probs, labels, _ = (list(part) for part in zip(*hippocampus(N_CASES), strict=True))
    return score_arrays(probs, labels, [0.1], voxel_volume_ml=0.001, engine="host")


def widths(maps, interval, threshold):
    """Median width of intervals as a share of their estimates; of one side its reach."""
    found = []
    for columns in maps:
        bounds = interval.bounds(columns, 0.001, threshold)
        low = bounds.volume_ml if interval.one_sided == "at-most" else bounds.low_ml
        high = bounds.volume_ml if interval.one_sided == "at-least" else bounds.high_ml
        found.append((high - low) / bounds.volume_ml)
    return np.median(found)


def volumes(table, splits):
    """Coverage and width of every rule, and of voxels taken for independent."""
    true = table.column("n_foreground")
    voxel_ml = np.full(table.n_rows, 0.001)
    names = ("grid_predicted", "bin_count", "bin_sum_p")
    maps = [{n: table.column(n)[k : k + 1] for n in names} for k in range(N_CASES)]
    rows = []
    for rule in RULES:
        interval = Interval(*rule)
        scores = interval.scores(table.columns, true, voxel_ml)
        covered, width = [], []
        for order in splits:
            known, new = order[:N_CALIBRATION], order[N_CALIBRATION:]
            threshold = split_threshold(scores[known], ALPHA)
            covered.append((scores[new] <= threshold).mean())
            width.append(widths([maps[k] for k in new], interval, threshold))
        error = np.std(covered) / len(splits) ** 0.5
        name = " ".join(filter(None, rule))
        rows.append(
            [name, f"{np.mean(covered):.4f}", f"{error:.4f}", f"{np.median(width):.1%}"]
        )
    bins, proper = read_bins(table.columns), read_proper_scores(table.columns)
    mean = bins.sum_p.astype(float).sum(1)
    squares = proper.sum_squares.sum(1) + (2 * bins.sum_py - bins.sum_y).sum(1)
    half = 1.645 * np.sqrt(mean - squares)
    hit = np.abs(true - mean) <= half
    naive = f"{np.median(2 * half / mean):.1%}"
    rows.append(["sum p +- 1.645 sd", f"{hit.mean():.4f}", "-", naive])
    return rows


def triage(table, splits):
    """What goes out, and what that costs over all cases."""
    true, rows = table.column("n_foreground"), []
    for rule in (Triage(), Triage(bad_below="0.87"), Triage("fnr")):
        unsure = rule.uncertainty(table.columns)
        losses = rule.losses(table.columns, true)
        name = "Dice < 0.87" if rule.bad_below else {"dice": "1 - Dice"}.get(rule.loss)
        for alpha in ("0.05", "0.1"):
            share, realised = [], []
            for order in splits:
                known, new = order[:N_CALIBRATION], order[N_CALIBRATION:]
                limit = release_limit(unsure[known], losses[known], alpha)
                out = is_released(unsure[new], limit)
                share.append(out.mean())
                realised.append((losses[new] * out).mean())
            error = np.std(realised) / len(splits) ** 0.5
            rows.append(
                [
                    name or "FNR",
                    alpha,
                    f"{np.mean(share):.0%}",
                    f"{np.mean(realised):.4f}",
                    f"{error:.4f}",
                    f"{losses.mean():.4f}",
                ]
            )
    return rows


def floors(table, splits):
    """Floors of Dice: how often they hold, and how high they are."""
    rule, rows = Triage(), []
    unsure = rule.uncertainty(table.columns)
    true = table.column("n_foreground")
    dice = np.array([float(d) for d in rule.dice(table.columns, true)])
    scores = floor_scores(rule.losses(table.columns, true), unsure)
    for alpha in ("0.05", "0.1", "0.2"):
        held, high, median = [], [], []
        for order in splits:
            known, new = order[:N_CALIBRATION], order[N_CALIBRATION:]
            limit = split_threshold(scores[known], alpha)
            own = np.array([rule.floor(u, limit) for u in unsure[new]])
            held.append((dice[new] >= own).mean())
            high.append((own >= 0.87).mean())
            median.append(np.median(own))
        law = conformal_rank(N_CALIBRATION, alpha) / (N_CALIBRATION + 1)
        rows.append(
            [
                alpha,
                f"{np.mean(held):.4f}",
                f"{law:.4f}",
                f"{np.mean(median):.3f}",
                f"{np.mean(high):.0%}",
            ]
        )
    return rows


def changes(table, splits):
    """Coverage and width of changes between two cases each, which stand for visits."""
    voxel_ml = np.full(table.n_rows, 0.001)
    true, n_known, rows = (
        table.column("n_foreground") * voxel_ml,
        N_CALIBRATION // 2,
        [],
    )
    for rule in (("cut=0.5", "mass"), ("cut=0.5", "none"), ("sum", "mass")):
        interval = Interval(*rule)
        own = measured(interval, table.columns, voxel_ml)
        covered, width = [], []
        for order in splits:
            pairs = order.reshape(-1, 2).tolist()
            scores = np.array(
                [
                    change_score(interval, own[i], own[j], (true[i], true[j]))
                    for i, j in pairs
                ]
            )
            threshold = split_threshold(scores[:n_known], ALPHA)
            covered.append((scores[n_known:] <= threshold).mean())
            for i, j in pairs[n_known:]:
                found = change_bounds(interval, own[i], own[j], threshold)
                width.append((found.high_ml - found.low_ml) / own[i].volume_ml)
        error = np.std(covered) / len(splits) ** 0.5
        rows.append(
            [
                " ".join(rule),
                f"{np.mean(covered):.4f}",
                f"{error:.4f}",
                f"{np.median(width):.1%}",
            ]
        )
    return rows


def main():
    """Print the tables; keep those of the full number of splits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=500)
    n_splits = parser.parse_args().splits
    table, rng = scored(), np.random.default_rng(0)
    splits = [rng.permutation(N_CASES) for _ in range(n_splits)]
    # What is released or not is spread wider, and cheaper to count.
    more = [rng.permutation(N_CASES) for _ in range(8 * n_splits)]
    law = conformal_rank(N_CALIBRATION, ALPHA) / (N_CALIBRATION + 1)
    parts = [
        f"`python -m benchmarks.clinic --splits {n_splits}`, {date.today()}, {machine()}",
        f"{N_CASES} hippocampi, {N_CALIBRATION} calibrate, the others are new, "
        f"{n_splits} random splits, alpha {ALPHA}. Without ties the mean coverage is "
        f"{law:.4f}.",
        markdown(
            ["interval", "coverage", "standard error", "median width, of the estimate"],
            volumes(table, splits),
        ),
        f"What goes out, {8 * n_splits} random splits.",
        markdown(
            [
                "loss",
                "alpha",
                "released",
                "loss of the released, over all cases",
                "standard error",
                "if all went out",
            ],
            triage(table, more),
        ),
        markdown(
            [
                "alpha",
                "floors that hold",
                "law",
                "floor, median",
                "floor of .87 or more",
            ],
            floors(table, splits),
        ),
        f"Changes: each split pairs the cases at random, two different patients in place of "
        f"two visits of one; {N_CALIBRATION // 2} pairs calibrate, the others are new. Without "
        f"ties the mean coverage is {conformal_rank(N_CALIBRATION // 2, ALPHA) / (N_CALIBRATION // 2 + 1):.4f}.",
        markdown(
            [
                "change",
                "coverage",
                "standard error",
                "median width, of the first estimate",
            ],
            changes(table, splits),
        ),
    ]
    text = "\n\n".join(parts) + "\n"
    save("clinic", text, whole=n_splits >= 500)


if __name__ == "__main__":
    main()
