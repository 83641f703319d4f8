"""Folders as nnU-Net writes them, small, with the truth known."""

import itertools
import json
import pickle

import nibabel as nib
import numpy as np

LABELS = {"background": 0, "organ": 1, "lesion": 2}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}
OBLIQUE = np.array(
    [
        [-0.7, 0.0, 0.35, 12.0],
        [0.0, 0.8, 0.0, -7.5],
        [0.1, 0.0, 2.45, 3.0],
        [0, 0, 0, 1],
    ]
)
SHAPE = (7, 6, 5)


def softmax(seed, n_classes=3, shape=SHAPE):
    """`[class, x, y, z]`, float32: every class is the most probable one somewhere."""
    z = 3 * np.random.default_rng(seed).normal(size=(n_classes, *shape))
    e = np.exp(z - z.max(0))
    return (e / e.sum(0)).astype(np.float32)


def sigmoids(seed, n_regions=3, shape=SHAPE):
    z = 3 * np.random.default_rng(seed).normal(size=(n_regions, *shape))
    return (1 / (1 + np.exp(-z))).astype(np.float32)


def sitk_stuff(affine):
    """Spacing, origin and direction in LPS."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(0))
    return {
        "spacing": tuple(spacing.tolist()),
        "origin": tuple(lps[:3, 3].tolist()),
        "direction": tuple((lps[:3, :3] / spacing).reshape(-1).tolist()),
    }


def properties(affine, kind="sitk", canonical=None):
    """What `CASE.pkl` holds, of each of its kinds."""
    about = {
        "spacing": [np.float64(1.0)] * 3,
        "shape_before_cropping": SHAPE[::-1],
        "bbox_used_for_cropping": [[0, n] for n in SHAPE[::-1]],
        "class_locations": {1: np.arange(12).reshape(3, 4), (1, 2): []},
    }
    if kind == "sitk":
        return about | {"sitk_stuff": sitk_stuff(affine)}
    stuff = {"original_affine": affine}
    if kind == "reorient":
        stuff["reoriented_affine"] = canonical
    return about | {"nibabel_stuff": stuff}


def write_pickle(path, content, numpy_1=False):
    data = pickle.dumps(content, protocol=3 if numpy_1 else 4)
    if numpy_1:
        data = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    path.write_bytes(data)


def write_case(
    folder,
    case_id,
    probs,
    affine=OBLIQUE,
    *,
    kind="sitk",
    key="probabilities",
    save=np.savez_compressed,
    segmentation=None,
    numpy_1=False,
):
    """`CASE.npz`, `CASE.pkl` and the segmentation, the argmax where none is given."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = probs.argmax(0).astype(np.uint8) if segmentation is None else segmentation
    nib.save(nib.Nifti1Image(labels, affine), folder / f"{case_id}.nii.gz")
    canonical, seen = affine, probs
    if kind == "reorient":
        image = nib.Nifti1Image(np.moveaxis(probs, 0, -1), affine)
        turned = nib.as_closest_canonical(image)
        canonical = turned.affine
        seen = np.moveaxis(np.asarray(turned.dataobj), -1, 0)
    save(folder / f"{case_id}.npz", **{key: seen.transpose(0, 3, 2, 1)})
    about = properties(affine, kind, canonical)
    write_pickle(folder / f"{case_id}.pkl", about, numpy_1)
    return folder / f"{case_id}.npz"


def write_dataset(folder, labels=LABELS, order=None, **more):
    content = {"labels": labels, "file_ending": ".nii.gz", **more}
    if order:
        content["regions_class_order"] = order
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    plans = {"image_reader_writer": "SimpleITKIO"}
    (folder / "plans.json").write_text(json.dumps(plans), encoding="utf-8")


def write_reference(folder, case_id, labels, affine=OBLIQUE):
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(labels.astype(np.uint8), affine), folder / f"{case_id}.nii.gz"
    )


def cohort(root, n=8, labels=LABELS, order=None, **more):
    """A folder of results with `n` cases, and one of references beside it."""
    write_dataset(root / "results", labels, order, **more)
    for i in range(n):
        probs = softmax(i)
        write_case(root / "results", f"c{i}", probs)
        truth = softmax(100 + i) + probs
        write_reference(root / "labels", f"c{i}", truth.argmax(0))
    return root / "results", root / "labels"


def folds(root, n=6, n_folds=3):
    """A trained model with validated folds; case i lies in fold i modulo `n_folds`."""
    write_dataset(root)
    for i in range(n):
        write_case(root / f"fold_{i % n_folds}/validation", f"c{i}", softmax(i))
        write_reference(root / "labels", f"c{i}", softmax(i + 50).argmax(0))
        (root / f"fold_{i % n_folds}/validation/summary.json").write_text(
            '{"foreground_mean": {"Dice": NaN}}', encoding="utf-8"
        )
    splits = [
        {"train": [], "val": [f"c{i}" for i in range(k, n, n_folds)]}
        for k in range(n_folds)
    ]
    (root / "splits_final.json").write_text(json.dumps(splits), encoding="utf-8")
    return root, root / "labels"


def turns():
    """All whole-voxel turns of three axes: permutation and flips."""
    flips = list(itertools.product((False, True), repeat=3))
    return [(p, f) for p in itertools.permutations(range(3)) for f in flips]


def turned(volume, affine, turn):
    """The same space stored otherwise: axes exchanged, then flipped."""
    axes, flips = turn
    out = volume.transpose(axes)
    index = np.zeros((4, 4))
    index[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        index[old, new] = -1 if flip else 1
        index[old, 3] = (volume.shape[old] - 1) * flip
    steps = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
    return np.ascontiguousarray(out[steps]), affine @ index
