"""Five folds of a small U-Net on hippocampi: what is promised, and what happened.

    python -m examples.folds.run DATA -o OUT [--steps 400]

DATA has the folders images and labels of the hippocampus cohort (Medical Segmentation
Decathlon, Task04). 60 patients are held out; of the other 200 each is in one of five
folds. Five nets train, each without one fold, and infer that fold and the held-out
patients. Beside them stands the split that gives up 40 % of the 200 patients to calibrate
one net trained on the others. Every step is a command line that users have, and finished
ones are kept: start again to go on. Six nets take about 20 minutes on two cores.

Chosen before the first result, and by nothing here: the seeds, the levels, the
transforms, which are those of `examples/hippocampus`, and net, rate and patch, likewise.
"""

import argparse
import json
from datetime import date
from fractions import Fraction
from pathlib import Path

import numpy as np
from benchmarks.common import machine, markdown

from coverax.calibrate import minmax_promise, pooled_level, pooled_promise
from coverax.files import publish_json, publish_rows, publish_text
from coverax.train import Split, write_split
from coverax.volumes import nifti_files
from examples.hippocampus.run import coverax

SEED = 2026  # of who is held out and who is in which fold
N_HELD_OUT, N_FOLDS, SHARE = 60, 5, Fraction(2, 5)
FOLDS = tuple(str(k) for k in range(N_FOLDS))
WHOLE = "split"  # the net of the split, beside those of the folds
REGION = ["--region", "hippocampus=1+2:1,2"]
SCORES = ["--transform", "inner=identity", "--transform", "outer=surface:cut=0.5"]
SCORES += ["--tolerance", "0.1", "--curves"]
ALPHA = Fraction(1, 5)  # of sets, both sides together
METHODS = {  # name: promise, options
    "sets, both sides": (">= .80", ["--method", "sets", "--alpha", "0.2"]),
    "fnr, tolerance .1": (">= .90", ["--method", "fnr", "--alpha", "0.1"]),
    "crc, mean FNR": ("<= .10", ["--method", "crc", "--alpha", "0.1"]),
}
CONFIG = """\
[data]
images = "{images}"
labels = "{labels}"
classes = {{ background = 0, anterior = 1, posterior = 2 }}
allow_missing = true
split = "{name}.split.json"
[net]
preset = "unet3d-small"
sizes = {{ channels = [8, 16, 32] }}
[patch]
size = [40, 56, 40]
batch = 1
[optimiser]
learning_rate = 3e-3
ema = 0.99
[run]
steps = {steps}
seed = {seed}
validate_every = 0
checkpoint_every = {steps}
"""


def share_out(cases):
    """Held-out cases, the others in folds, and those that calibrate the split."""
    order = np.random.default_rng(SEED).permutation(sorted(cases)).tolist()
    held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
    parts = {name: rest[int(name) :: N_FOLDS] for name in FOLDS}
    return held_out, rest, parts | {WHOLE: rest[: int(SHARE * len(rest))]}


def one_net(out, data, name, cases, steps):
    """Train a net without the cases that it calibrates, and infer what it has not seen.

    Args:
        out: Where everything lies.
        data: Images and references.
        name: Of the fold, or of the split.
        cases: Held-out cases, all others, and those of them that calibrate.
        steps: Of training.
    """
    held_out, rest, calibrating = cases
    parts = dict.fromkeys(rest, "train") | dict.fromkeys(calibrating, "calibration")
    parts |= dict.fromkeys(held_out, "test")
    write_split(out / f"{name}.split.json", Split(parts, {i: i for i in parts}, SEED))
    seed = N_FOLDS if name == WHOLE else int(name)
    folders = {f: (data / f).resolve() for f in ("images", "labels")}
    text = CONFIG.format(**folders, name=name, steps=steps, seed=seed)
    publish_text(out / f"{name}.toml", text)
    net = out / f"{name}_net"
    for part in ("calibration", "test"):
        maps = out / f"{name}_{part}"
        if maps.exists():
            continue
        resume = ["--resume"] if net.exists() else []
        coverax("train", out / f"{name}.toml", "-o", net, *resume)
        images = ["--images", folders["images"], "--part", part]
        coverax("infer", net, *images, "-o", maps)


def score(out, data, name, parts):
    """The score table of cases, each under the map of its own fold."""
    labels = nifti_files(data / "labels")
    rows = [
        {
            "case_id": case,
            "probs": f"{fold}_calibration/{case}.nii.gz",
            "labels": labels[case].resolve(),
            "fold": fold,
        }
        for fold, cases in parts.items()
        for case in cases
    ]
    publish_rows(out / f"{name}.csv", rows)
    table = out / f"{name}.parquet"
    if table.exists():
        return table
    coverax("score", "--cohort", out / f"{name}.csv", *REGION, *SCORES, "-o", table)
    return table


