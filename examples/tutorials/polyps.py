"""Pictures of two axes in the manner of polyps, for docs/tutorials/polyps.md.

    python -m examples.tutorials.polyps DIR

Writes, for each of the parts `learn`, `cal`, `test` and `new`, `DIR/PART/maps` (PNG, grey of 16
bits: probability 1 is 65535) and, but for `new`, `DIR/PART/masks` (PNG, 255 where a polyp is).
Two frames a patient: `cal012_f0.png`, `cal012_f1.png`. The pictures are made: soft ellipses. About
a second; needs the extra `itk`.
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SHAPE = (48, 40)  # rows, columns
PATIENTS = {"learn": 40, "cal": 40, "test": 20, "new": 3}


def ellipse(rng: np.random.Generator) -> np.ndarray:
    """How far each pixel lies within an ellipse, about in pixels; negative outside."""
    rows, columns = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    centre = np.array(SHAPE) / 2 + rng.uniform(-5, 5, 2)
    radii, turn = rng.uniform(6, 11, 2), rng.uniform(0, np.pi)
    down, across = rows - centre[0], columns - centre[1]
    u = (down * np.cos(turn) + across * np.sin(turn)) / radii[0]
    v = (across * np.cos(turn) - down * np.sin(turn)) / radii[1]
    return radii.min() * (1 - np.hypot(u, v))


def make_frame(rng: np.random.Generator, inside: np.ndarray):
    """A probability map and a mask: the net is unsure at the border, and a little off."""
    logits = 1.2 * (inside + rng.normal(0, 0.8)) + rng.normal(0, 0.7, SHAPE)
    return 1 / (1 + np.exp(-logits)), inside > 0


def write_png(path: Path, values: np.ndarray) -> None:
    """Grey values of one or two bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))


def write_folders(root: Path) -> None:
    """All parts of the tutorial."""
    rng = np.random.default_rng(0)
    for part, n in PATIENTS.items():
        for i in range(n):
            inside = ellipse(rng)  # frames of one patient show the same polyp
            for frame in range(2):
                name = f"{part}{i:03d}_f{frame}.png"
                probs, mask = make_frame(rng, inside)
                stored = np.rint(65535 * probs).astype(np.uint16)
                write_png(root / part / "maps" / name, stored)
                if part != "new":
                    write_png(root / part / "masks" / name, np.uint8(255) * mask)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, metavar="DIR")
    write_folders(parser.parse_args().root)
