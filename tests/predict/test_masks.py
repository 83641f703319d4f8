"""The mask at a cut: an element of the map belongs to its own mask."""

import numpy as np
import pytest

import coverax as cx


@pytest.mark.parametrize("tolerance", ["0", "0.1", "0.3"])
def test_the_mask_at_its_own_critical_probability_misses_exactly_the_allowed(tolerance):
    rng = np.random.default_rng(0)
    probs = rng.permutation(1000).astype(np.float32).reshape(1, 10, 10, 10) / 1000
    labels = rng.random(probs.shape) < 0.2
    cut = float(cx.host.critical_probability(probs, labels, [tolerance])[0, 0])
    mask = cx.predict.threshold_mask(probs, cut)
    allowed = int(labels.sum() * 10 * float(tolerance)) // 10
    assert np.count_nonzero(labels & ~mask) == allowed


def test_infinite_cuts_take_everything_and_nothing():
    probs = np.array([0.0, 0.5, 1.0], np.float32)
    assert cx.predict.threshold_mask(probs, -np.inf).all()
    assert not cx.predict.threshold_mask(probs, np.inf).any()
    assert cx.predict.threshold_mask(probs, 0.0).all()
