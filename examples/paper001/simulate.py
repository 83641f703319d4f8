"""Probability maps from lesion masks: five seeded stand-ins for trained networks.

A map is the mask, blurred and shifted, turned into logits with a confidence scale, an
offset that differs from case to case (some lesions are hard) and smooth noise. Offsets
are set so that the mean false-negative rate at 0.5 is near the published .49 to .58.
What is shown with these maps is the statistics of calibration, not any network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter, shift

MARGIN = 4


@dataclass(frozen=True, slots=True)
class Backbone:
    """How maps of one simulated network look.

    Attributes:
        name: Short name.
        blur: Standard deviation of the blur, in voxels.
        move: Standard deviation of the displacement, in voxels.
        scale: Logit of a sure voxel.
        offset: Mean offset of logits.
        spread: Standard deviation of the offset over cases.
        noise: Standard deviation of the noise.
    """

    name: str
    blur: float
    move: float
    scale: float
    offset: float
    spread: float
    noise: float


BACKBONES = (
    Backbone("A", 1.0, 0.5, 4.0, -3.2, 3.0, 0.5),
    Backbone("B", 1.5, 0.5, 4.0, -2.5, 3.0, 1.0),
    Backbone("C", 1.0, 1.0, 6.0, -4.3, 4.5, 0.5),
    Backbone("D", 2.0, 1.0, 3.0, -1.35, 2.0, 0.5),
    Backbone("E", 1.5, 1.5, 5.0, -3.1, 3.5, 1.5),
)


class Masks(NamedTuple):
    """Lesion masks of a cohort, each on its own crop with a margin."""

    cohort: str
    crops: list[np.ndarray]
    n_full: int


def read_masks(path: Path, most: int | None, seed: int = 0) -> Masks:
    """Unpack a cohort; `most` draws that many of its masks, by the seed."""
    with np.load(path, allow_pickle=False) as packed:
        bits, offsets, shapes = packed["packed"], packed["offsets"], packed["shapes"]
        n_full = int(np.prod(packed["full_shape"].astype(np.int64)))
    chosen = np.arange(len(shapes))
    if most is not None and most < len(chosen):
        chosen = np.sort(np.random.default_rng(seed).permutation(chosen)[:most])
    crops = []
    for i in chosen:
        size = int(np.prod(shapes[i].astype(np.int64)))
        flat = np.unpackbits(bits[offsets[i] : offsets[i + 1]])[:size]
        crops.append(np.pad(flat.reshape(shapes[i]).astype(bool), MARGIN))
    return Masks(path.stem, crops, n_full)


def probability_map(
    mask: np.ndarray, backbone: Backbone, rng: np.random.Generator
) -> np.ndarray:
    """One simulated map, float32."""
    soft = gaussian_filter(mask.astype(np.float32), backbone.blur)
    soft = shift(soft, rng.normal(0, backbone.move, mask.ndim), order=1)
    noise = gaussian_filter(rng.standard_normal(mask.shape, dtype=np.float32), 1.0)
    noise *= backbone.noise / max(float(noise.std()), 1e-6)
    offset = rng.normal(backbone.offset, backbone.spread)
    logits = backbone.scale * (2 * soft - 1) + offset + noise
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def simulate(masks: Masks, backbone: Backbone, seed: int = 0) -> list[np.ndarray]:
    """Maps of a cohort; each backbone and case has its own stream of the seed."""
    index = BACKBONES.index(backbone)
    return [
        probability_map(mask, backbone, np.random.default_rng([seed, index, i]))
        for i, mask in enumerate(masks.crops)
    ]
