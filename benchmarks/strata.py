"""Who is served less than others, and what bins of maps do for them: 200 hippocampi.

    python -m benchmarks.strata [--splits 500]

60 cases set the edges of the bins, 70 calibrate and 70 are new, in random splits. Needs
../shared/data; a minute on two cores. Nothing is timed.
"""

import argparse
from datetime import date

import numpy as np

from benchmarks.clinic import N_CASES, scored
from benchmarks.common import machine, markdown, save
from coverax.calibrate import learn_strata, split_threshold, stratified
from coverax.scores import N_CUTS

ALPHA, N_LEARNING, N_CALIBRATION = "0.1", 60, 70
RULES = [None, "predicted_volume:3", "uncertainty:3"]


def thresholds_of(table, scores, by, order):
    """Threshold of each new case: one for all, or that of its bin."""
    learning, known, new = np.split(order, [N_LEARNING, N_LEARNING + N_CALIBRATION])
    if by is None:
        return new, np.full(new.size, split_threshold(scores[known], ALPHA))
    strata = learn_strata(table.select(learning), by)
    groups = stratified(table, strata).column(strata.name)
    own = {
        group: split_threshold(scores[known][groups[known] == group], ALPHA)
        for group in set(groups.tolist())
    }
    return new, np.array([own[group] for group in groups[new]])


def third_of(values):
    """Third of each value among all."""
    return np.searchsorted(np.sort(values)[[66, 133]], values, side="right")


def row_of(table, by, splits):
    """Coverage of all, of thirds of true volume, and the size of masks."""
    scores = -table.critical_probability(0.1)
    true, curves = table.column("n_foreground"), table.grid_curves()
    third = third_of(true)
    hits, n, ratios = np.zeros(3), np.zeros(3), []
    for order in splits:
        new, limits = thresholds_of(table, scores, by, order)
        np.add.at(hits, third[new], scores[new] <= limits)
        np.add.at(n, third[new], 1)
        # The last cut of the grid that is not above the threshold: no smaller mask.
        place = np.clip(np.floor(-limits * N_CUTS), 0, N_CUTS - 1).astype(int)
        ratios.append(np.mean(curves.n_predicted[new, place] / true[new]))
    each = hits / n
    return [
        by or "one threshold",
        f"{hits.sum() / n.sum():.3f}",
        *[f"{share:.3f}" for share in each],
        f"{each.max() - each.min():.3f}",
        f"{np.mean(ratios):.3f}",
    ]


def main():
    """Print the table; keep that of the full number of splits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=500)
    n_splits = parser.parse_args().splits
    table, rng = scored(), np.random.default_rng(0)
    splits = [rng.permutation(N_CASES) for _ in range(n_splits)]
    n_new = N_CASES - N_LEARNING - N_CALIBRATION
    parts = [
        f"`python -m benchmarks.strata --splits {n_splits}`, {date.today()}, {machine()}",
        f"{N_CASES} hippocampi: {N_LEARNING} set the edges, {N_CALIBRATION} calibrate, "
        f"{n_new} are new, {n_splits} random splits; `fnr`, tolerance 0.1, alpha {ALPHA}.",
        markdown(
            [
                "`--group-by`",
                "coverage",
                "small third of true volume",
                "middle",
                "large",
                "spread",
                "mask over reference, voxels",
            ],
            [row_of(table, by, splits) for by in RULES],
        ),
    ]
    text = "\n\n".join(parts) + "\n"
    save("strata", text, whole=n_splits >= 500)


if __name__ == "__main__":
    main()