def measured(out, data, name, table, options, nets):
    """Calibrate, predict and evaluate on the held-out patients; what `evaluate` found."""
    done = out / f"{name}_evaluation" / "evaluation.json"
    if not done.exists():
        file, maps = out / f"{name}.json", [out / f"{net}_test" for net in nets]
        if not file.exists():
            coverax("calibrate", table, *options, "-o", file)
        probs = [word for folder in maps for word in ("--probs", folder)]
        masks = out / f"{name}_masks"
        if not masks.exists():
            coverax("predict", file, *probs, "-o", masks)
        references = ["--labels", held_out_labels(out, data)]
        coverax("evaluate", file, *probs, *references, "-o", done.parent)
    (result,) = json.loads(done.read_text())["results"]
    return result


def held_out_labels(out, data):
    """A folder of the references of the held-out patients alone."""
    folder, labels = out / "held_out", nifti_files(data / "labels")
    folder.mkdir(exist_ok=True)
    for case in nifti_files(out / f"{WHOLE}_test"):
        path = folder / labels[case].name
        if not path.exists():
            path.symlink_to(labels[case].resolve())
    return folder


def happened(result):
    """Share covered or mean loss, and the volume of what was marked."""
    if "joint" in result:
        sizes = [f"{result[side][f'{side}_ml']:.2f}" for side in ("inner", "outer")]
        return f"{result['joint']['coverage']:.3f}", f"{sizes[0]} to {sizes[1]}"
    own = result["calibrated"]
    share = own["fnr_mean"] if own["ecr"] is None else own["ecr"]
    return f"{share:.3f}", f"{own['volume_ml']:.2f}"


def figures(out, data, parts):
    """One row a method and way of calibrating: promise, what happened, sizes."""
    sizes = [len(parts[name]) for name in FOLDS]
    of_folds = score(out, data, "folds", {name: parts[name] for name in FOLDS})
    of_split = score(out, data, "split", {WHOLE: parts[WHOLE]})
    whence = {"folds": f"5 folds of {sizes[0]}", "split": f"split, {len(parts[WHOLE])}"}
    rows = []
    for name, (promise, options) in METHODS.items():
        slug = options[1]
        words = [*options, "--folds"]
        found = measured(out, data, f"{slug}_folds", of_folds, words, FOLDS)
        rows.append([name, promise, whence["folds"], *happened(found)])
        found = measured(out, data, f"{slug}_split", of_split, options, [WHOLE])
        rows.append(["", promise, whence["split"], *happened(found)])
    # CV+ at half of a side's level, which is said to cover 1 - 2 alpha.
    level = pooled_level(sizes, ALPHA / 4)
    words = ["--method", "sets", "--alpha", str(4 * level), "--folds"]
    found = measured(out, data, "pooled", of_folds, words, FOLDS)
    pooled = ["sets, CV+", f">= {float(1 - 4 * level):.3f}", whence["folds"]]
    return [*rows[:2], [*pooled, *happened(found)], *rows[2:]]


def promises():
    """What one side of sets is promised by each way to join folds, by level."""
    size = (200 // N_FOLDS,) * N_FOLDS
    rows = []
    for alpha in ("0.05", "0.1", "0.2"):
        own = [1 - 2 * Fraction(alpha), pooled_promise(size, alpha)]
        own.append(minmax_promise(size[0], N_FOLDS, alpha))
        rows.append([alpha, *(f"{float(each):.3f}" for each in own)])
    return rows


def main():
    """Run what is not yet there; print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    out, data = args.output, args.data
    out.mkdir(parents=True, exist_ok=True)
    images, labels = nifti_files(data / "images"), nifti_files(data / "labels")
    held_out, rest, parts = share_out(images.keys() & labels.keys())
    for name, cases in parts.items():
        one_net(out, data, name, (held_out, rest, cases), args.steps)
    rows = figures(out, data, parts)
    publish_json(out / "figures.json", {"steps": args.steps, "rows": rows})
    header = ["method", "promise", "from", "happened", "volume, mL"]
    beside = ["alpha", "mean of p-values", "CV+", "CV-minmax"]
    command = f"`python -m examples.folds.run DATA -o OUT --steps {args.steps}`"
    blocks = [
        f"{command}, {date.today()}, {machine()}",
        markdown(header, rows),
        markdown(beside, promises()),
    ]
    text = "\n\n".join(blocks)
    publish_text(out / "table.md", text + "\n")
    print(text)


if __name__ == "__main__":
    main()
