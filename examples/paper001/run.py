"""The tables and figures of paper 001 (Conformal Lesion Segmentation), regenerated.

    python -m examples.paper001.run MASKS_DIR -o OUTPUT [--most 100]

MASKS_DIR holds the packed lesion masks; OUTPUT receives `tables.md` and four figures.
Every number is given over 100 seeded splits, as published, and over all splits, exactly.
The five whole cohorts (3,539 lesions, five maps of each) take four minutes of one
core; `--most 100` draws that many masks a cohort.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import coverax as cx
from examples.paper001.simulate import BACKBONES, Backbone, Masks, read_masks, simulate

TOLERANCES = ("0.1", "0.2", "0.3", "0.4", "0.5")
ALPHAS = tuple(f"{k / 20:g}" for k in range(1, 11))
SHARES = tuple(k / 10 for k in range(1, 10))
MAIN_ALPHA, MAIN_TOLERANCE = "0.2", "0.1"
MAIN_COHORT = "KiTS21"
N_SPLITS = 100


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of a cohort by tolerance, with each metric at every threshold.

    Attributes:
        scores: By tolerance, one a case.
        metrics: By tolerance, FNR and predicted share, `[cases, cases]`; empty where
            coverage alone is shown.
        fixed_fnr: FNR of each case at 0.5.
        fixed_missed: Missed voxels at 0.5.
        n_foreground: Lesion voxels.
    """

    scores: dict[str, np.ndarray]
    metrics: dict[str, dict[str, np.ndarray]]
    fixed_fnr: np.ndarray
    fixed_missed: np.ndarray
    n_foreground: np.ndarray


def score(masks: Masks, backbone: Backbone, *, with_metrics: bool) -> Scored:
    """Simulate and score; with metrics, count at every threshold of the cohort."""
    maps = simulate(masks, backbone)
    table = cx.scores.score_arrays(maps, masks.crops, list(TOLERANCES), engine="host")
    n_true = table.column("n_foreground")
    missed = np.array(
        [(m[y] < 0.5).sum() for m, y in zip(maps, masks.crops, strict=True)]
    )
    critical = {t: table.critical_probability(float(t)) for t in TOLERANCES}
    return Scored(
        scores={t: 0.0 - cuts for t, cuts in critical.items()},
        metrics=_metrics(masks, maps, critical) if with_metrics else {},
        fixed_fnr=missed / n_true,
        fixed_missed=missed,
        n_foreground=n_true,
    )


def _metrics(masks: Masks, maps: list[np.ndarray], critical: dict[str, np.ndarray]):
    """FNR and predicted share of every case at every other case's threshold."""
    cuts = np.unique(np.concatenate(list(critical.values())))
    counted = [
        cx.host.cut_counts(p.reshape(1, -1), y.reshape(1, -1), cuts)
        for p, y in zip(maps, masks.crops, strict=True)
    ]
    predicted = np.concatenate([c.n_predicted for c in counted])
    hits = np.concatenate([c.n_true_positive for c in counted])
    n_true = np.array([[y.sum()] for y in masks.crops])
    fnr, share = (n_true - hits) / n_true, predicted / masks.n_full
    place = {t: np.searchsorted(cuts, own) for t, own in critical.items()}
    return {t: {"fnr": fnr[:, at], "pc": share[:, at]} for t, at in place.items()}


def hundred_splits(scores, n, alpha, metric=None, seed=0):
    """ECR, and mean of a metric, over seeded random splits, as published."""
    rng = np.random.default_rng(seed)
    coverage, means = [], []
    for _ in range(N_SPLITS):
        order = rng.permutation(scores.size)
        threshold = cx.calibrate.split_threshold(scores[order[:n]], alpha)
        rest = order[n:]
        coverage.append((scores[rest] <= threshold).mean())
        if metric is not None:
            j = np.flatnonzero(scores == threshold)
            means.append(metric[rest, j[0]].mean() if j.size else np.nan)
    return np.mean(coverage), np.std(coverage), np.mean(means) if means else None


def table_1(found: dict[str, Scored]) -> str:
    """FNR against tolerance on the main cohort."""
    rows = []
    for name, scored in found.items():
        n = scored.fixed_fnr.size // 2
        cells = [f"{scored.fixed_fnr.mean():.3f}"]
        for t in TOLERANCES:
            scores, metrics = scored.scores[t], scored.metrics[t]
            exact = cx.validate.all_splits(scores, n, MAIN_ALPHA, metrics)
            _, _, sampled = hundred_splits(scores, n, MAIN_ALPHA, metrics["fnr"])
            cells.append(f"{exact.metric_means['fnr']:.3f} ({sampled:.3f})")
        rows.append([name, *cells])
    return markdown(["backbone", "fixed 0.5", *TOLERANCES], rows)


