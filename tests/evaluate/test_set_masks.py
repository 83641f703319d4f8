"""What is said of sets, against the masks themselves: sizes, coverage, the curve."""

import numpy as np
import pytest
from tests.sets_cohort import blobs
from tests.synthetic import forgetful, write_nifti

import coverax as cx
from coverax.rational import check_level

SPACING = (1.0, 1.5, 2.5)
TRANSFORMS = ["inner=identity", "outer=identity"]


def cohort_of(folder, n, shape):
    """Blobs, their score table, and a cohort of their files."""
    probs, labels = blobs(n, 0, shape)
    labels[:, 0] = True  # no reference is empty
    for i in range(n):
        for kind, arrays in (("probs", probs), ("labels", labels)):
            write_nifti(folder / kind / f"c{i:02d}.nii.gz", arrays[i], SPACING)
    cohort = cx.volumes.match_folders(folder / "probs", folder / "labels")
    table = cx.scores.score_arrays(
        probs, labels, ["0.1"], transforms=TRANSFORMS, engine="host"
    )
    return probs, labels, table, cohort


@pytest.mark.parametrize("shape", [(9, 11), (9, 11, 1), (9, 11, 8)])
def test_size_ratios_are_lengths_in_slices_and_in_volumes(tmp_path, shape):
    """Of an area the square root, of a volume the cube root."""
    probs, labels, table, cohort = cohort_of(tmp_path, 8, shape)
    found = cx.calibrate.calibrate_sets(table, "0.5", joint="each")
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


@pytest.mark.parametrize("joint", ["each", "bonferroni"])
def test_coverage_sizes_and_curve_are_those_of_the_masks(tmp_path, joint):
    """On the very cases that calibrated: one of them always lies on the threshold."""
    n = 24
    probs, labels, table, cohort = cohort_of(tmp_path, n, (9, 11, 8))
    found = forgetful(cx.calibrate.calibrate_sets(table, "0.2", joint=joint))
    result = cx.evaluate.evaluate_cohort(found, cohort, engine="host")
    scores = {
        side: table.side_scores(table.side_transform(side))
        for side in ("inner", "outer")
    }

    def sets_at(alpha):
        own = check_level("alpha", alpha) / (1 if joint == "each" else 2)
        cuts = [cx.calibrate.split_threshold(s, own) for s in scores.values()]
        return probs > cuts[0], probs >= -cuts[1]

    inner, outer = sets_at("0.2")
    voxel_ml = np.prod(SPACING) / 1000
    for i, row in enumerate(result.cases):
        y, small, large = labels[i], inner[i], outer[i]
        assert row["inner_covered"] == (not (small & ~y).any())
        assert row["outer_covered"] == (not (y & ~large).any())
        assert row["joint_covered"] == (row["inner_covered"] and row["outer_covered"])
        assert row["inner_missed_voxels"] == (y & ~small).sum()
        assert row["outer_excess_voxels"] == (large & ~y).sum()
        uncertain = (int(large.sum()) - int(small.sum())) * voxel_ml
        assert row["uncertain_ml"] == pytest.approx(uncertain, rel=1e-6)
        assert row["inner_ml"] == pytest.approx(small.sum() * voxel_ml, rel=1e-6)
    axes = (1, 2, 3)
    for point in result.summary.results[0].fcr:
        alpha = str(point.alpha)
        inner, outer = sets_at(alpha)
        failed = [(inner & ~labels).any(axes), (labels & ~outer).any(axes)]
        assert point.inner == failed[0].mean()
        assert point.outer == failed[1].mean()
        assert point.joint == (failed[0] | failed[1]).mean()
        level = check_level("alpha", alpha) / (1 if joint == "each" else 2)
        rank = cx.calibrate.conformal_rank(n, level)
        low, high = cx.calibrate.compliance_band(n, rank, n)
        assert point.inner_band == [1 - high, 1 - low]


@pytest.mark.parametrize(("joint", "lawful"), [("each", "inner"), ("max", "joint")])
def test_the_law_is_that_of_the_score_that_was_calibrated(tmp_path, joint, lawful):
    _, _, table, cohort = cohort_of(tmp_path, 19, (9, 11))
    found = forgetful(cx.calibrate.calibrate_sets(table, "0.2", joint=joint))
    new = cx.volumes.Cohort(cohort.cases[:7], {})
    (result,) = cx.evaluate.evaluate_cohort(found, new, engine="host").summary.results
    rank = cx.calibrate.conformal_rank(19, "0.2")
    law = getattr(result, lawful)
    assert law.expected == rank / 20
    for band in law.band:
        ends = cx.calibrate.compliance_band(19, rank, 7, band.level)
        assert (band.low, band.high) == ends
    lawless = result.joint if joint == "each" else result.inner
    assert lawless.expected is None
