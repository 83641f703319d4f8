"""Pictures of masks beside the prediction itself, and beside a figure a case.

    python -m benchmarks.pictures [--size tiny|full] [--rounds 5]

CPU milliseconds a case of one thread, in turns: masks predicted; the same masks drawn on
scans; with references too; and what was drawn of the same files as a matplotlib figure a
case. Maps, scans and references are gzip; a minute on two cores.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from tests import synthetic

import coverax as cx
from benchmarks.common import interleaved, machine, markdown, ratio, save
from coverax.calibrate import calibrate_fnr
from coverax.predict import predict_folder
from coverax.report import picture_folder, plot_sets
from coverax.volumes import nifti_files, read_labels, read_scan

SIZES = {
    "tiny": [((16, 24, 24), 4)],
    "full": [((36, 50, 35), 12), ((160, 160, 100), 4)],
}


def measure(root: Path, shape, n_cases, rounds):
    probs, labels = synthetic.write_cohort(
        root, n_cases, shape, max(50, shape[0] * shape[1] * shape[2] // 100)
    )
    scans, masks = root / "scans", root / "masks"
    shutil.copytree(probs, scans)
    table = cx.scores.score_cohort(
        cx.volumes.match_folders(probs, labels), cx.scores.ScoreDefinition()
    )
    calibration, maps = calibrate_fnr(table, "0.3"), nifti_files(probs)

    def predict():
        shutil.rmtree(masks, ignore_errors=True)
        predict_folder(calibration, maps, masks, threads=1)

    def picture(**references):
        shutil.rmtree(root / "pictures", ignore_errors=True)
        picture_folder(masks, root / "pictures", images=scans, threads=1, **references)

    def figures():
        for path in masks.glob("*.nii.gz"):
            flat, file = read_labels(path)
            mask = flat.reshape(file.grid.shape, order="F")
            scan = read_scan(scans / path.name, file.grid, path)
            drawn = plot_sets(scan.values, mask, file.grid.edges_mm, path.name)
            figure = drawn if hasattr(drawn, "savefig") else drawn[0].figure
            figure.savefig(root / "figure.png", dpi=110)

    runs = {
        "predict": predict,
        "picture": picture,
        "references": lambda: picture(labels=labels),
        "figure": figures,
    }
    seconds = interleaved(runs, rounds, time.process_time)
    ms = {k: 1e3 * statistics.median(v) / n_cases for k, v in seconds.items()}
    return [
        " x ".join(map(str, shape)),
        *(f"{ms[name]:.1f}" for name in runs),
        f"{ratio(seconds['predict'], seconds['references']):.2f}",
        f"{ratio(seconds['figure'], seconds['picture']):.1f}",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = []
    for shape, n_cases in SIZES[args.size]:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(Path(folder), shape, n_cases, args.rounds))
    header = ["shape", "predict", "picture", "with references", "figure"]
    header += ["predict / with references", "figure / picture"]
    text = "\n".join(
        [
            f"`python -m benchmarks.pictures --size {args.size}`, {date.today()}, "
            f"{machine()}",
            "",
            "CPU milliseconds a case, one thread, gzip files, in turns on a machine that "
            f"others shared; medians of {args.rounds}.",
            "",
            markdown(header, rows),
        ]
    )
    save("pictures" if args.size == "full" else "pictures_tiny", text)


if __name__ == "__main__":
    main()
