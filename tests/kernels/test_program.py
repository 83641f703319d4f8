"""The one program: the bits of its parts, one trace, one read of the volumes."""

import jax
import numpy as np
import pytest


def draw(seed, shape=(3, 12, 11, 10)):
    rng = np.random.default_rng(seed)
    p = rng.random(shape, dtype=np.float32) ** 4
    return p, rng.random(shape) < p, rng.random(shape) < 0.8


OPTIONS = {"n_bins": 20, "n_soft_bins": 10}


@pytest.mark.parametrize("masked", [False, True])
def test_the_program_has_the_bits_of_its_parts(masked):
    from coverax import kernels

    p, y, valid = draw(0)
    valid = valid if masked else None
    got = kernels.score_batch(p, y, (0.1, 0.29), valid=valid, **OPTIONS)
    flat = [None if a is None else a.reshape(3, -1) for a in (p, y, valid)]
    want = (
        kernels.sizes(flat[1], valid=flat[2]),
        kernels.critical_probability(p, y, (0.1, 0.29), valid=valid),
        kernels.bin_statistics(p, y, 20, valid=valid),
        kernels.soft_bin_statistics(p, y, 10, valid=valid),
    )
    for a, b in zip(jax.tree.leaves(got[:4]), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = kernels.proper_scores(p, y, valid=valid)
    for a, b in zip(got.proper, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_what_is_not_asked_is_not_computed():
    from coverax import kernels

    p, y, _ = draw(1)
    got = kernels.score_batch(p, y, (), n_bins=0, proper=False)
    assert got[1:] == (None, None, None, None)
    np.testing.assert_array_equal(got.sizes.n_foreground, y.reshape(3, -1).sum(1))


def test_one_trace_a_shape_and_one_call_of_the_program(monkeypatch):
    from coverax import kernels
    from coverax.kernels import program

    traced = []

    def counted(p, y, valid, plan):
        traced.append(plan)
        return kernels.sizes(y, valid=valid)

    monkeypatch.setitem(program.PARTS, "sizes", counted)
    shape = (2, 7, 6, 13)
    for seed in range(3):
        p, y, _ = draw(seed, shape)
        kernels.score_batch(p, y, (0.25,), **OPTIONS)
    assert len(traced) == 1
    p, y, _ = draw(9, shape)
    with jax.no_tracing(True):
        kernels.score_batch(p, y, (0.25,), **OPTIONS)


def test_inputs_on_the_device_stay_there():
    from coverax import kernels

    p, y, _ = draw(2)
    on_device = jax.device_put((p, y))
    kernels.score_batch(*on_device, (0.1,), **OPTIONS)  # compiled
    with jax.transfer_guard("disallow"):
        got = kernels.score_batch(*on_device, (0.1,), **OPTIONS)
    np.testing.assert_array_equal(
        got.bins.count, kernels.bin_statistics(p, y, 20).count
    )
