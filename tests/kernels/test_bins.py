"""Hard and soft bin statistics, kernel and host twin, against the definition."""

import math
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden import golden
from tests.oracles import bins as oracle

SHAPES = ((2, 5, 4, 3), (3, 17), (1, 1), (2, 1, 9))


@pytest.fixture
def ops(engine):
    from coverax.scores import resolve_engine

    return resolve_engine(engine).ops


def draw(seed, shape, kind):
    rng = np.random.default_rng(seed)
    if kind == "edges":  # exact multiples of 1/20 and their neighbours
        k = (rng.integers(0, 21, shape) / 20).astype(np.float32)
        step = rng.integers(-1, 2, shape)
        p = np.where(step < 0, np.nextafter(k, np.float32(0)), k)
        p = np.where(step > 0, np.nextafter(k, np.float32(1)), p)
    elif kind == "ends":
        p = rng.choice(np.array([0, 0.5, 1], np.float32), shape)
    else:
        p = rng.random(shape, dtype=np.float32) ** 4
    return p.astype(np.float32), rng.random(shape) < p


@pytest.mark.parametrize("n_bins", [1, 2, 3, 10, 15, 20, 49, 100, 256, 1024])
def test_every_edge_and_its_neighbours_fall_into_the_right_bin(ops, n_bins):
    edges = np.array([np.float32(k / n_bins) for k in range(n_bins + 1)], np.float32)
    p = np.concatenate(
        [
            edges,
            np.nextafter(edges, np.float32(0)),
            np.nextafter(edges[:-1], np.float32(1)),
        ]
    )
    want = np.searchsorted(edges[1:-1], p, side="left")
    np.testing.assert_array_equal(np.asarray(ops.bin_index(p, n_bins)), want)


def test_the_bare_product_misses_edges_that_the_index_gets_right():
    """Negative control: ceil(p * B) - 1 alone is wrong for most B."""
    wrong = 0
    for n_bins in range(1, 257):
        p = (np.arange(1, n_bins + 1) / n_bins).astype(np.float32)
        bare = np.ceil(p * np.float32(n_bins)).astype(int) - 1
        wrong += bool((bare != np.arange(n_bins)).any())
    assert wrong == 173


def test_edge_indices_of_the_reference_implementation(ops):
    """Golden `edge_index`, where float32 edges and its own agree with the definition."""
    for entry in golden()["edge_index"]:
        n_bins = entry["bins"]
        p = (np.arange(n_bins + 1) / n_bins).astype(np.float32)
        right = np.asarray(ops.bin_index(p, n_bins))
        np.testing.assert_array_equal(right, np.maximum(np.arange(n_bins + 1) - 1, 0))
        # The published code, which lacks the two corrections, differs at few edges.
        assert np.count_nonzero(right != entry["idx_right_true"]) <= 2


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from(SHAPES),
    kind=st.sampled_from(["edges", "ends", "skew"]),
    n_bins=st.sampled_from([1, 2, 20]),
    masked=st.booleans(),
)
def test_hard_bins_equal_the_definition(seed, shape, kind, n_bins, masked):
    from coverax import host, kernels

    p, y = draw(seed, shape, kind)
    valid = np.random.default_rng(seed).random(shape) < 0.7 if masked else None
    on_host = host.bin_statistics(p, y, n_bins, valid=valid)
    on_device = kernels.bin_statistics(p, y, n_bins, valid=valid)
    for i in range(shape[0]):
        keep = np.ones(shape[1:], bool) if valid is None else valid[i]
        count, sum_p, sum_y, sum_py = oracle.hard(p[i][keep], y[i][keep], n_bins)
        zero = p[i][keep] < 2.0**-126
        for got in (on_host, on_device):
            np.testing.assert_array_equal(got.count[i], count)
            np.testing.assert_array_equal(got.sum_y[i], sum_y)
            # A few roundings of 2**-24 at the end.
            np.testing.assert_allclose(got.sum_p[i], sum_p, rtol=4e-7, atol=1e-17)
            np.testing.assert_allclose(got.sum_py[i], sum_py, rtol=4e-7, atol=1e-17)
            assert got.zero_count[i] == zero.sum()
            assert got.zero_sum_y[i] == (zero & y[i][keep]).sum()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from(SHAPES),
    kind=st.sampled_from(["edges", "ends", "skew"]),
    n_bins=st.sampled_from([1, 2, 20]),
)
def test_soft_bins_equal_the_definition(seed, shape, kind, n_bins):
    from coverax import host, kernels

    p, y = draw(seed, shape, kind)
    for got in (
        host.soft_bin_statistics(p, y, n_bins),
        kernels.soft_bin_statistics(p, y, n_bins),
    ):
        for i in range(shape[0]):
            want = oracle.soft(p[i], y[i], n_bins)
            for a, b in zip(got, want, strict=False):
                # position p * B + 1/2 is rounded at 2**-24 * B, once a voxel
                np.testing.assert_allclose(
                    a[i], b, rtol=1e-6, atol=p[i].size * n_bins * 2**-23
                )


