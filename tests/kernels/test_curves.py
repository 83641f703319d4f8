"""Counts at many cuts against comparison with each, on both engines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coverax import host, kernels

OPS = {"host": host, "device": kernels}


def by_comparison(probs, labels, cuts, valid):
    mask = (probs[:, None] >= cuts[:, None]) & valid[:, None]  # [batch, cuts, voxels]
    return mask.sum(2), (mask & labels[:, None]).sum(2)


def batch_of(seed, *, edges):
    rng = np.random.default_rng(seed)
    if (
        edges
    ):  # on the cuts, beside them, the ends, and an overshoot that counts nowhere
        k = rng.integers(0, 17, (3, 40)) / 16
        probs = np.nextafter(k, rng.integers(-1, 2, k.shape), dtype=np.float32)
        probs = np.where(rng.random(k.shape) < 0.5, k, probs).astype(np.float32)
        probs[(probs < 0) & (probs > -1e-30)] = 0  # XLA flushes these to 0
        probs[rng.random(k.shape) < 0.05] = -1e-4
    else:
        probs = rng.random((3, 40), np.float32)
    return probs, rng.random(probs.shape) < 0.3, rng.random(probs.shape) < 0.8


@given(seed=st.integers(0, 2**32 - 1), edges=st.booleans(), padded=st.booleans())
@pytest.mark.parametrize("engine", ["host", "device"])
def test_grid_counts_are_comparisons(engine, seed, edges, padded):
    probs, labels, valid = batch_of(seed, edges=edges)
    valid = valid if padded else np.ones_like(valid)
    found = OPS[engine].grid_counts(probs, labels, 16, valid=valid if padded else None)
    cuts = np.arange(16, dtype=np.float32) / 16
    expected = by_comparison(probs, labels, cuts, valid)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


@given(seed=st.integers(0, 2**32 - 1), padded=st.booleans())
@pytest.mark.parametrize("engine", ["host", "device"])
def test_cut_counts_are_comparisons(engine, seed, padded):
    probs, labels, valid = batch_of(seed, edges=True)
    valid = valid if padded else np.ones_like(valid)
    cuts = np.unique(np.append(probs[0, :9], [0, np.inf])).astype(np.float32)
    cuts = np.resize(cuts, 12)
    cuts.sort()
    found = OPS[engine].cut_counts(probs, labels, cuts, valid=valid if padded else None)
    expected = by_comparison(probs, labels, cuts, valid)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(a), b)


def test_a_grid_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two, got 1000"):
        kernels.grid_counts(np.zeros((1, 3), np.float32), np.zeros((1, 3), bool), 1000)
