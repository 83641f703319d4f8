"""From images to calibrated masks: train with four losses, infer, score, certify.

    python -m examples.hippocampus.run DATA -o OUT [--seeds 2] [--steps 500] [--losses ...] [--docs]

DATA has the folders images and labels of the hippocampus cohort (Medical Segmentation
Decathlon, Task04). For every loss and seed: train on 100 cases, infer the calibration and
test parts, then reliability, lesion control and confidence sets, every step by the
command line that users have. Finished runs are kept: start again to go on. With --docs
the table of results/ and the pictures of docs/ are made anew.
"""

import argparse
import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from statistics import mean, stdev

from benchmarks.common import machine
from PIL import Image

from coverax.files import publish_json, publish_rows, publish_text

BASE = {"soft_dice": 1.0, "cross_entropy": 1.0}
THIRDS = {"soft_dice": 0.33, "cross_entropy": 0.33}  # as published for mL1-ACE
LOSSES = {
    "dice-ce": BASE,
    "hard-ml1-ace": THIRDS | {"hard_l1_ace": 0.33},
    "soft-ml1-ace": THIRDS | {"soft_l1_ace": 0.33},
    "sdc": BASE | {"sdc": 1.0},
}
NAMES = {
    "dice-ce": "Dice + CE",
    "hard-ml1-ace": "+ hard mL1-ACE",
    "soft-ml1-ace": "+ soft mL1-ACE",
    "sdc": "+ SDC",
}
N = {"train": 100, "learning": 20, "calibration": 70, "test": 70}
REGIONS = ["--region", "anterior=1:1", "--region", "posterior=2:2", "--softmax"]
ANY = ["--region", "any=1+2:1,2"]
SETS = ["--transform", "inner=identity", "--transform", "outer=surface:cut=0.5"]
RESULTS = Path(__file__).parent / "results"
PICTURES = Path(__file__).parents[2] / "docs" / "images"
COLOURS = 128  # of a picture in the docs
ALPHA, TOLERANCE = "0.1", "0.1"
COLUMNS = {
    "dice": "Dice",
    "ece": "ECE",
    "ace": "ACE",
    "mce": "MCE",
    "pixelwise_ece": "pECE",
    "ecr": "ECR",
    "outer_ratio": "outer ratio",
}
CONFIG = """\
[data]
images = "{images}"
labels = "{labels}"
classes = {{ background = 0, anterior = 1, posterior = 2 }}
allow_missing = true
shares = {{ {shares} }}
[net]
preset = "{preset}"
sizes = {{ channels = {channels} }}
[patch]
size = [40, 56, 40]
batch = {batch}
[losses]
{losses}
[optimiser]
learning_rate = 3e-3
ema = 0.99
[run]
steps = {steps}
seed = {seed}
validate_every = 0
checkpoint_every = {steps}
"""


def coverax(*words):
    """One command line, shown before it runs."""
    words = [str(word) for word in words]
    print("coverax", *words, flush=True)
    subprocess.run([sys.executable, "-m", "coverax", *words], check=True)


def write_config(path, data, losses, seed, args):
    """The TOML file of one run."""
    shares = ", ".join(f"{part} = {n / sum(N.values())!r}" for part, n in N.items())
    text = CONFIG.format(
        images=(data / "images").resolve(),
        labels=(data / "labels").resolve(),
        shares=shares,
        preset=args.preset,
        channels=args.channels,
        batch=args.batch,
        losses="\n".join(f"{name} = {weight}" for name, weight in losses.items()),
        steps=args.steps,
        seed=seed,
    )
    publish_text(path, text)


def write_cohort(folder, data, maps):
    """cohort.csv of the maps of a part, with their references."""
    rows = [
        {
            "case_id": file.name.removesuffix(".nii.gz"),
            "probs": file.resolve(),
            "labels": (data / "labels" / file.name).resolve(),
        }
        for file in sorted(maps.glob("*.nii.gz"))
    ]
    path = folder / f"{maps.name}.csv"
    publish_rows(path, rows)
    return path


