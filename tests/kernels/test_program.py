"""The one program: the bits of its parts, one trace, one read of the volumes."""

import jax
import numpy as np
import pytest


def draw(seed, shape=(3, 12, 11, 10)):
    rng = np.random.default_rng(seed)
    p = rng.random(shape, dtype=np.float32) ** 4
    return p, rng.random(shape) < p, rng.random(shape) < 0.8


def mirrored(probs, _spacing_mm, _inside, _given):
    return {"mirrored": probs[..., ::-1]}


def options():
    from coverax.kernels import SetScore

    sets = (
        SetScore("inner"),
        SetScore("outer", tolerance=0.2),
        SetScore("outer", "mirrored", cuts=(0.1, 0.5, 0.9)),
    )
    return {
        "n_bins": 20,
        "n_soft_bins": 10,
        "n_cuts": 64,
        "sets": sets,
        "maps_fn": mirrored,
        "mass": True,
    }


@pytest.mark.slow
def test_the_program_has_the_bits_of_its_parts():
    from coverax import kernels

    p, y, valid = draw(0)
    got = kernels.score_batch(p, y, (0.1, 0.29), valid=valid, **options())
    q, z, v = (a.reshape(3, -1) for a in (p, y, valid))
    mirror = p[..., ::-1].reshape(3, -1)
    cuts = np.tile(np.array([0.1, 0.5, 0.9], np.float32), (3, 1))
    critical = kernels.critical_probability(p, y, (0.1, 0.29), valid=valid)
    want = (
        kernels.sizes(z, valid=v),
        critical,
        kernels.bin_statistics(p, y, 20, valid=valid),
        kernels.soft_bin_statistics(p, y, 10, valid=valid),
        kernels.grid_counts(q, z, 64, valid=v),
        (
            kernels.inner_score(q, z, valid=v),
            kernels.outer_score(q, z, tolerance=0.2, valid=v),
            kernels.outer_score(mirror, z, valid=v),
        ),
        (kernels.overlap_counts(mirror, z, cuts, valid=v).n_predicted,),
        {"mirrored": mirror},
        kernels.mass_above(p, critical),
    )
    exact = (*got[:4], *got[5:])  # the logarithms of proper scores come below
    for a, b in zip(jax.tree.leaves(exact), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)
    alone = kernels.proper_scores(p, y, valid=valid)
    for a, b in zip(got.proper, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_host_twin_gives_the_same():
    from coverax import host, kernels

    p, y, valid = draw(1)
    y[2] = ~y[2]  # more foreground than background
    found = [
        ops.score_batch(p, y, (0.0, 0.29), valid=valid, **options())
        for ops in (host, kernels)
    ]
    for name in found[0]._fields:
        parts = [jax.tree.leaves(getattr(result, name)) for result in found]
        for a, b in zip(*parts, strict=True):
            if name in ("proper", "soft_bins"):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-5)
            else:
                np.testing.assert_array_equal(a, np.asarray(b))


def test_what_is_not_asked_is_not_computed():
    from coverax import host, kernels

    p, y, _ = draw(1)
    for ops in (host, kernels):
        got = ops.score_batch(p, y, (), n_bins=0, proper=False)
        assert got[1:] == (None, None, None, None, None, (), (), {}, None)
        np.testing.assert_array_equal(got.sizes.n_foreground, y.reshape(3, -1).sum(1))


def test_one_trace_a_shape_and_one_call_of_the_program(monkeypatch):
    from coverax import kernels
    from coverax.kernels import program

    traced = []

    def counted(volumes, plan):
        traced.append(plan)
        return kernels.sizes(volumes.mask, valid=volumes.valid)

    monkeypatch.setitem(program.PARTS, "sizes", counted)
    shape = (2, 7, 6, 13)
    for seed, tolerance in enumerate((0.25, 0.1, 0.3)):
        p, y, _ = draw(seed, shape)
        kernels.score_batch(p, y, (tolerance,), n_cuts=64)
    assert len(traced) == 1
    p, y, _ = draw(9, shape)
    with jax.no_tracing(True):
        kernels.score_batch(p, y, (0.25,), n_cuts=64)


def test_inputs_on_the_device_stay_there():
    from coverax import kernels

    p, y, _ = draw(2)
    on_device = jax.device_put((p, y))
    kernels.score_batch(*on_device, (0.1,))  # compiled
    with jax.transfer_guard("disallow"):
        terms = kernels.score_batch(*on_device, (0.1,))
    want = kernels.bin_statistics(p, y, 20).count
    np.testing.assert_array_equal(terms.bins.count, want)


def test_shapes_that_differ_are_refused():
    from coverax import host, kernels

    p, y, _ = draw(3)
    for ops in (host, kernels):
        with pytest.raises((ValueError, TypeError), match="labels"):
            ops.score_batch(p, y[:, :-1], (0.1,))
