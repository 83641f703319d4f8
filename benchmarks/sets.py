"""Confidence sets on the two real cohorts: coverage beside its law, and set sizes.

    python -m benchmarks.sets [--size tiny|full] [--splits 100]

Full size: 200 hippocampi (out-of-sample U-Net maps) in halves, and 550 lung nodules (one a
patient: three radiologists are the map, the fourth is the reference) 300 to 250; two
minutes on two cores. Needs ../shared/data for the hippocampi; the nodules are in the
package. Coverage is counted from scores, never from masks.
"""

import argparse
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np

from benchmarks.common import machine, markdown, save
from coverax.calibrate import conformal_rank, learn_sets, split_threshold
from coverax.calibrate.sets import RULES, Scores, spend
from coverax.demo.cohort import load_nodules, one_nodule_per_patient
from coverax.scores import (
    ScoreDefinition,
    View,
    lone_batch,
    parse_transforms,
    resolve_engine,
    score_arrays,
    score_maps,
    side_cut,
)
from coverax.volumes import FOREGROUND, Grid

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = (
    "identity",
    "smooth:fwhm=3",
    "distance",
    "surface",
    "relative_distance",
    "boxes",
)
ALPHA = Fraction(1, 10)
JOINT = ("bonferroni", "max", "ranked")


def hippocampus_classes(n_cases):
    """Probabilities of background and both parts, classes last, and labels."""
    packed = dict(np.load(DATA / "hippocampus_unet_heldout200.npz"))  # each read once
    for i in range(n_cases):
        part = slice(packed["offsets"][i], packed["offsets"][i + 1])
        shape = packed["shapes"][i]
        odds = np.exp(packed["logit10"][part].astype(np.float64) / 10)
        background = 1 / (1 + odds.sum(axis=1, keepdims=True))
        probs = np.concatenate([background, odds * background], axis=1)
        yield probs.reshape(*shape, 3), packed["label"][part].reshape(shape)


def hippocampus(n_cases):
    for probs, labels in hippocampus_classes(n_cases):
        foreground = (1 - probs[..., 0]).astype(np.float32)
        yield foreground, labels > 0, (1.0, 1.0, 1.0)


def nodules(n_cases):
    packed = load_nodules()
    for i in one_nodule_per_patient(packed["patient"], 0)[:n_cases]:
        part = slice(packed["offsets"][i], packed["offsets"][i + 1])
        bits = packed["bits"][part].reshape(packed["shapes"][i])
        outlines = [(bits >> rater & 1).astype(bool) for rater in range(4)]
        truth = outlines.pop(i % 4)
        spacing = tuple(map(float, packed["spacing_mm"][i]))
        yield np.mean(outlines, axis=0, dtype=np.float32), truth, spacing


def sorted_maps(cases, transforms):
    """Every score map of every case, sorted: sizes at any threshold follow."""
    engine = resolve_engine("host")
    definition = ScoreDefinition(transforms=tuple(transforms))
    out = {transform: [] for transform in transforms}
    for probs, truth, spacing in cases:
        grid = Grid(probs.shape[::-1], np.diag([*spacing[::-1], 1.0]))
        view = View(FOREGROUND, probs.ravel(), truth.ravel(), None, grid)
        batch = lone_batch(engine, view, spatial=True)
        maps = score_maps(engine, batch, definition, transforms)
        for t in transforms:
            out[t].append(np.sort(maps[t.side, t.map_spec][0]))
    return out


def ratio(transform, maps, threshold, n_foreground, cases):
    cut = side_cut(transform, threshold)
    held = [maps[i].size - np.searchsorted(maps[i], cut) for i in cases]
    return float(np.mean((np.array(held) / n_foreground[cases]) ** (1 / 3)))


def one_sided(table, maps, splits, n_calibration):
    n_foreground = table.column("n_foreground")
    rows = []
    for transform in table.definition.transforms:
        scores = table.side_scores(transform)
        covered, sizes = [], []
        for order in splits:
            calibration, rest = order[:n_calibration], order[n_calibration:]
            threshold = split_threshold(scores[calibration], ALPHA)
            covered.append((scores[rest] <= threshold).mean())
            sizes.append(
                ratio(transform, maps[transform], threshold, n_foreground, rest)
            )
        rows.append(
            [
                str(transform),
                f"{np.mean(covered):.4f}",
                f"{np.std(covered) / len(splits) ** 0.5:.4f}",
                f"{np.mean(sizes):.3f}",
                f"{len(set(scores.tolist()))}",
            ]
        )
    return rows


