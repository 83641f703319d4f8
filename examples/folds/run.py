"""Five folds of a small model on hippocampi: what is promised, and what happened.

python examples/folds/hippocampus.py IMAGES LABELS OUT      (two folders of .nii.gz)

The model is a logistic regression on intensities and positions, which trains in
seconds: maps of a net would be better, and the flow the same. 60 patients are held out;
of the other 200 each is in one of five folds. Beside the folds stands the split that
gives up 40 % of the 200 to calibrate one model trained on the others.
"""

import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

import coverax as cx
from coverax.scores import ScoreDefinition, parse_transforms, score_cohort
from coverax.volumes import match_folders, nifti_files, parse_region, read_cohort

N_HELD_OUT, N_FOLDS, N_VOXELS = 60, 5, 3000
TRANSFORMS = ["inner=surface", "outer=surface"]  # margins in mm
REGION = parse_region("hippocampus=0:1,2")


def features(image):
    """Standardised intensities and positions, and their products of two: `[voxels, k]`."""
    x = np.asarray(image, np.float32)
    x = (x - x.mean()) / x.std()
    own = [x, gaussian_filter(x, 1), gaussian_filter(x, 2.5)]
    own.append(gaussian_gradient_magnitude(x, 1))
    own += np.meshgrid(*[np.linspace(-1, 1, n) for n in x.shape], indexing="ij")
    flat = np.stack([f.ravel() for f in own], 1).astype(np.float32)
    i, j = np.triu_indices(flat.shape[1])
    place = flat[:, 4:]
    cubes = place[:, :, None] * (place[:, i[-6:] - 4] * place[:, j[-6:] - 4])[:, None]
    cubes = cubes.reshape(len(flat), -1)
    return np.hstack(
        [np.ones((len(flat), 1), np.float32), flat, flat[:, i] * flat[:, j], cubes]
    )


def fit(x, y, steps=12, ridge=1.0):
    """Logistic regression by Newton's steps."""
    w = np.zeros(x.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(x @ w)))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(w))
        w += np.linalg.solve(hessian, x.T @ (y - p) - ridge * w)
    return w


class Model:
    """One model of some patients."""

    def __init__(self, samples, cases):
        self.weights = fit(
            *(np.concatenate(s) for s in zip(*map(samples.get, cases), strict=True))
        )

    def write(self, path, image):
        """Write the map of an image on its grid."""
        odds = features(np.asanyarray(image.dataobj)) @ self.weights
        probs = (1 / (1 + np.exp(-odds))).astype(np.float32).reshape(image.shape)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(probs, image.affine), path)


def sample(images, labels, case, seed):
    """Some voxels of a patient, with their reference."""
    x = features(np.asanyarray(nib.load(images[case]).dataobj))
    y = np.asanyarray(nib.load(labels[case]).dataobj).ravel() > 0
    chosen = np.random.default_rng(seed).choice(len(y), N_VOXELS, replace=False)
    return x[chosen].astype(np.float64), y[chosen].astype(np.float64)


def write_maps(images, labels, out):
    """Maps of five folds and of one split; returns the cases of each part."""
    order = np.random.default_rng(2026).permutation(
        sorted(images.keys() & labels.keys())
    )
    order = order.tolist()
    held_out, rest = order[:N_HELD_OUT], order[N_HELD_OUT:]
    samples = {c: sample(images, labels, c, i) for i, c in enumerate(rest)}
    rows = ["case_id,probs,labels,fold"]
    for fold in range(N_FOLDS):
        mine = rest[fold::N_FOLDS]
        model = Model(samples, [c for c in rest if c not in mine])
        for case in mine:
            model.write(out / "oof" / f"{case}.nii.gz", nib.load(images[case]))
            rows.append(f"{case},oof/{case}.nii.gz,{labels[case].resolve()},{fold}")
        for case in held_out:
            model.write(out / f"new_{fold}" / f"{case}.nii.gz", nib.load(images[case]))
    (out / "folds.csv").write_text("\n".join(rows) + "\n")
    n_cal = int(0.4 * len(rest))
    model = Model(samples, rest[n_cal:])
    rows = ["case_id,probs,labels"]
    for case in rest[:n_cal]:
        model.write(out / "cal" / f"{case}.nii.gz", nib.load(images[case]))
        rows.append(f"{case},cal/{case}.nii.gz,{labels[case].resolve()}")
    for case in held_out:
        model.write(out / "new" / f"{case}.nii.gz", nib.load(images[case]))
    (out / "split.csv").write_text("\n".join(rows) + "\n")
    for case in held_out:
        path = out / "new_labels" / labels[case].name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(labels[case].resolve())


def main(images_dir, labels_dir, out):
    """Train, calibrate on folds and on a split, evaluate both on the same patients."""
    images, labels = nifti_files(images_dir), nifti_files(labels_dir)
    write_maps(images, labels, out)
    definition = ScoreDefinition(
        (REGION,), (0.1,), transforms=parse_transforms(TRANSFORMS)
    )
    folds, split = (
        score_cohort(read_cohort(out / name), definition)
        for name in ("folds.csv", "split.csv")
    )
    cal, held_out = cx.calibrate, out / "new_labels"
    maps = [nifti_files(out / f"new_{k}") for k in range(N_FOLDS)]
    whole = match_folders(out / "new_0", held_out)
    one = match_folders(out / "new", held_out)
    rows = [("method", "promise", "from", "happened", "volume, mL")]
    for name, promise, ours, theirs in (
        (
            "sets, both sides",
            ">= .80",
            cal.calibrate_fold_sets(folds, "0.2"),
            cal.calibrate_sets(split, "0.2"),
        ),
        (
            "fnr, tolerance .1",
            ">= .90",
            cal.calibrate_fold_fnr(folds, "0.1"),
            cal.calibrate_fnr(split, "0.1"),
        ),
        (
            "crc, mean FNR",
            "<= .10",
            cal.calibrate_fold_crc(folds, "0.1"),
            cal.calibrate_crc(split, "0.1"),
        ),
    ):
        found = cx.evaluate.evaluate_folds(ours, whole, maps)
        rows.append((name, promise, "5 folds of 40", *what_happened(found)))
        found = cx.evaluate.evaluate_cohort(theirs, one)
        rows.append(("", promise, "split, 80", *what_happened(found)))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    with (out / "figures.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def what_happened(evaluation):
    """Coverage or risk on the held-out patients, and the size of what was marked."""
    (result,) = evaluation.summary["results"]
    if "joint" in result:
        inner, outer = (result[s][f"{s}_ml"] for s in ("inner", "outer"))
        return f"{result['joint']['coverage']:.3f}", f"{inner:.2f} to {outer:.2f}"
    own = result["calibrated"]
    share = own["ecr"] if own["ecr"] is not None else own["fnr_mean"]
    return f"{share:.3f}", f"{own['volume_ml']:.2f}"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
