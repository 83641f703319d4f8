"""Tiny cohorts under the names that the pages give to a reader's own data."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
from examples.tutorials import nnunet

from tests import bids_files
from tests.sets_cohort import blobs

N, N_NEW = 24, 10
SPACING = (1.0, 1.0, 2.0)


def _write(folder: Path, arrays, names) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(names, arrays, strict=True):
        values = array.astype(np.uint8) if array.dtype.kind in "bi" else array
        image = nib.Nifti1Image(values, np.diag([*SPACING, 1.0]))
        nib.save(image, folder / f"{name}.nii.gz")


def _softmax(probs, labels, rng):
    """Three classes of which the blob has two, and the labels 0, 1, 2."""
    share = rng.uniform(0.3, 0.7, probs.shape).astype(np.float32)
    maps = np.stack([1 - probs, probs * share, probs * (1 - share)], -1)
    half = rng.random(labels.shape) < 0.5
    return maps.astype(np.float32), np.where(labels, 1 + half, 0)


def _rows(path: Path, columns, rows) -> None:
    lines = [",".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _cohort(root: Path, part: str, names) -> None:
    """`PART.csv`: paths, a unit and a group each."""
    rows = [
        (
            c,
            *(root / part / k / f"{c}.nii.gz" for k in ("maps", "labels")),
            c,
            "AB"[i % 2],
        )
        for i, c in enumerate(names)
    ]
    _rows(root / f"{part}.csv", ("case_id", "probs", "labels", "unit", "group"), rows)


def make_world(root: Path) -> Path:
    """Everything that pages speak of, made once."""
    rng = np.random.default_rng(0)
    for seed, (part, n) in enumerate({"cal": N, "new": N_NEW, "learn": N}.items()):
        names = [f"{part}{i:02d}" for i in range(n)]
        probs, labels = blobs(n, seed)
        _write(root / part / "maps", probs, names)
        _write(root / part / "labels", labels, names)
        _write(root / part / "images", labels + rng.normal(0, 0.2, labels.shape), names)
        _cohort(root, part, names)
        softmax, classes = _softmax(probs, labels, rng)
        _write(root / part / "softmax", softmax, names)
        _write(root / part / "classes", classes, names)
        for reader in ("ANNA", "BEN"):
            seen = labels ^ (probs > 0.45) & (rng.random(labels.shape) < 0.1)
            _write(root / part / "readers" / reader, seen, names)
    _pairs(root)
    _rated(root)
    for part, name in (("cal", "visits"), ("new", "new_visits")):
        _visits(root, part, name)
    nnunet.write_folders(root / "nnunet")
    _folds(root / "nnunet")
    _bids(root / "bids")
    _made(root)
    return root


def _folds(root: Path) -> None:
    """The cases that calibrate as the validation of three folds of one model."""
    for i, path in enumerate(sorted((root / "cal").glob("*.npz"))):
        fold = root / "model" / f"fold_{i % 3}" / "validation"
        fold.mkdir(parents=True, exist_ok=True)
        for each in (root / "cal").glob(f"{path.stem}.*"):
            shutil.copy(each, fold)
    shutil.copy(root / "cal" / "dataset.json", root / "model")


def _bids(root: Path) -> None:
    """Derivatives of a net and of a rater, and of the net for new images."""
    images = [bids_files.image_of(i) for i in range(1, 13)]
    bids_files.write_maps(root / "net", images)
    bids_files.write_references(root / "manual", images)
    bids_files.write_maps(root / "new", [bids_files.image_of(i) for i in (20, 21)])


def _made(root: Path) -> None:
    """What pages go on from: a score table, a calibration, losses of one's own."""
    from coverax.cli.app import run

    table, calibration = root / "scores.parquet", root / "calibration.json"
    score = ["score", "--cohort", str(root / "cal.csv"), "--curves", "-o", str(table)]
    assert run([*score, "--tolerance", "0.1"]) == 0
    assert run(["calibrate", str(table), "--alpha", "0.1", "-o", str(calibration)]) == 0
    for name, part in (("B", "learn"), ("C", "new")):
        scores = str(root / f"{name}.parquet")
        assert run(["score", "--cohort", str(root / f"{part}.csv"), "-o", scores]) == 0
        assert run(["summarise", scores, "-o", str(root / f"{name}.json")]) == 0
    folder = root / "results"
    (folder / "calibration").mkdir(parents=True)
    shutil.copy(calibration, folder / "calibration")
    shutil.copy(table, folder / "calibration")
    evaluate = ["evaluate", str(calibration), "--cohort", str(root / "new.csv")]
    assert run([*evaluate, "-o", str(folder / "evaluation")]) == 0
    validate = ["validate", str(table), "--alpha", "0.1"]
    assert run([*validate, "-o", str(folder / "validation")]) == 0
    rows = [(f"cal{i:02d}", 0, 0.05, 0.5) for i in range(N)]
    _rows(root / "mine.csv", ("case_id", 0, 0.5, 1), rows)