def table_2(found: dict[str, dict[str, Scored]]) -> str:
    """ECR at the fixed and the calibrated cut, all cohorts."""
    rows = []
    for cohort, by_backbone in found.items():
        for name, scored in by_backbone.items():
            scores = scored.scores[MAIN_TOLERANCE]
            n = scores.size // 2
            complies = scores <= -0.5
            exact = cx.validate.all_splits(scores, n, MAIN_ALPHA)
            mean, sd, _ = hundred_splits(scores, n, MAIN_ALPHA)
            expected = exact.rank / (n + 1)
            rows.append(
                [
                    cohort,
                    name,
                    f"{complies.mean():.3f}",
                    f"{exact.coverage_mean:.4f} +- {exact.coverage_variance**0.5:.4f}",
                    f"{mean:.4f} +- {sd:.4f}",
                    f"{expected:.4f}",
                ]
            )
    head = ["cohort", "backbone", "fixed 0.5", "all splits", "100 splits", "r/(n+1)"]
    return markdown(head, rows)


def figures(found: dict[str, Scored], output: Path) -> None:
    """Figures 4 to 7 on the main cohort."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    def save(name, xlabel, ylabel, draw):
        figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
        for backbone, scored in found.items():
            draw(axes, backbone, scored)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend(fontsize=8)
        figure.savefig(output / name, dpi=110)
        plt.close(figure)

    def exact(scored, alpha, share=0.5):
        scores = scored.scores[MAIN_TOLERANCE]
        n = max(1, round(share * scores.size))
        metrics = scored.metrics[MAIN_TOLERANCE]
        return cx.validate.all_splits(scores, n, alpha, metrics)

    def ecr_by_alpha(axes, name, scored):
        ecr = [exact(scored, alpha).coverage_mean for alpha in ALPHAS]
        axes.plot([float(a) for a in ALPHAS], ecr, label=name)

    def histogram(axes, name, scored):
        threshold = cx.calibrate.split_threshold(
            scored.scores[MAIN_TOLERANCE], MAIN_ALPHA
        )
        j = np.flatnonzero(scored.scores[MAIN_TOLERANCE] == threshold)[0]
        after = scored.metrics[MAIN_TOLERANCE]["fnr"][:, j]
        bins = np.arange(21) / 20
        axes.hist(scored.fixed_fnr, bins, histtype="step", ls=":", label=f"{name} 0.5")
        axes.hist(after, bins, histtype="step", label=f"{name} calibrated")

    def pc_by_alpha(axes, name, scored):
        pc = [exact(scored, alpha).metric_means["pc"] for alpha in ALPHAS]
        axes.semilogy([float(a) for a in ALPHAS], pc, label=name)

    def ecr_by_share(axes, name, scored):
        every = [exact(scored, MAIN_ALPHA, share) for share in SHARES]
        sd = [e.coverage_variance**0.5 for e in every]
        axes.errorbar(SHARES, [e.coverage_mean for e in every], sd, label=name)

    save("figure4.png", "alpha", "ECR, all splits", ecr_by_alpha)
    save("figure5.png", "FNR of a case", "cases", histogram)
    save("figure6.png", "alpha", "predicted share (PC), all splits", pc_by_alpha)
    save("figure7.png", "calibration share", "ECR, all splits", ecr_by_share)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Read masks, simulate five backbones, write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("masks", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--most", type=int, help="Masks a cohort; all by default.")
    options = parser.parse_args()
    files = sorted(options.masks.glob("*.npz"))
    if not files:
        parser.error(f"{options.masks} holds no packed masks")
    options.output.mkdir(parents=True, exist_ok=True)
    names = [path.stem for path in files]
    main_name = MAIN_COHORT if MAIN_COHORT in names else names[0]
    found: dict[str, dict[str, Scored]] = {}
    for path in files:
        masks = read_masks(path, options.most)
        found[masks.cohort] = {
            b.name: score(masks, b, with_metrics=masks.cohort == main_name)
            for b in BACKBONES
        }
        sys.stderr.write(f"{masks.cohort}: {len(masks.crops)} lesions\n")
    main_cohort = found[main_name]
    n_cases = {c: next(iter(b.values())).fixed_fnr.size for c, b in found.items()}
    text = (
        f"# Paper 001 on simulated maps\n\nLesions: {n_cases}. Half of them calibrate.\n\n"
        f"## Table 1: mean FNR by tolerance, alpha {MAIN_ALPHA}, {main_name}\n\n"
        f"All splits, in brackets {N_SPLITS} random ones.\n\n{table_1(main_cohort)}\n\n"
        f"## Table 2: ECR, alpha {MAIN_ALPHA}, tolerance {MAIN_TOLERANCE}\n\n"
        f"{table_2(found)}\n"
    )
    (options.output / "tables.md").write_text(text, encoding="utf-8")
    figures(main_cohort, options.output)


if __name__ == "__main__":
    main()
