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


@given(seed=st.integers(0, 2**32 - 1))
def test_subnormal_probabilities_are_above_zero(seed):
    """A softmax in float32 holds them; a device that flushes them must not decide so."""
    rng = np.random.default_rng(seed)
    values = np.array([0, 1e-45, 1e-42, 1e-39, 1.2e-38], np.float32)
    probs = rng.choice(values, (4, 12))
    labels = rng.random(probs.shape) < 0.5
    cuts = np.tile(values, (4, 1))
    for name, arguments in (
        ("overlap_counts", (probs, labels, cuts)),
        ("cut_counts", (probs, labels, values)),
        ("inner_score", (probs, labels)),
        ("outer_score", (probs, labels)),
        ("outer_score", (-probs, labels)),
    ):
        device, on_host = (getattr(o, name)(*arguments) for o in (cx.kernels, cx.host))
        # As bits: a comparison of floats might flush too.
        for a, b in zip(np.atleast_2d(device), np.atleast_2d(on_host), strict=True):
            assert (
                np.asarray(a).tobytes() == np.asarray(b, np.asarray(a).dtype).tobytes()
            )
    expected = (probs[:, None] >= values[:, None]).sum(2)
    found = cx.kernels.cut_counts(probs, labels, values).n_predicted
    np.testing.assert_array_equal(found, expected)