def test_soft_bins_of_a_volume_equal_the_definition_to_1e_6(ops):
    p, y = draw(3, (1, 200_000), "skew")
    got = ops.soft_bin_statistics(p, y, 20)
    for a, b in zip(got, oracle.soft_closed(p, y, 20), strict=False):
        np.testing.assert_allclose(np.asarray(a)[0], b, rtol=1e-6)


def test_golden_bins(ops):
    for entry in golden()["binning"]:
        p = np.array([entry["p"]], np.float32)
        y = np.array([entry["y"]]) != 0
        hard = ops.bin_statistics(p, y, entry["bins"])
        soft = ops.soft_bin_statistics(p, y, entry["bins"])
        for got, weight, want in (
            (hard, np.asarray(hard.count), entry["hard"] | {"w": entry["hard"]["n"]}),
            (soft, np.asarray(soft.weight), entry["soft"]),
        ):
            np.testing.assert_allclose(weight[0], want["w"], rtol=1e-5, atol=2e-6)
            for name, sums in (("mean_p", got.sum_p), ("mean_y", got.sum_y)):
                for k, mean in enumerate(want[name]):
                    if mean is not None:
                        got_mean = float(sums[0][k]) / float(weight[0][k])
                        assert got_mean == pytest.approx(mean, rel=1e-5, abs=2e-6)


def test_permuting_voxels_and_padding_changes_no_bit():
    from coverax import kernels

    p, y = draw(5, (1, 70_000), "skew")
    order = np.random.default_rng(1).permutation(p.size)
    tail = ((0, 0), (0, 30_000))
    valid = np.pad(np.ones(p.shape, bool), tail)
    for fn in (kernels.bin_statistics, kernels.soft_bin_statistics):
        want = fn(p, y, 20)
        shuffled = fn(p[:, order], y[:, order], 20)
        padded = fn(np.pad(p, tail), np.pad(y, tail), 20, valid=valid)
        for a, b, c in zip(want, shuffled, padded, strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["edges", "skew", "tiny", "overshoot", "below"]),
    n_bins=st.sampled_from([1, 20, 4096]),
)
def test_engines_agree_to_the_bit(seed, kind, n_bins):
    """With 4,096 bins the first one ends where the host's coarse units begin."""
    from coverax import host, kernels

    p, y = draw(seed, (2, 40_000), kind)
    if kind == "tiny":
        p = p ** np.float32(7)
    if kind == "overshoot":
        p = (p * np.float32(1.0015) - np.float32(5e-4)).astype(np.float32)
    if kind == "below":  # sums that nearly cancel, and zeros of either sign
        p = (p ** np.float32(6) * np.sign(p - 0.4) / 2000).astype(np.float32)
        p[:, ::5] = np.float32(-1e-40)
    for a, b in zip(
        host.bin_statistics(p, y, n_bins),
        kernels.bin_statistics(p, y, n_bins),
        strict=True,
    ):
        np.testing.assert_array_equal(a, np.asarray(b))