def _rated(root: Path) -> None:
    """The cases that calibrate and the new ones, with a confidence of one's own."""
    for part, name in (("cal", "rated"), ("new", "new_rated")):
        lines = (root / f"{part}.csv").read_text().splitlines()
        rows = [f"{line},{i * 7 % 10}" for i, line in enumerate(lines[1:])]
        (root / f"{name}.csv").write_text("\n".join([f"{lines[0]},quality", *rows]))


def _visits(root: Path, part: str, name: str) -> None:
    """The cases of a part as pairs of visits, the later one first in every other pair."""
    lines = (root / f"{part}.csv").read_text().splitlines()[1:]
    rows = [
        (*line.split(",")[:3], f"u{i // 2}", f"M{6 * ((i + i // 2) % 2):02}")
        for i, line in enumerate(lines[: len(lines) // 2 * 2])
    ]
    _rows(root / f"{name}.csv", ("case_id", "probs", "labels", "unit", "visit"), rows)


def _pairs(root: Path) -> None:
    """`lesions.csv`: two cases a patient; `classes.csv`: maps of three classes."""
    names = [f"cal{i:02d}" for i in range(N)]
    for kind, maps, labels in (
        ("lesions", "maps", "labels"),
        ("classes", "softmax", "classes"),
    ):
        rows = [
            (
                c,
                root / "cal" / maps / f"{c}.nii.gz",
                root / "cal" / labels / f"{c}.nii.gz",
                f"p{i // 2}" if kind == "lesions" else c,
            )
            for i, c in enumerate(names)
        ]
        _rows(root / f"{kind}.csv", ("case_id", "probs", "labels", "unit"), rows)


# A name of the pages -> where it lies in the world.
NAMES = {
    "maps": "cal/maps",
    "labels": "cal/labels",
    "readers": "cal/readers",
    "cal/probs": "cal/maps",
    "cal/labels": "cal/labels",
    "new/probs": "new/maps",
    "new/maps": "new/maps",
    "new_maps": "new/maps",
    "test/probs": "new/maps",
    "test/maps": "new/maps",
    "test/labels": "new/labels",
    "test/images": "new/images",
    "test/readers": "new/readers",
    "MAPS": "new/maps",
    "NEW": "new/maps",
    "REFERENCES": "new/labels",
    "scores.parquet": "scores.parquet",
    "calibration.json": "calibration.json",
    "mine.csv": "mine.csv",
    "B.json": "B.json",
    "C.json": "C.json",
    **dict.fromkeys(("first.parquet", "before.parquet"), "scores.parquet"),
    **dict.fromkeys(("second.parquet", "after.parquet"), "scores.parquet"),
    "cohort.csv": "cal.csv",
    "cal.csv": "cal.csv",
    "calibration.csv": "cal.csv",
    "scans.csv": "cal.csv",
    "rated.csv": "rated.csv",
    "new_rated.csv": "new_rated.csv",
    "visits.csv": "visits.csv",
    "new_visits.csv": "new_visits.csv",
    "learn.csv": "learn.csv",
    "lesions.csv": "lesions.csv",
    "heldout.csv": "new.csv",
    "held_out.csv": "new.csv",
    "new_scans.csv": "new.csv",
}
# Pages that mean something else by a name.
SOFTMAX = {
    "maps": "cal/softmax",
    "labels": "cal/classes",
    "references": "cal/classes",
    "new/maps": "new/softmax",
    "fit.csv": "classes.csv",
}
OWN = {
    "docs/monai.md": SOFTMAX,
    "docs/reliability.md": SOFTMAX,
    "docs/report.md": {
        name: f"results/{name}" for name in ("calibration", "evaluation", "validation")
    },
    "docs/bids.md": {
        "derivatives/net": "bids/net",
        "derivatives/manual": "bids/manual",
        "new/derivatives/net": "bids/new",
    },
    "docs/folds.md": {
        "RESULTS": "nnunet/model",
        "LABELS": "nnunet/labelsCal",
        **dict.fromkeys(("NEW_0", "NEW_1", "NEW_2"), "nnunet/test"),
        "NEW_LABELS": "nnunet/labelsTest",
    },
    "docs/nnunet.md": {
        "results": "nnunet/cal",
        "new": "nnunet/new",
        "test": "nnunet/test",
        "labelsCal": "nnunet/labelsCal",
        "labelsTest": "nnunet/labelsTest",
    },
}


def lay(word: str, page: str, world: Path, here: Path) -> None:
    """Put what a word names into the page's folder, unless it is there."""
    place = (NAMES | OWN.get(page, {})).get(word)
    if place is not None and not (here / word).exists():
        (here / word).parent.mkdir(parents=True, exist_ok=True)
        (here / word).symlink_to(world / place)
