"""Label maps of sets: certain, uncertain, excluded, and what contradicts itself."""

import numpy as np

import coverax as cx
from coverax.predict.sets import side_masks
from coverax.scores import View
from coverax.volumes import FOREGROUND


def test_a_voxel_of_the_inner_set_off_the_outer_one_is_uncertain():
    """Where maps tell all apart the thresholds cross, and both promises cannot hold."""
    rng = np.random.default_rng(0)
    labels = rng.random((20, 40)) < 0.4
    probs = (0.3 * rng.random(labels.shape) + 0.6 * labels).astype(np.float32)
    table = cx.scores.score_arrays(
        probs,
        labels,
        ["0.1"],
        transforms=["inner=identity", "outer=identity"],
        engine="host",
    )
    found = cx.calibrate.calibrate_sets(table, "0.2", joint="each")
    new = np.linspace(0, 1, 50, dtype=np.float32)
    view = View(FOREGROUND, new, np.zeros(50, bool), None, None)
    masks = side_masks(found, view)
    inner = new > found.threshold_of("foreground", "inner").value
    outer = new >= -found.threshold_of("foreground", "outer").value
    expected = np.where(inner & outer, 2, np.where(inner | outer, 1, 0))
    np.testing.assert_array_equal(masks.files[""], expected)
    np.testing.assert_array_equal(masks.files["_inner"], inner)
    np.testing.assert_array_equal(masks.files["_outer"], outer)
    assert masks.entry["n_contradictory"] == (inner & ~outer).sum() > 0
