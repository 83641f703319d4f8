"""Voxel counts: kernel and host agree, padding and infinite cuts included."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import coverax as cx


@given(seed=st.integers(0, 2**32 - 1), masked=st.booleans())
def test_counts_equal_a_plain_count(seed, masked):
    rng = np.random.default_rng(seed)
    probs = rng.choice(np.array([0, 0.25, 0.5, 1], np.float32), (3, 40))
    labels = rng.random((3, 40)) < 0.3
    valid = rng.random((3, 40)) < 0.8 if masked else None
    cuts = np.array([[0.5, np.inf], [-np.inf, 0.25], [0.0, 0.3]], np.float32)
    counted = np.ones((3, 40), bool) if valid is None else valid
    for ops in (cx.kernels, cx.host):
        sizes = ops.sizes(labels, valid=valid)
        overlap = ops.overlap_counts(probs, labels, cuts, valid=valid)
        for i in range(3):
            assert sizes.n_voxels[i] == counted[i].sum()
            assert sizes.n_foreground[i] == (labels[i] & counted[i]).sum()
            for k in range(2):
                mask = (probs[i] >= cuts[i, k]) & counted[i]
                assert overlap.n_predicted[i, k] == mask.sum()
                assert overlap.n_true_positive[i, k] == (mask & labels[i]).sum()
