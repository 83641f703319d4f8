"""Dice: of a batch as of one example, and without the background."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax import losses
from tests.losses.cases import example


def maps(seed=0):
    logits, targets = example((4, 5, 3), 3, seed=seed)
    return jax.nn.softmax(logits), targets


def test_dice_of_a_batch_is_that_of_its_examples_side_by_side():
    probs, targets = maps()
    found = losses.soft_dice(probs, targets, batch=True)
    joined = [jnp.concatenate(list(v), axis=0)[None] for v in (probs, targets)]
    np.testing.assert_allclose(found, jnp.repeat(losses.soft_dice(*joined), 2, 0), 1e-5)
    assert not np.allclose(found, losses.soft_dice(probs, targets))


def test_without_background_the_mean_over_classes_is_that_of_the_others():
    probs, targets = maps()
    whole = losses.soft_dice(probs, targets)
    found = losses.soft_dice(probs, targets, background=False)
    np.testing.assert_array_equal(found[:, 0], 0)
    np.testing.assert_allclose(found.mean(1), whole[:, 1:].mean(1), rtol=1e-5)


def test_a_class_absent_from_the_whole_batch_is_skipped():
    probs, targets = maps()
    targets = targets.at[..., 2].set(0)
    found = losses.soft_dice(
        probs, targets, absent="skip", batch=True, background=False
    )
    alone = losses.soft_dice(probs, targets, batch=True)[:, 1]
    np.testing.assert_allclose(found.mean(1), alone, rtol=1e-5)


def test_the_background_alone_cannot_be_left_out():
    one = jnp.ones((1, 4, 1))
    with pytest.raises(ValueError, match="needs a class beside the background"):
        losses.soft_dice(one, one, background=False)
