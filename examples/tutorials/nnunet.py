"""A folder as nnU-Net writes it, small, for docs/tutorials/nnunet.md.

    python -m examples.tutorials.nnunet DIR

Writes `DIR/cal`, `DIR/test` and `DIR/new` (a softmax, its geometry and its segmentation a
case, and `dataset.json`), and `DIR/labelsCal` and `DIR/labelsTest`. The maps are made: blurred
balls with noise, of an organ and a lesion within it. About a second.
"""

import argparse
import json
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np

SHAPE, SPACING = (16, 16, 10), (1.5, 1.5, 3.0)  # x, y, z; mm
PARTS = {"cal": 60, "test": 20, "new": 5}
LABELS = {"background": 0, "organ": 1, "lesion": 2}


def ball(centre: np.ndarray, radius: float) -> np.ndarray:
    """How far each voxel lies within a ball, in voxels; negative outside."""
    axes = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    square = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True))
    return radius - np.sqrt(square)


def make_case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A softmax `[class, x, y, z]` and its reference."""
    centre = np.array(SHAPE) / 2 + rng.uniform(-1.5, 1.5, 3)
    organ = ball(centre, rng.uniform(4.0, 5.0))
    lesion = ball(centre + rng.uniform(-1, 1, 3), rng.uniform(1.5, 2.5))
    labels = np.where(lesion > 0, 2, np.where(organ > 0, 1, 0)).astype(np.uint8)
    # The net is unsure at borders, and a little off.
    logits = 1.5 * np.stack([np.zeros(SHAPE), organ, organ.clip(None, 3) + lesion])
    logits += rng.normal(0, 0.5, logits.shape) + rng.normal(0, 0.4, (3, 1, 1, 1))
    odds = np.exp(logits - logits.max(0))
    return (odds / odds.sum(0)).astype(np.float32), labels


def write_case(folder: Path, name: str, probs: np.ndarray) -> None:
    """The softmax in the axes of nnU-Net (class, z, y, x), its geometry, its argmax."""
    np.savez_compressed(
        folder / f"{name}.npz", probabilities=probs.transpose(0, 3, 2, 1)
    )
    # SimpleITK counts in LPS, nibabel in RAS.
    about = {
        "spacing": SPACING,
        "origin": (0.0, 0.0, 0.0),
        "direction": (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0),
    }
    (folder / f"{name}.pkl").write_bytes(pickle.dumps({"sitk_stuff": about}))
    write_labels(folder, name, probs.argmax(0).astype(np.uint8))


def write_labels(folder: Path, name: str, labels: np.ndarray) -> None:
    """One label map."""
    affine = np.diag([*SPACING, 1.0])
    nib.save(nib.Nifti1Image(labels, affine), folder / f"{name}.nii.gz")


def write_folders(root: Path) -> None:
    """All folders of the tutorial."""
    rng = np.random.default_rng(0)
    for part, n in PARTS.items():
        folder, references = root / part, root / f"labels{part.capitalize()}"
        folder.mkdir(parents=True)
        content = json.dumps({"labels": LABELS, "file_ending": ".nii.gz"})
        (folder / "dataset.json").write_text(content, encoding="utf-8")
        for i in range(n):
            probs, labels = make_case(rng)
            write_case(folder, f"{part}_{i:03d}", probs)
            if part != "new":
                references.mkdir(exist_ok=True)
                write_labels(references, f"{part}_{i:03d}", labels)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, metavar="DIR")
    write_folders(parser.parse_args().root)