@pytest.mark.parametrize("kind", ["skew", "tiny", "edges", "overshoot"])
def test_host_blocks_and_the_rarer_outcome_are_the_definition(kind):
    """Several blocks; a crowd near 0; few and many foreground voxels; any order."""
    from coverax import host

    p, y = draw(11, (2, 150_000), kind)
    if kind == "tiny":
        p = p ** np.float32(4)  # 90 % below 1/4096, some below 2**-14
    if kind == "overshoot":
        p = (p * np.float32(1.0015) - np.float32(5e-4)).astype(np.float32)
    y[1] = ~y[1]
    got = host.bin_statistics(p, y, 20)
    order = np.random.default_rng(1).permutation(p.shape[1])
    for a, b in zip(
        got, host.bin_statistics(p[:, order], y[:, order], 20), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for i in range(2):
        want = oracle.hard(p[i], y[i], 20)
        np.testing.assert_array_equal(got.count[i], want[0])
        np.testing.assert_array_equal(got.sum_y[i], want[2])
        for sums, exact in ((got.sum_p, want[1]), (got.sum_py, want[3])):
            np.testing.assert_allclose(sums[i], exact, rtol=4e-7, atol=1e-12)
    cuts = np.arange(64) / 64
    grid = host.grid_counts(p, y, 64)
    for i in range(2):
        above = (p[i] >= cuts[:, None]).sum(1)
        hits = ((p[i] >= cuts[:, None]) & y[i]).sum(1)
        np.testing.assert_array_equal(grid.n_predicted[i], above)
        np.testing.assert_array_equal(grid.n_true_positive[i], hits)


def test_host_sums_are_exact_whole_numbers():
    """Each voxel cut to 2**-60 and added by Python, against sorted blocks."""
    from coverax.host.tally import tally

    rng = np.random.default_rng(4)
    p = rng.uniform(0.9, 1.0009, 200_000).astype(np.float32)
    p[::3] = (rng.random(p[::3].size) ** 9 - 1e-4).astype(np.float32)
    p[1::9] *= -1e-4
    units = [math.trunc(Fraction(v) * 2**60) for v in p.tolist()]
    assert tally(p, 1, 0).sum_p[0] == sum(units)


@pytest.mark.parametrize("value", [2.4e-4, -9e-4, -1e-40, 1.0009])
def test_a_block_full_of_one_value_overflows_nothing(ops, value):
    """The largest sums of a block: near 2**-12, the lowest, the highest; and a zero."""
    p = np.full((1, 70_000), value, np.float32)
    got = ops.bin_statistics(p, np.ones(p.shape, bool), 20)
    of = 0 if value < 0.5 else 19
    exact = p.size * float(p[0, 0]) if abs(value) > 1e-30 else 0
    assert float(got.sum_p[0][of]) == pytest.approx(exact, rel=1e-6, abs=0)
    assert float(got.sum_py[0][of]) == pytest.approx(exact, rel=1e-6, abs=0)
    assert ops.grid_counts(p, p > 2, 4).n_predicted[0][0] == (
        0 if value < -1e-30 else p.size
    )
    assert got.count[0][of] == p.size
    assert got.zero_count[0] == (p.size if exact == 0 else 0)


def test_batch_equals_its_cases_to_the_bit():
    from coverax import kernels

    p, y = draw(6, (3, 4000), "skew")
    together = kernels.bin_statistics(p, y, 20)
    for i in range(3):
        alone = kernels.bin_statistics(p[i : i + 1], y[i : i + 1], 20)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[i], b[0])


def test_both_branches_of_the_keyed_sums_give_the_same_integers():
    """The accelerator's reduction, run on this machine, against the CPU's scatter."""
    from coverax.kernels import sums

    p, y = draw(7, (2, 3, 500), "skew")
    chunks = jnp.asarray(p), jnp.asarray(y, jnp.int32)

    def columns(p, y):
        keys = (p * 9).astype(jnp.int32) + y
        # The key 8 is that of a voxel that is left out.
        return jnp.minimum(keys, 8), [jnp.floor(p * 1024).astype(jnp.int32)]

    reduced = sums.reduce_sums(columns, *chunks, 8)
    for i in range(2):
        scattered = sums.scatter_sums(columns, *[c[i] for c in chunks], 8)
        np.testing.assert_array_equal(reduced[i], scattered)
    assert 0 < int(reduced[..., 0].sum()) < p.size


