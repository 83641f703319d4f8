"""A GPU's programs, run by the interpreter: the integers of every other way."""

import jax.numpy as jnp
import numpy as np
import pytest

from coverax.kernels import curves, order, sums, tiles

VOXELS = [1, 257, tiles.SPAN + 1]


def draw(n_voxels, batch=2, seed=0):
    """Maps with edges of bins, ties, subnormal numbers and both zeros."""
    rng = np.random.default_rng(seed)
    p = rng.random((batch, n_voxels), np.float32) ** 8
    edges = np.float32(rng.integers(0, 21, p.shape) / 20)
    p = np.where(rng.random(p.shape) < 0.3, edges, p)
    special = np.array([0, -0.0, 1e-40, 2.0**-126, 1, 1.0005], np.float32)
    p = np.where(rng.random(p.shape) < 0.2, rng.choice(special, p.shape), p)
    return p.astype(np.float32), rng.random(p.shape) < 0.2


def halved_by(table):
    """Keys by a table, and two terms, one of them of both signs."""

    def columns(p, outcome, look):
        keys = (p > look(jnp.int32(0))).astype(jnp.int32) + 2 * jnp.minimum(outcome, 1)
        digits = sums.digits_of((p, p - 0.25), (4, 2))
        return jnp.where(outcome == sums.LEFT_OUT, 4, keys), digits

    return columns


@pytest.mark.parametrize("n_voxels", VOXELS)
def test_sums_by_key_are_those_of_the_masked_reductions(n_voxels):
    p, y = draw(n_voxels)
    outcome = jnp.asarray(np.where(p > 0.9, sums.LEFT_OUT, y), jnp.int8)
    p = jnp.asarray(p)
    table = np.array([0.05], np.float32)
    columns = halved_by(table)
    got = sums.tiled_sums(columns, (p, outcome), 4, 6, table, interpret=True)

    def look(places):
        return jnp.asarray(table)[places]

    want = sums.reduce_sums(
        lambda p, o: columns(p, o, look), *sums.chunked(p, outcome), 4
    )
    np.testing.assert_array_equal(np.sum(got, axis=1), np.sum(want, axis=1))


@pytest.mark.parametrize("n_voxels", VOXELS)
@pytest.mark.parametrize("n_cuts", [1, 1024])
def test_counts_at_a_grid_are_those_of_the_scatter(n_voxels, n_cuts):
    p, y = draw(n_voxels, seed=1)
    p[0, 0] = np.nan
    valid = np.random.default_rng(2).random(p.shape) < 0.7
    for masks in ((y,), (y, valid)):
        arrays = [jnp.asarray(a) for a in (p, *masks)]
        got = curves.tiled_grid(n_cuts, *arrays, interpret=True)
        np.testing.assert_array_equal(got, curves.scattered_grid(n_cuts, *arrays))


@pytest.mark.parametrize("n_voxels", VOXELS)
def test_order_statistics_by_digits_are_elements_of_the_map(n_voxels):
    p, mask = draw(n_voxels, batch=3, seed=3)
    p[1] = -p[1]  # keys of both signs
    p[2, : n_voxels // 2] = np.nan  # of voxels that are not masked
    mask[2, : n_voxels // 2] = False
    ranks = np.stack([np.arange(1, 5)] * 3).astype(np.int32)
    ranks[:, 1] = np.maximum(1, mask.sum(axis=1))
    values = jnp.asarray(p)
    got = order.by_digits(values, jnp.asarray(mask), jnp.asarray(ranks), interpret=True)
    for case in range(3):
        n = int(mask[case].sum())
        ordered = order.positive_zero(jnp.asarray(np.sort(p[case][mask[case]])))
        for rank, found in zip(ranks[case], np.asarray(got[case]), strict=True):
            if rank <= n:
                assert found.tobytes() == np.asarray(ordered[rank - 1]).tobytes()


def test_a_gpu_takes_its_own_way_where_places_fit():
    assert tiles.fits(1)
    assert tiles.fits(2**30, tiles.MOST_KEYS)
    assert not tiles.fits(2**31)
    assert not tiles.fits(0)
    assert not tiles.fits(1, tiles.MOST_KEYS + 1)
