"""The smooth order statistic and the experimental size loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax import losses


def test_a_narrow_step_gives_the_order_statistic():
    values = np.random.default_rng(0).permutation(20).astype(np.float32)
    where = np.ones(20, bool)
    for rank in (1, 7, 20):
        root = losses.smooth_order_statistic(
            jnp.asarray(values), jnp.asarray(float(rank)), 0.01, jnp.asarray(where)
        )
        np.testing.assert_allclose(root, rank - 1, atol=1e-3)


def test_the_derivative_is_implicit_and_its_weights_sum_to_one():
    values = jnp.asarray(np.random.default_rng(1).random(9, dtype=np.float32))
    where = jnp.arange(9) < 7

    @jax.jit
    def root(x):
        return losses.smooth_order_statistic(x, jnp.asarray(3.0), 0.1, where)

    gradient = np.asarray(jax.grad(root)(values))
    np.testing.assert_allclose(gradient.sum(), 1, rtol=1e-5)
    assert not np.any(gradient[7:])
    step = 1e-2
    for k in range(9):
        rise = root(values.at[k].add(step)) - root(values.at[k].add(-step))
        np.testing.assert_allclose(gradient[k], rise / (2 * step), atol=2e-3)


@pytest.mark.parametrize("labels", [0, 1])
def test_size_is_finite_without_and_with_foreground(labels):
    probs = jnp.asarray(np.random.default_rng(2).random((4, 6, 1), dtype=np.float32))
    targets = jnp.full((4, 6, 1), labels)
    value, gradient = jax.jit(
        jax.value_and_grad(lambda p: losses.conformal_size(p, targets).mean())
    )(probs)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert (value == 0) == (labels == 0)


def test_too_small_a_batch_is_refused():
    one = jnp.ones((1, 3, 1))
    with pytest.raises(ValueError, match="two examples"):
        losses.conformal_size(one, one)