def test_not_a_number_is_refused_and_counted(ops):
    p = np.array([[0.2, np.nan, np.inf, -np.inf, 1.5, -0.5, 1.0005, -0.0005]])
    y = np.ones(p.shape, bool)
    valid = np.ones(p.shape, bool)
    valid[0, 2] = False
    p = p.astype(np.float32)
    got = ops.bin_statistics(p, y, 4)
    assert got.n_refused[0] == 5
    np.testing.assert_array_equal(np.asarray(got.count)[0], [2, 0, 0, 1])
    assert np.isfinite(np.asarray(got.sum_p)).all()
    assert ops.bin_statistics(p, y, 4, valid=valid).n_refused[0] == 4
    assert ops.soft_bin_statistics(p, y, 4).n_refused[0] == 5
    grid = ops.grid_counts(p, y, 4)
    np.testing.assert_array_equal(np.asarray(grid.n_predicted)[0], [2, 1, 1, 1])


def test_tiny_probabilities_keep_their_digits(ops):
    p = np.full((1, 10_000), 3e-10, np.float32)
    got = ops.bin_statistics(p, np.zeros(p.shape, bool), 20)
    assert float(got.sum_p[0][0]) == pytest.approx(1e4 * float(p[0, 0]), rel=1e-6)


def test_a_batch_of_no_case_has_no_rows(ops):
    p = np.zeros((0, 5), np.float32)
    for got in (
        ops.bin_statistics(p, p > 0, 4),
        ops.soft_bin_statistics(p, p > 0, 4),
        ops.proper_scores(p, p > 0),
        ops.grid_counts(p, p > 0, 4),
    ):
        assert all(len(field) == 0 for field in got)


def test_wrong_calls_are_refused(ops):
    p = np.zeros((1, 4), np.float32)
    with pytest.raises(ValueError, match="n_bins must be at least 1"):
        ops.bin_statistics(p, p != 0, 0)
    with pytest.raises((ValueError, TypeError), match="labels"):
        ops.bin_statistics(p, np.zeros((1, 5), bool), 4)
    with pytest.raises((ValueError, TypeError), match="valid"):
        ops.bin_statistics(p, p != 0, 4, valid=np.zeros((1, 5), bool))


def test_a_shape_seen_before_is_not_traced_again():
    from coverax import kernels

    p, y = draw(8, (2, 777), "skew")
    q, z = draw(9, (2, 777), "skew")
    kernels.bin_statistics(p, y, 20)
    with jax.no_tracing(True):
        kernels.bin_statistics(q, z, 20)


@pytest.mark.slow
def test_eighty_million_voxels_in_one_bin(ops):
    n = 80_000_001
    p = np.full((1, n), 0.31, np.float32)
    y = np.ones(p.shape, bool)
    got = ops.bin_statistics(p, y, 20)
    k = oracle.bin_of(0.31, 20)
    assert got.count[0][k] == n
    assert got.sum_y[0][k] == n
    assert float(got.sum_p[0][k]) == pytest.approx(n * float(p[0, 0]), rel=1e-6)


def test_sums_of_a_map_are_those_of_any_reference(ops):
    """What predict reads from a map alone is what score wrote beside a reference."""
    rng = np.random.default_rng(11)
    probs = rng.random((3, 4001), np.float32) ** np.float32(3)
    labels = [np.zeros(probs.shape, bool), probs > 0.5, rng.random(probs.shape) < 0.2]
    found = [np.asarray(ops.bin_statistics(probs, y, 20).sum_p) for y in labels]
    assert len({sums.tobytes() for sums in found}) == 1
    # Rounded apart and added, they would differ: the test can fail.
    parts = [ops.bin_statistics(probs, y, 20).sum_py for y in (labels[2], ~labels[2])]
    assert np.asarray(parts[0] + parts[1]).tobytes() != found[0].tobytes()