def joint(table, splits, n_learning, n_calibration):
    """Learn on a part, calibrate on another, count on the rest."""
    covered, picks = {rule: [] for rule in JOINT}, []
    for order in splits:
        part = np.sort(order[:n_learning])
        learned = learn_sets(table.select(part), ALPHA, n_calibration=n_calibration)
        picks.append((learned.inner, learned.outer, str(learned.inner_share)))
        inner, outer = (
            table.side_scores(table.side_transform(side, learned.spec(side)))
            for side in ("inner", "outer")
        )
        now = order[n_learning : n_learning + n_calibration]
        rest = order[n_learning + n_calibration :]
        group = Scores(["foreground"], inner[None, now], outer[None, now])
        for rule in JOINT:
            levels = spend(rule, ALPHA, None, learned)
            found = RULES[rule](group, levels, learned.scales)
            limit = {t.side: t.value for t in found}
            hits = (inner[rest] <= limit["inner"]) & (outer[rest] <= limit["outer"])
            covered[rule].append(hits.mean())
    common = max(set(picks), key=picks.count)
    return [
        [
            rule,
            f"{np.mean(shares):.4f}",
            f"{np.std(shares) / len(splits) ** 0.5:.4f}",
            ", ".join(common),
        ]
        for rule, shares in covered.items()
    ]


def report(name, cases, n_calibration, n_splits):
    cases = list(cases)
    probs, labels, spacing = (list(part) for part in zip(*cases, strict=True))
    texts = [f"{side}={text}" for side in ("inner", "outer") for text in NAMES]
    table = score_arrays(
        probs,
        labels,
        [0.1],
        transforms=texts,
        set_sizes=True,
        spacing_mm=spacing,
        engine="host",
    )
    maps = sorted_maps(cases, parse_transforms(texts))
    rng = np.random.default_rng(0)
    splits = [rng.permutation(len(cases)) for _ in range(n_splits)]
    rank = conformal_rank(n_calibration, ALPHA)
    n_third = len(cases) // 3
    few = splits[: max(2, n_splits // 3)]
    law = conformal_rank(n_third, ALPHA) / (n_third + 1)
    return "\n".join(
        [
            f"### {name}",
            "",
            f"{len(cases)} cases, {n_calibration} calibrate, {len(cases) - n_calibration}"
            f" are held out, {n_splits} random splits, alpha 0.1. Without ties the mean "
            f"coverage is {rank / (n_calibration + 1):.4f}.",
            "",
            markdown(
                [
                    "transform",
                    "mean coverage",
                    "standard error of splits",
                    "mean size ratio (cube root)",
                    "distinct scores",
                ],
                one_sided(table, maps, splits, n_calibration),
            ),
            "",
            f"Both sets at once: a third learns transforms and split, a third calibrates,"
            f" a third is held out ({len(few)} splits). `max` and `ranked` promise "
            f"{law:.4f} without ties, `bonferroni` at least 0.9.",
            "",
            markdown(
                [
                    "rule",
                    "mean coverage of both",
                    "standard error",
                    "chosen most often",
                ],
                joint(table, few, n_third, n_third),
            ),
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "full"), default="full")
    parser.add_argument("--splits", type=int, default=100)
    args = parser.parse_args()
    tiny = args.size == "tiny"
    n_splits = 4 if tiny else args.splits
    parts = [
        f"`python -m benchmarks.sets --size {args.size}`, {date.today()}, {machine()}"
    ]
    if DATA.is_dir():
        some = hippocampus(60 if tiny else 200)
        parts.append(report("Hippocampus", some, 30 if tiny else 100, n_splits))
    some = nodules(60 if tiny else 550)
    parts.append(report("Lung nodules", some, 30 if tiny else 300, n_splits))
    save("sets_tiny" if tiny else "sets", "\n\n".join(parts))


if __name__ == "__main__":
    main()
