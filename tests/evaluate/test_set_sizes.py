"""Sizes of sets of slices and volumes, against their definition."""

import numpy as np
import pytest
from tests.sets_cohort import blobs
from tests.synthetic import write_nifti

import coverax as cx

SPACING = (1.0, 1.5, 2.5)


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1), (9, 11, 8)])
def test_size_ratios_are_lengths_in_slices_and_in_volumes(tmp_path, shape):
    """Of an area the square root, of a volume the cube root."""
    probs, labels = blobs(8, 0, shape)
    labels[:, 0] = True  # no reference is empty
    for i in range(8):
        for kind, arrays in (("probs", probs), ("labels", labels)):
            write_nifti(tmp_path / kind / f"c{i}.nii.gz", arrays[i], SPACING)
    transforms = ["inner=identity", "outer=identity"]
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], transforms=transforms, engine="host"
    )
    found = cx.calibrate.calibrate_sets(table, "0.5", joint="each")
    cohort = cx.volumes.match_folders(tmp_path / "probs", tmp_path / "labels")
    cases = cx.evaluate.evaluate_cohort(found, cohort, engine="host").cases
    cuts = {t.side: t.value for t in found.thresholds}
    n_axes = 3 if shape[2:] == (8,) else 2
    for row, p, y in zip(cases, probs, labels, strict=True):
        for side, mask in (
            ("inner", p > cuts["inner"]),
            ("outer", p >= -cuts["outer"]),
        ):
            ratio = (mask.sum() / y.sum()) ** (1 / n_axes)
            assert row[f"{side}_size_ratio"] == pytest.approx(ratio, rel=1e-12)
            ml = mask.sum() * np.prod(SPACING) / 1000
            if n_axes == 3:
                assert row[f"{side}_ml"] == pytest.approx(ml, rel=1e-6)
