"""Who is served less than others, and what bins of maps and mass scores do for them.

    python -m benchmarks.strata [--splits 500]

200 hippocampi, and one nodule of each of 550 patients, whose map is made of the outlines of
three radiologists (a logistic of the distance to each in mm, their mean) and whose
reference is that of the fourth. Some cases set the edges of the bins, some calibrate and the
others are new, in random splits. Needs ../shared/data; a few minutes on two cores. Nothing
is timed.
"""

import argparse
from datetime import date
from functools import cache
from typing import NamedTuple

import numpy as np

from benchmarks.common import machine, markdown, save
from benchmarks.sets import hippocampus, load_nodules, one_nodule_per_patient
from coverax import host
from coverax.calibrate import learn_strata, split_threshold, stratified
from coverax.scores import ScoreTable, mass_cut, score_arrays
from coverax.table import fnr_scores

ALPHA, TOLERANCE = "0.1", 0.1
RULES = [
    ("critical", None),
    ("critical", "predicted_volume:3"),
    ("critical", "uncertainty:3"),
    ("mass", None),
    ("mass", "predicted_volume:3"),
]


class Cohort(NamedTuple):
    """Scored maps, and how many of them set edges and calibrate."""

    about: str
    table: ScoreTable
    maps: list[np.ndarray]
    n_learning: int
    n_calibration: int


def soft_nodules():
    """Map, reference and size of a voxel in mL of one nodule a patient."""
    packed = load_nodules()
    for i in one_nodule_per_patient(packed["patient"], 0):
        part = slice(packed["offsets"][i], packed["offsets"][i + 1])
        bits = packed["bits"][part].reshape(packed["shapes"][i])
        outlines = np.stack([bits >> rater & 1 for rater in range(4)]).astype(bool)
        others = np.delete(outlines, i % 4, axis=0)
        spacing = np.tile(packed["spacing_mm"][i], (3, 1)).astype(np.float32)
        distance = host.signed_distance(others, spacing)
        probs = (1 / (1 + np.exp(-distance))).mean(0).astype(np.float32)
        yield probs, outlines[i % 4], float(spacing[0].prod()) / 1000


def cohort_of(about, cases, n_learning, n_calibration):
    """Score the cases of a cohort."""
    maps, labels, voxel_ml = (list(part) for part in zip(*cases, strict=True))
    options = {"voxel_volume_ml": voxel_ml, "engine": "host", "mass": True}
    table = score_arrays(maps, labels, [TOLERANCE], **options)
    return Cohort(about, table, maps, n_learning, n_calibration)


def thresholds_of(cohort, scores, by, order):
    """Threshold of each new case: one for all, or that of its bin."""
    ends = [cohort.n_learning, cohort.n_learning + cohort.n_calibration]
    learning, known, new = np.split(order, ends)
    if by is None:
        return new, np.full(new.size, split_threshold(scores[known], ALPHA))
    strata = learn_strata(cohort.table.select(learning), by)
    groups = stratified(cohort.table, strata).column(strata.name)
    own = {
        group: split_threshold(scores[known][groups[known] == group], ALPHA)
        for group in set(groups.tolist())
    }
    return new, np.array([own[group] for group in groups[new]])


def third_of(values):
    """Third of each value among all."""
    ends = [len(values) // 3, 2 * len(values) // 3]
    return np.searchsorted(np.sort(values)[ends], values, side="right")


def row_of(cohort, score, by, splits):
    """Coverage of all, of thirds of true volume, and the size of masks."""
    scores = fnr_scores(cohort.table, TOLERANCE, score)
    voxel_ml = cohort.table.column("voxel_volume_ml")
    true = cohort.table.column("n_foreground")
    third = third_of(true * voxel_ml)
    hits, n, ratios, thirds = np.zeros(3), np.zeros(3), [], []

    @cache
    def n_predicted(case, limit):
        probs = cohort.maps[case]
        cut = mass_cut(probs, limit) if score == "mass" else -limit
        return np.count_nonzero(probs >= np.float32(cut))

    for order in splits:
        new, limits = thresholds_of(cohort, scores, by, order)
        np.add.at(hits, third[new], scores[new] <= limits)
        np.add.at(n, third[new], 1)
        sizes = [n_predicted(*pair) for pair in zip(new, limits.tolist(), strict=True)]
        ratios.append(sizes / true[new])
        thirds.append(third[new])
    each = hits / n
    ratio, of = np.concatenate(ratios), np.concatenate(thirds)
    return [
        score,
        by or "-",
        f"{hits.sum() / n.sum():.3f}",
        *[f"{share:.3f}" for share in each],
        f"{each.max() - each.min():.3f}",
        f"{ratio.mean():.3f}",
        *[f"{np.median(ratio[of == third]):.3f}" for third in range(3)],
    ]


def part_of(cohort, n_splits):
    """What was done with a cohort, and its table."""
    n, rng = cohort.table.n_rows, np.random.default_rng(0)
    splits = [rng.permutation(n) for _ in range(n_splits)]
    head = ["`--score`", "`--group-by`", "coverage", "small third of true volume"]
    head += ["middle", "large", "spread", "mask over reference, mean"]
    head += [f"median of the {third}" for third in ("small", "middle", "large")]
    return [
        f"{n} {cohort.about}: {cohort.n_learning} set the edges, {cohort.n_calibration} "
        f"calibrate, {n - cohort.n_learning - cohort.n_calibration} are new, {n_splits} "
        f"random splits; `fnr`, tolerance {TOLERANCE}, alpha {ALPHA}.",
        markdown(head, [row_of(cohort, *rule, splits) for rule in RULES]),
    ]


def main():
    """Print the tables; keep those of the full number of splits."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--splits", type=int, default=500)
    n_splits = parser.parse_args().splits
    brains = ((probs, labels, 0.001) for probs, labels, _ in hippocampus(200))
    parts = [
        f"`python -m benchmarks.strata --splits {n_splits}`, {date.today()}, {machine()}",
        *part_of(cohort_of("hippocampi", brains, 60, 70), n_splits),
        *part_of(cohort_of("nodules", soft_nodules(), 150, 200), n_splits),
    ]
    save("strata", "\n\n".join(parts) + "\n", whole=n_splits >= 500)


if __name__ == "__main__":
    main()
