"""What every loss keeps: shapes, precision, order, padding, edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax import losses
from tests.losses.cases import ALL, OF_LOGITS, OF_PROBS, example, of_logits

EACH = pytest.mark.parametrize("name", ALL)
# Losses without windows or distances: they do not see where a voxel lies.
WHERE_BLIND = [n for n in ALL if not n.startswith(("svls", "nacl", "sdc", "boundary"))]


def value_and_grad(name, logits, targets, **options):
    def mean(x):
        return of_logits(name)(x, targets, **options).mean()

    return jax.jit(jax.value_and_grad(mean))(logits)


@EACH
def test_jit_equals_eager_and_vmap_equals_a_loop(name):
    logits, targets = example((4, 5), 2)
    eager = of_logits(name)(logits, targets)
    assert eager.shape == (2, 2)
    close = {"rtol": 1e-5, "atol": 1e-6}
    jitted = jax.jit(of_logits(name))
    np.testing.assert_allclose(jitted(logits, targets), eager, **close)

    @jax.jit
    def alone(x, y):
        return of_logits(name)(x[None], y[None])[0]

    loop = [alone(x, y) for x, y in zip(logits, targets, strict=True)]
    np.testing.assert_allclose(eager, np.stack(loop), **close)
    mapped = jax.jit(jax.vmap(alone))(logits, targets)
    np.testing.assert_allclose(mapped, eager, **close)


@EACH
@pytest.mark.parametrize("shape", [(7,), (3, 4, 2)], ids=["1d", "3d"])
def test_gradient_matches_finite_differences(name, shape):
    """A random direction in float64; values lie off every kink and edge."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        logits = jnp.asarray(rng.standard_normal((2, *shape, 2)))
        targets = jax.nn.one_hot(rng.integers(0, 2, (2, *shape)), 2, dtype=jnp.float64)
        direction = jnp.asarray(rng.standard_normal(logits.shape))
        weights = jnp.asarray(rng.random((2, 2)))

        @jax.jit
        @jax.value_and_grad
        def along(x):
            return (weights * of_logits(name)(x, targets)).sum()

        step = 1e-7  # closer than any probability here is to a bin edge
        up, down = along(logits + step * direction), along(logits - step * direction)
        slope = float(jnp.vdot(along(logits)[1], direction))
        rise = float(up[0] - down[0]) / (2 * step)
    np.testing.assert_allclose(rise, slope, rtol=1e-5, atol=1e-7)


@EACH
@pytest.mark.parametrize("shape", [(1,), (3, 1, 2)], ids=str)
def test_no_nan_for_empty_full_and_single_voxels(name, shape):
    """All background, all foreground, one voxel; probabilities from even to saturated."""
    logits, _ = example(shape, 2)

    @jax.jit
    @jax.value_and_grad
    def run(x, y):
        return of_logits(name)(x, y).mean()

    for label in (0, 1):
        targets = jax.nn.one_hot(jnp.full((2, *shape), label), 2)
        for scale in (0.0, 1.0, 70.0):
            value, gradient = run(scale * logits, targets)
            assert np.isfinite(value)
            assert np.isfinite(gradient).all()


@EACH
def test_padding_changes_nothing(name):
    """Garbage around the image, marked invalid, leaves values and gradients."""
    logits, targets = example((4, 5), 2)
    pad = ((0, 0), (1, 2), (0, 3), (0, 0))
    wide = jnp.pad(logits, pad, constant_values=7.0)
    wide_targets = jnp.pad(targets, pad, constant_values=1.0)
    valid = jnp.pad(jnp.ones((2, 4, 5), bool), pad[:3])
    plain = value_and_grad(name, logits, targets)
    padded = value_and_grad(name, wide, wide_targets, valid=valid)
    np.testing.assert_allclose(padded[0], plain[0], rtol=1e-5)
    np.testing.assert_allclose(padded[1][:, 1:5, :5], plain[1], rtol=1e-4, atol=1e-7)
    assert not np.any(np.where(valid[..., None], 0, padded[1]))


