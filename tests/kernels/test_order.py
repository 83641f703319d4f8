"""The critical probability: kernel, host twin and oracle give the same bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import cls as oracle

import coverax as cx

TOLERANCES = ["0", "0.05", "0.1", "0.29", "0.5", "0.999"]
SHAPES = [(1, 1, 1), (7, 1, 5), (3, 4, 5), (6, 9)]
TWINS = [cx.kernels.critical_probability, cx.host.critical_probability]


def draw(seed, shape, kind, fraction, dtype=np.float32):
    rng = np.random.default_rng(seed)
    if kind == "ties":
        probs = rng.choice(np.array([0.0, -0.0, 0.25, 0.5, 1.0]), shape)
    elif kind == "saturated":
        probs = rng.choice(np.array([0.0, 1.0]), shape)
    else:
        probs = rng.random(shape)
    return probs.astype(dtype), rng.random(shape) < fraction


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from(SHAPES),
    kind=st.sampled_from(["dense", "ties", "saturated"]),
    fraction=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    dtype=st.sampled_from([np.float32, np.float16]),
)
def test_kernel_host_and_oracle_agree_to_the_bit(seed, shape, kind, fraction, dtype):
    probs, labels = draw(seed, (2, *shape), kind, fraction, dtype)
    expected = np.array(
        [
            [oracle.critical_probability(p, y, t) for t in TOLERANCES]
            for p, y in zip(probs, labels, strict=True)
        ],
        np.float32,
    )
    for twin in TWINS:
        got = np.asarray(twin(probs, labels, TOLERANCES))
        assert got.dtype == np.float32
        assert got.tobytes() == (expected + np.float32(0)).tobytes()


@pytest.mark.parametrize("twin", TWINS)
def test_the_next_larger_element_misses_too_many(twin):
    probs, labels = draw(3, (1, 20, 20), "dense", 0.5)
    values = np.sort(probs[labels])
    for tolerance in (0.1, 0.29, 0.5):
        cut = np.asarray(twin(probs, labels, [tolerance]))[0, 0]
        allowed = int(tolerance * 1000) * values.size // 1000
        assert np.count_nonzero(values < cut) == allowed
        larger = values[np.searchsorted(values, cut, side="right")]
        assert np.count_nonzero(values < larger) == allowed + 1


@pytest.mark.parametrize("twin", TWINS)
def test_29_of_100_voxels_may_be_missed_at_tolerance_029(twin):
    probs = np.arange(1, 101, dtype=np.float32)[None] / 100
    labels = np.ones((1, 100), bool)
    assert 0.29 * 100 < 29  # the float trap
    for level in (0.29, "0.29", np.float32(0.29)):
        assert np.asarray(twin(probs, labels, [level]))[0, 0] == probs[0, 29]


@pytest.mark.parametrize("twin", TWINS)
def test_edges(twin):
    one = np.zeros((1, 8), np.float32)
    one[0, 3] = 0.7
    lesion = np.arange(8)[None] == 3
    assert np.asarray(twin(one, lesion, [0, 0.9]))[0] == pytest.approx([0.7, 0.7])
    assert (np.asarray(twin(one, lesion & False, [0.1])) == np.inf).all()
    minus_zero = np.full((1, 8), -0.0, np.float32)
    assert not np.signbit(np.asarray(twin(minus_zero, lesion, [0.0])))[0, 0]
    integer_labels = np.where(lesion, 5, 0)
    assert np.asarray(twin(one, integer_labels, [0]))[0, 0] == np.float32(0.7)


@pytest.mark.parametrize("twin", TWINS)
def test_bad_calls_are_refused(twin):
    probs, labels = draw(0, (1, 4), "dense", 1.0)
    for tolerance in (-0.1, 1.0, 1.5, "nan"):
        with pytest.raises(ValueError, match=r"\[0, 1\)|finite"):
            twin(probs, labels, [tolerance])
    with pytest.raises(ValueError, match=r"denominator of at most 46340"):
        twin(probs, labels, ["0.123457"])


def test_shapes_and_types_are_checked_at_trace_time():
    probs, labels = draw(0, (1, 4), "dense", 1.0)
    with pytest.raises((ValueError, TypeError)):
        cx.kernels.critical_probability(probs, labels[:, :2], [0.1])
    with pytest.raises(TypeError):
        cx.kernels.critical_probability(labels.astype(np.int32), labels, [0.1])


@pytest.mark.parametrize("twin", TWINS)
@given(seed=st.integers(0, 2**32 - 1), pad=st.sampled_from([1, 64]))
def test_padding_batch_order_and_voxel_order_change_nothing(twin, seed, pad):
    probs, labels = draw(seed, (3, 60), "dense", 0.3)
    plain = np.asarray(twin(probs, labels, TOLERANCES))
    rng = np.random.default_rng(seed)
    tail = rng.random((3, pad)).astype(np.float32)
    valid = np.concatenate([np.ones((3, 60), bool), np.zeros((3, pad), bool)], 1)
    padded = np.asarray(
        twin(
            np.concatenate([probs, tail], 1),
            np.concatenate([labels, np.ones((3, pad), bool)], 1),
            TOLERANCES,
            valid=valid,
        )
    )
    np.testing.assert_array_equal(padded, plain)
    voxels, cases = rng.permutation(60), rng.permutation(3)
    shuffled = np.asarray(
        twin(probs[cases][:, voxels], labels[cases][:, voxels], TOLERANCES)
    )
    np.testing.assert_array_equal(shuffled, plain[cases])


def test_both_branches_of_the_cpu_kernel_agree():
    """A lesion beyond the compaction capacity takes the full path."""
    rng = np.random.default_rng(0)
    probs = rng.random((2, 100_000), dtype=np.float32)
    labels = np.stack([rng.random(100_000) < 0.01, rng.random(100_000) < 0.9])
    np.testing.assert_array_equal(
        np.asarray(cx.kernels.critical_probability(probs, labels, TOLERANCES)),
        cx.host.critical_probability(probs, labels, TOLERANCES),
    )


@pytest.mark.parametrize("kind", ["dense", "saturated", "ties", "narrow", "negative"])
def test_large_foregrounds_are_counted_to_the_same_element(kind):
    """From 16,384 voxels on the host counts bit patterns instead of partitioning."""
    probs, labels = draw(11, (1, 60_000), kind, 0.8)
    if kind == "narrow":
        probs = (0.99 + probs / 1e4).astype(np.float32)
    if kind == "negative":  # an accepted overshoot
        probs[0, ::7] = -5e-4
    values = np.sort(probs[labels])
    got = cx.host.critical_probability(probs, labels, TOLERANCES)[0]
    places = [int(values.size * 1000 * float(t)) // 1000 for t in TOLERANCES]
    np.testing.assert_array_equal(got, values[places])
    kernel = cx.kernels.critical_probability(probs, labels, TOLERANCES)[0]
    np.testing.assert_array_equal(got, np.asarray(kernel))


def test_vmapped_selection_equals_the_cpu_path():
    """What a GPU runs is the vmapped selection; here it runs on the CPU."""
    from coverax.kernels import order

    probs, labels = draw(1, (4, 500), "ties", 0.4)
    ranks = jnp.array([[1, 5, 50]] * 4, jnp.int32)
    accelerator = jax.vmap(order._select)(jnp.array(probs), jnp.array(labels), ranks)
    np.testing.assert_array_equal(
        accelerator, order.order_statistics(jnp.array(probs), jnp.array(labels), ranks)
    )


def test_order_statistics_of_any_floats_with_rank_beyond_the_last():
    values = np.array([[3.5, -1.0, -np.inf, 0.0, -0.0, np.inf, 2.0]], np.float32)
    mask = np.ones_like(values, bool)
    ranks = jnp.arange(1, 9, dtype=jnp.int32)[None]
    got = np.asarray(
        cx.kernels.order_statistics(jnp.array(values), jnp.array(mask), ranks)
    )
    np.testing.assert_array_equal(got[0, :7], np.sort(values[0]))
    assert got[0, 7] == np.inf


def test_jit_by_a_caller_equals_eager():
    probs, labels = draw(5, (2, 50), "dense", 0.5)

    @jax.jit
    def inside(p, y):
        return cx.kernels.critical_probability(p, y, [0.1, 0.2])

    np.testing.assert_array_equal(
        inside(probs, labels),
        cx.kernels.critical_probability(probs, labels, [0.1, 0.2]),
    )


@pytest.mark.parametrize("ops", [cx.host, cx.kernels], ids=["host", "kernels"])
def test_float64_maps_are_rounded_once_whatever_jax_is_told(ops):
    with jax.enable_x64(True):
        probs = np.random.default_rng(0).random((1, 200))
        labels = np.ones((1, 200), bool)
        got = np.asarray(ops.critical_probability(probs, labels, [0.1]))
    assert got.dtype == np.float32
    assert got[0, 0] == np.sort(probs[0])[20].astype(np.float32)


def test_other_tolerances_and_values_do_not_retrace():
    probs, labels = draw(7, (2, 333), "dense", 0.5)
    other, _ = draw(8, (2, 333), "dense", 0.5)
    cx.kernels.critical_probability(probs, labels, [0.1, 0.2])
    with jax.no_tracing(True):
        cx.kernels.critical_probability(other, labels, [0.3, 0.25])


@pytest.mark.parametrize("ops", [cx.host, cx.kernels], ids=["host", "kernels"])
def test_a_missing_batch_axis_is_noticed_where_it_can_be(ops):
    probs, labels = np.full(5, 0.5, np.float32), np.ones(5, bool)
    for call in (
        lambda: ops.critical_probability(probs, labels, [0.1]),
        lambda: ops.bin_statistics(probs, labels, 5),
        lambda: ops.score_batch(probs, labels),
    ):
        with pytest.raises((ValueError, TypeError), match="batch"):
            call()
