"""Seeded synthetic cases: one generator for tests and benchmarks."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np


def lesion_mask(shape, n_voxels, rng):
    """About `n_voxels` voxels nearest to a random centre."""
    centre = [rng.uniform(0.3, 0.7) * n for n in shape]
    grids = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    distance = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
    radius = np.partition(distance.ravel(), n_voxels - 1)[n_voxels - 1]
    return distance <= radius


def case(shape, n_voxels, rng, *, dtype=np.float32):
    """A dense noisy probability map and its lesion mask."""
    mask = lesion_mask(shape, n_voxels, rng)
    logits = rng.standard_normal(shape, dtype=np.float32) - 3
    logits[mask] += rng.uniform(3, 6)
    return (1 / (1 + np.exp(-logits))).astype(dtype), mask


def write_nifti(path: Path, array, spacing_mm=(1.0, 1.0, 1.0)) -> Path:
    """Write an array as the fields' tools do, through nibabel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = array.astype(np.uint8) if array.dtype == bool else array
    affine = np.diag([*map(float, (*spacing_mm, 1.0)[:3]), 1.0])
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


def write_cohort(folder: Path, n_cases, shape, n_voxels, seed=0, prefix="case"):
    """Two folders of matching files; returns them."""
    rng = np.random.default_rng(seed)
    for i in range(n_cases):
        probs, mask = case(shape, n_voxels, rng)
        write_nifti(folder / "probs" / f"{prefix}_{i:03d}.nii.gz", probs)
        write_nifti(folder / "labels" / f"{prefix}_{i:03d}.nii.gz", mask)
    return folder / "probs", folder / "labels"


def assert_same_columns(table, other, but=()):
    """Two score tables hold the same values, to the bit and the type."""
    assert list(table.columns) == list(other.columns)
    for name in table.columns:
        if name not in but:
            ours, theirs = table.column(name), other.column(name)
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(
                np.stack(list(ours)), np.stack(list(theirs)), err_msg=name
            )


def forgetful(calibration):
    """A calibration that has seen nothing: its own cases are then as good as new ones."""
    return replace(calibration, unit_digests=(), case_digests=(), map_digests=())
