"""What the pages tell of real predictions: 200 hippocampi, and nodules with four readers.

    python -m benchmarks.real

Needs ../shared (cohorts and the tool that unpacks them); about a minute on two cores. All
but the last table goes through the command line. Nothing is timed.
"""

import contextlib
import csv
import io
import json
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
from tests.lidc import read_nodules, rows_of

from benchmarks.common import machine, markdown, save
from coverax.cli.app import run
from coverax.scores import read_table, score_arrays
from coverax.validate import all_splits, random_splits

SHARED = Path(__file__).resolve().parents[2] / "shared"
N_CALIBRATION, N_SPLITS = 100, 10_000
ALPHAS = ["0.05", "0.1", "0.2"]
SOFTMAX = ("--region", "anterior=1:1", "--region", "posterior=2:2", "--softmax")


def command(*words: object) -> None:
    """A command that must end well."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run([str(word) for word in words])
    if code:
        raise RuntimeError(f"{words}: {out.getvalue()}")


def unpack(folder: Path) -> list[dict[str, str]]:
    """The hippocampi as NIfTI; the rows of their cohort."""
    tool = SHARED / "tools" / "unpack_cohort.py"
    quiet = subprocess.DEVNULL
    subprocess.run(
        [sys.executable, tool, "hippocampus", folder], check=True, stdout=quiet
    )
    with (folder / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cohort(folder: Path, name: str, rows, probs="probs", labels="labels") -> Path:
    """A cohort file of some rows, with maps and references of one kind."""
    lines = ["case_id,probs,labels"]
    for row in rows:
        paths = (row["probs"], probs, "probs"), (row["labels"], labels, "labels")
        places = [path.replace(f"{old}/", f"{new}/") for path, new, old in paths]
        lines.append(",".join([row["case_id"], *places]))
    path = folder / f"{name}.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def held_out(folder: Path, rows) -> list[str]:
    """The table of calibrated and fixed cut, and what the law says."""
    order = np.random.default_rng(2026).permutation(len(rows))
    parts = order[:N_CALIBRATION], order[N_CALIBRATION:]
    names = "calibration", "heldout"
    for name, part in zip(names, parts, strict=True):
        cohort(folder, name, [rows[i] for i in sorted(part)])
    table, calibration = folder / "c.parquet", folder / "c.json"
    command("score", "--cohort", folder / "calibration.csv", "-o", table)
    command("calibrate", table, "--alpha", "0.1", "-o", calibration)
    evaluation = folder / "evaluation"
    heldout = folder / "heldout.csv"
    command("evaluate", calibration, "--cohort", heldout, "-o", evaluation)
    result = json.loads((evaluation / "evaluation.json").read_text())["results"][0]
    cuts = [result["calibrated"], result["fixed"]]
    heads = [f"p >= {cut['probability_threshold']:.4g}" for cut in cuts]
    rows = [
        ["cases with FNR <= 0.1 (ECR)", *(f"{c['ecr']:.1%}" for c in cuts)],
        ["FNR, mean (sd)", *(f"{c['fnr_mean']:.3f} ({c['fnr_sd']:.3f})" for c in cuts)],
        ["FPR, mean", *(f"{c['fpr']:.2%}" for c in cuts)],
        ["PC, mean", *(f"{c['pc']:.2%}" for c in cuts)],
        ["Dice, mean", *(f"{c['dice']:.3f}" for c in cuts)],
    ]
    band = result["ecr_band"][0]
    law = (
        f"The exact law expects {result['expected_ecr']:.1%}, 95 % of it between "
        f"{band['low']:.1%} and {band['high']:.1%}. {splits(folder)}"
    )
    head = ["", f"calibrated, {heads[0]}", f"fixed, {heads[1]}"]
    return [markdown(head, rows), law]


def splits(folder: Path) -> str:
    """Mean coverage over random splits of all cases."""
    command("score", "--cohort", folder / "cohort.csv", "-o", folder / "all.parquet")
    scores = -read_table(folder / "all.parquet").critical_probability(0.1)
    found = random_splits(scores, N_CALIBRATION, ALPHAS, n_splits=N_SPLITS, seed=0)
    means = " / ".join(f"{m:.4f}" for m in found.mean(0))
    errors = " / ".join(f"{e:.4f}" for e in found.std(0) / N_SPLITS**0.5)
    laws = [all_splits(scores, N_CALIBRATION, alpha) for alpha in ALPHAS]
    law = " / ".join(f"{s.rank / (N_CALIBRATION + 1):.4f}" for s in laws)
    return (
        f"Over {N_SPLITS:,} seeded splits of all cases mean coverage is {means} at alpha "
        f"{' / '.join(ALPHAS)}, where theory says {law} (standard errors {errors}; "
        f"{len(set(scores))} of {len(scores)} scores are distinct)."
    )


def reliability(folder: Path, rows) -> str:
    """Pooled errors of each class, with intervals over patients."""
    path = cohort(folder, "softmax", rows, "probs4d", "labels3")
    command("score", "--cohort", path, *SOFTMAX, "-o", folder / "softmax.parquet")
    output = folder / "reliability"
    command("reliability", folder / "softmax.parquet", "--no-figures", "-o", output)
    found = json.loads((output / "reliability.json").read_text())["regions"]
    lines = []
    for region in found:
        cells = [region["region"]]
        for name, digits in (("ece", 4), ("ace", 3)):
            low, high = region["pooled_interval"][name]
            cells += [
                f"{region['pooled'][name]:.{digits}f}",
                f"{low:.{digits}f} to {high:.{digits}f}",
            ]
        lines.append(cells)
    return markdown(["class", "ECE", "interval", "ACE", "interval"], lines)


def temperature(folder: Path, rows) -> list[str]:
    """A temperature of every second case, and what it changes on the others."""
    fit = cohort(folder, "fit", rows[::2], "probs4d", "labels3")
    maps = folder / "maps"
    maps.mkdir()
    for row in rows[1::2]:
        name = Path(row["probs"]).name
        (maps / name).symlink_to(folder / "probs4d" / name)
    command("temperature", "fit", "--cohort", fit, *SOFTMAX, "-o", folder / "t.json")
    scaled = folder / "scaled"
    command("temperature", "apply", folder / "t.json", "--probs", maps, "-o", scaled)
    for name, kind in (("before", "probs4d"), ("after", "scaled")):
        path = cohort(folder, name, rows[1::2], kind, "labels3")
        command("score", "--cohort", path, *SOFTMAX, "-o", folder / f"{name}.parquet")
    pair = (folder / "before.parquet", "--against", folder / "after.parquet")
    command("reliability", *pair, "--no-figures", "-o", folder / "compared")
    found = json.loads((folder / "compared" / "reliability.json").read_text())[
        "against"
    ]
    changes = [
        ("log loss", found["regions"]["softmax"]["nll"], 4),
        ("Brier", found["regions"]["softmax"]["brier"], 4),
        ("ACE, anterior", found["regions"]["anterior"]["ace"], 3),
    ]
    lines = []
    for name, c, digits in changes:
        first, second, change, low, high = (
            f"{x:.{digits}f}"
            for x in (c["first"], c["second"], c["difference"], *c["interval"])
        )
        lines.append([name, first, second, f"{change} ({low} to {high})"])
    value = json.loads((folder / "t.json").read_text())["fits"]["softmax"]
    head = ["pooled, all classes", "before", "after"]
    head.append("difference (95 % over patients, paired)")
    told = (
        f"Fitted on every second case (T = {value['temperature']:.3f}), on the others:"
    )
    return [told, markdown(head, lines)]


def readers() -> list[str]:
    """A calibration by one drawn reader and by the worst of four, over all splits."""
    nodules = {}
    for nodule in read_nodules(SHARED / "data", 10_000, most_voxels=10**9):
        nodules.setdefault(nodule[1], nodule)  # the first of each patient
    nodules = list(nodules.values())
    rows = rows_of(nodules)
    table = score_arrays(**rows, tolerances=["0.1"], engine="host")
    by_reader = -table.critical_probability(0.1).reshape(len(nodules), -1)
    # A reference that a reader left empty asks for nothing, and nobody draws it.
    empty = table.column("n_foreground").reshape(by_reader.shape) == 0
    worst = np.where(empty, -np.inf, by_reader).max(1)
    chance = np.random.default_rng(0).random(empty.shape)
    reader = np.where(empty, -1, chance).argmax(1)
    drawn = by_reader[np.arange(len(worst)), reader]
    maps = rows["probs"][:: by_reader.shape[1]]
    voxel_ml = [np.prod(spacing) / 1000 for _, _, spacing in nodules]
    lines = []
    for alpha in ("0.1", "0.2"):
        for name, own in (("draw", drawn), ("worst", worst)):
            metrics = {
                "all": (worst[:, None] <= own).astype(float),
                "ml": volumes(maps, voxel_ml, -own),
            }
            found = all_splits(own, len(own) // 2, alpha, metrics)
            means = found.metric_means
            complies = f"{found.coverage_mean:.3f}" if name == "draw" else ""
            lines.append(
                [
                    f"`{name}`",
                    alpha,
                    complies,
                    f"{means['all']:.3f}",
                    f"{means['ml']:.1f}",
                ]
            )
    head = ["calibrated by", "alpha", "complies with the drawn radiologist"]
    head += ["with all four", "mask, mean mL"]
    return [f"{len(nodules)} patients, one nodule each.", markdown(head, lines)]


def volumes(maps, voxel_ml, cuts):
    """Volume of the mask of case i at cut j."""
    found = []
    for probs, ml in zip(maps, voxel_ml, strict=True):
        ascending = np.sort(probs, axis=None)
        found.append((ascending.size - np.searchsorted(ascending, cuts, "left")) * ml)
    return np.stack(found)


def main() -> None:
    """Everything, into `results/real.md`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = unpack(folder)
        parts = [
            "# Real predictions",
            f"`python -m benchmarks.real`, {date.today()}, {machine()}",
            *held_out(folder, rows),
            reliability(folder, rows),
            *temperature(folder, rows),
            *readers(),
        ]
    save("real", "\n\n".join(parts))


if __name__ == "__main__":
    main()