def one_run(folder, data, losses, seed, args):
    """Train, infer and measure; the numbers of one row."""
    done = folder / "row.json"
    if done.exists():
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder / "config.toml", data, losses, seed, args)
    resume = ["--resume"] if (folder / "model").exists() else []
    coverax("train", folder / "config.toml", "-o", folder / "model", *resume)
    cohort = {}
    for part in ("calibration", "test"):
        maps = folder / part
        words = ["--images", data / "images", "--part", part, "-o", maps]
        coverax("infer", folder / "model", *words)
        cohort[part] = ["--cohort", write_cohort(folder, data, maps)]
    classes, any_part = folder / "classes.parquet", folder / "any.parquet"
    coverax("score", *cohort["test"], *REGIONS, "-o", classes)
    coverax(
        "reliability",
        classes,
        "--leave-out",
        "background",
        "-o",
        folder / "reliability",
    )
    tolerance = ["--tolerance", TOLERANCE]
    coverax("score", *cohort["calibration"], *ANY, *SETS, *tolerance, "-o", any_part)
    for method in ("fnr", "sets"):
        file = folder / f"{method}.json"
        words = ["--method", method, "--alpha", ALPHA]
        words += ["--joint", "each"] if method == "sets" else tolerance
        coverax("calibrate", any_part, *words, "-o", file)
        coverax(
            "predict",
            file,
            "--probs",
            folder / "test",
            "-o",
            folder / f"{method}_masks",
        )
        coverax(
            "evaluate", file, *cohort["test"], "-o", folder / f"{method}_evaluation"
        )
    row = numbers(folder)
    publish_json(done, row)
    return row


def numbers(folder):
    """What the commands wrote, as one row."""
    reliability = json.loads((folder / "reliability/reliability.json").read_text())
    fnr, sets = (
        json.loads((folder / f"{method}_evaluation/evaluation.json").read_text())
        for method in ("fnr", "sets")
    )
    errors = reliability["mean_over_regions"]["macro"]
    result = fnr["results"][0]
    return {name: errors[name] for name in ("ece", "ace", "mce", "pixelwise_ece")} | {
        "dice": result["fixed"]["dice"],
        "ecr": result["calibrated"]["ecr"],
        "outer_ratio": sets["results"][0]["outer"]["outer_size_ratio"],
    }


def table(rows):
    """Mean and spread over seeds, and the change of ACE against Dice + CE by seed."""
    lines = [
        f"| loss | {' | '.join(COLUMNS.values())} | ACE less that of Dice + CE, by seed |",
        "| --- " * (len(COLUMNS) + 2) + "|",
    ]
    for name, runs in rows.items():
        cells = [
            f"{mean(run[key] for run in runs):.3f} ± {stdev(run[key] for run in runs):.3f}"
            for key in COLUMNS
        ]
        change = [
            f"{run['ace'] - base['ace']:+.3f}"
            for run, base in zip(runs, rows["dice-ce"], strict=True)
        ]
        lines.append(f"| {NAMES[name]} | {' | '.join(cells)} | {', '.join(change)} |")
    return "\n".join(lines)


def to_docs(output, names):
    """The table, and the first seed's histograms in few colours."""
    publish_text(RESULTS / "table.md", (output / "table.md").read_text())
    for name in names:
        picture = Image.open(output / f"{name}-0/reliability/dataset_histogram.png")
        few = picture.convert("RGB").quantize(COLOURS)
        few.save(PICTURES / f"trained_{name}.png", optimize=True)


def main():
    """Run what is not yet there; print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--preset", default="unet3d-small")
    parser.add_argument("--channels", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--docs", action="store_true")
    args = parser.parse_args()
    rows = {name: [] for name in args.losses}
    for seed in range(args.seeds):
        for name in args.losses:
            folder = args.output / f"{name}-{seed}"
            rows[name].append(one_run(folder, args.data, LOSSES[name], seed, args))
    some = f" --losses {' '.join(rows)}" if len(rows) < len(LOSSES) else ""
    text = (
        f"{table(rows)}\n\n`python -m examples.hippocampus.run DATA -o OUT{some}`, "
        f"{date.today()}, {machine()}\n"
    )
    publish_text(args.output / "table.md", text)
    print(text)
    if args.docs:
        to_docs(args.output, args.losses)


if __name__ == "__main__":
    main()