@EACH
def test_nothing_valid_gives_zero_and_no_gradient(name):
    logits, targets = example((4, 5), 2)
    value, gradient = value_and_grad(
        name, logits, targets, valid=jnp.zeros((2, 4, 5), bool)
    )
    assert value == 0
    assert not np.any(gradient)


@pytest.mark.parametrize("name", WHERE_BLIND)
def test_the_order_of_voxels_changes_nothing(name):
    logits, targets = example((50,), 3)
    order = np.random.default_rng(0).permutation(50)
    shuffled = of_logits(name)(logits[:, order], targets[:, order])
    np.testing.assert_allclose(shuffled, of_logits(name)(logits, targets), rtol=2e-5)


@EACH
def test_bfloat16_maps_are_summed_in_float32(name):
    """2**15 voxels: a bfloat16 sum would stop at 256 ones."""
    logits, targets = example((1 << 15,), 2, batch=1)
    low = logits.astype(jnp.bfloat16)
    coarse = jax.jit(of_logits(name))
    value = coarse(low, targets)
    assert value.dtype == jnp.float32
    if name in OF_LOGITS:
        exact = coarse(low.astype(jnp.float32), targets)
        np.testing.assert_allclose(value, exact, rtol=1e-5)
    gradient = jax.grad(lambda x: coarse(x, targets).mean())(low)
    assert gradient.dtype == jnp.bfloat16


@EACH
def test_integer_and_boolean_targets_do(name):
    logits, targets = example((4, 5), 2)
    expected = of_logits(name)(logits, targets)
    for dtype in (bool, jnp.int32):
        np.testing.assert_array_equal(
            of_logits(name)(logits, targets.astype(dtype)), expected
        )


@EACH
def test_strict_promotion(name):
    logits, targets = example((4, 5), 2)
    with jax.numpy_dtype_promotion("strict"):
        assert np.isfinite(value_and_grad(name, logits, targets)[0])


def test_combined_losses_are_the_weighted_sum():
    logits, targets = example((6, 5), 3)
    loss = losses.combine(
        {"hard_l1_ace": 0.5, "cross_entropy": 2.0},
        options={"hard_l1_ace": {"n_bins": 5}},
    )
    expected = 0.5 * losses.hard_l1_ace(jax.nn.softmax(logits), targets, n_bins=5)
    expected += 2 * losses.cross_entropy(logits, targets)
    np.testing.assert_allclose(loss(logits, targets), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="'dice'"):
        losses.combine({"dice": 1.0})
    with pytest.raises(ValueError, match="options for"):
        losses.combine({"soft_dice": 1.0}, options={"sdc": {}})


def test_deep_supervision_weights_halve_and_sum_to_one():
    weights = losses.deep_supervision_weights(4)
    np.testing.assert_allclose(weights[:-1] / weights[1:], 2)
    np.testing.assert_allclose(weights.sum(), 1)
    with pytest.raises(ValueError, match="leave none"):
        losses.deep_supervision_weights(1, drop_coarsest=True)


class Tensor:
    """What other libraries hand over: values, and whether they want a gradient."""

    def __init__(self, array, requires_grad=False):
        self.array, self.requires_grad = np.asarray(array), requires_grad

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@EACH
def test_arrays_of_other_libraries_are_taken_and_lost_gradients_refused(name):
    loss = (OF_LOGITS | OF_PROBS)[name]
    logits, targets = example((3, 4), 3)
    given = logits if name in OF_LOGITS else jax.nn.softmax(logits)
    want = np.asarray(loss(given, targets))
    for kind in (Tensor, lambda array: np.asarray(array).tolist()):
        np.testing.assert_allclose(loss(kind(given), kind(targets)), want, rtol=1e-6)
    with pytest.raises(TypeError, match="losses give those of JAX alone"):
        loss(Tensor(given, requires_grad=True), targets)
