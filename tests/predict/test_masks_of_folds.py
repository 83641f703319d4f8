"""Sets from folds, voxel by voxel, against the mean of p-values written out."""

import numpy as np
import pytest
from tests.bags import with_column
from tests.sets_cohort import blobs

import coverax as cx
from coverax.calibrate import calibrate_fold_sets
from coverax.predict import fold_masks

TRANSFORMS = ["inner=identity", "outer=identity"]


def cohort(sizes, levels, engine="host"):
    """Scores of folds of these sizes, and one map a fold of a new case."""
    folds = np.repeat([str(k) for k in range(len(sizes))], sizes).astype(object)
    probs, labels = blobs(folds.size + len(sizes), 5, noise=0.1)
    if levels:
        probs = (np.rint(probs * levels) / levels).astype(np.float32)
    table = cx.scores.score_arrays(
        probs[: folds.size],
        labels[: folds.size],
        ["0.1"],
        transforms=TRANSFORMS,
        engine=engine,
    )
    return with_column(table, "fold", folds), probs[folds.size :]


@pytest.mark.parametrize("levels", [None, 32])
@pytest.mark.parametrize("sizes", [(7, 9, 5), (30, 30), (19, 1, 60, 4, 2)])
def test_sets_are_those_of_all_scores_counted(sizes, levels):
    """Whatever a fold alone settles, all would; ties and tiny folds included."""
    table, new = cohort(sizes, levels)
    given = new.reshape(len(sizes), -1).astype(np.float64)
    shares = {"inner": set(), "outer": set()}
    for alpha in ("0.02", "0.2", "0.5", "0.9"):
        calibration = calibrate_fold_sets(table, alpha)
        found = fold_masks(calibration, new, allow_vacuous=True)
        for side, sign in (("outer", -1), ("inner", 1)):
            own = calibration.folds.side("foreground", side)
            above = own.known.exceed(list(sign * given), own.level)
            expected = above if side == "outer" else ~above
            np.testing.assert_array_equal(found[side].ravel(), expected)
            shares[side].add(float(expected.mean()))
    # Sets of several sizes were compared, so that this can fail.
    assert all(any(0 < share < 1 for share in own) for own in shares.values())


@pytest.mark.parametrize("side", ["inner", "outer"])
def test_both_engines_calibrate_the_same_folds(side):
    """Every score of every fold, and so every set, to the bit."""
    found = []
    for engine in ("host", "device"):
        table, new = cohort((30, 30), None, engine)
        calibration = calibrate_fold_sets(table, "0.5")
        known = calibration.folds.side("foreground", side).known
        masks = fold_masks(calibration, new, allow_vacuous=True)[side]
        vote = fold_masks(cx.calibrate.calibrate_fold_crc(table, "0.2"), new)["mask"]
        found.append(b"".join(a.tobytes() for a in (*known.scores, masks, vote)))
    assert found[0] == found[1]
