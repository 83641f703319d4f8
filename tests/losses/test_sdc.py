"""Signed distances, adapted targets and margins against their definitions."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax import losses
from coverax.kernels import Operation
from coverax.losses.sdc import Aggregation
from tests.losses.cases import example
from tests.oracles import losses as oracle


@pytest.mark.parametrize("operation", get_args(Operation))
def test_adapted_targets_follow_their_definition(operation):
    for aggregation in get_args(Aggregation):
        _, targets = example((4, 5), 3, batch=1)
        ours = losses.adapt_targets(
            targets, operation=operation, aggregation=aggregation
        )
        expected = oracle.adapted(np.asarray(targets[0]), operation, aggregation)
        np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)
        total = np.asarray(ours.sum(axis=-1))
        assert np.all(np.isclose(total, 1) | (total == 0))


def square(n=24, width=8):
    low = (n - width) // 2
    second = np.zeros((1, n, n), bool)
    second[:, low : low + width, low : low + width] = True
    return jnp.asarray(np.stack([~second, second], -1))


def test_the_published_sign_prefers_the_inverted_mask_and_ours_does_not():
    targets = square()
    gap = {}
    for published in (True, False):
        distances = losses.signed_distance_target(targets, published_sign=published)
        for name, probs in (("perfect", targets), ("inverted", ~targets)):
            signed = 2 * probs[..., 1].astype(jnp.float32) - 1
            gap[published, name] = float(jnp.abs(signed - distances[..., 1]).mean())
    np.testing.assert_allclose(gap[True, "perfect"], 1.461, atol=6e-4)
    np.testing.assert_allclose(gap[True, "inverted"], 0.539, atol=6e-4)
    assert gap[False, "perfect"] < gap[False, "inverted"]


def test_distances_of_absent_and_full_classes_are_the_ends():
    targets = jax.nn.one_hot(jnp.zeros((1, 3, 4), int), 2)
    distances = losses.signed_distance_target(targets)
    np.testing.assert_array_equal(distances[..., 0], np.ones((1, 3, 4)))
    np.testing.assert_array_equal(distances[..., 1], -np.ones((1, 3, 4)))
    assert not np.any(losses.boundary(targets, targets))


def test_spacing_is_honoured():
    """One voxel in a 3 x 3 plane, rows 3 mm apart: 3 mm down, 1 mm aside."""
    dot = jnp.zeros((1, 3, 3, 1)).at[0, 1, 1, 0].set(1)
    distances = losses.class_distances(dot, spacing_mm=(3.0, 1.0))[0, ..., 0]
    np.testing.assert_allclose(distances[0, 1], -3)
    np.testing.assert_allclose(distances[1, 0], -1)
    np.testing.assert_allclose(distances[1, 1], 1)
    scaled = losses.signed_distance_target(dot, spacing_mm=(3.0, 1.0))
    np.testing.assert_allclose(scaled.min(), -1)
    twice = losses.signed_distance_target(dot, spacing_mm=(6.0, 2.0))
    np.testing.assert_allclose(twice, scaled, rtol=1e-6)


def test_svls_and_nacl_targets_follow_their_definition():
    _, targets = example((4, 5), 3, batch=1)
    weights = oracle.svls_weights(2)
    np.testing.assert_allclose(weights.sum(), 1)
    expected = oracle.smoothed(np.asarray(targets[0]), weights)
    np.testing.assert_allclose(
        losses.svls_targets(targets)[0], expected, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(losses.svls_targets(targets).sum(-1), 1, rtol=1e-5)
    mean = oracle.smoothed(np.asarray(targets[0]), np.full(9, 1 / 9))
    np.testing.assert_allclose(
        losses.neighbour_targets(targets)[0], mean, rtol=1e-5, atol=1e-6
    )
    wide = losses.neighbour_targets(targets, "wide")
    np.testing.assert_allclose(wide.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(("neighbours", "n_axes"), [("mean", 2), ("gaussian", 3)])
def test_a_border_of_zeros_follows_its_definition(neighbours, n_axes):
    """Also around the box of the valid voxels, whatever lies outside it."""
    shape = (4, 5, 3)[:n_axes]
    _, targets = example(shape, 3, batch=1)
    weights = np.full(3**n_axes, 3.0**-n_axes)
    if neighbours == "gaussian":
        weights = oracle.svls_weights(n_axes)
    expected = oracle.smoothed(np.asarray(targets[0]), weights, "constant")
    ours = losses.neighbour_targets(targets, neighbours, border="zeros")
    np.testing.assert_allclose(ours[0], expected, rtol=1e-5, atol=1e-6)
    assert ours.sum(-1).min() < 0.8
    wide = [(0, 0), *[(1, 2)] * n_axes, (0, 0)]
    inside = (slice(None), *[slice(1, -2)] * n_axes)
    valid = jnp.pad(jnp.ones((1, *shape), bool), wide[:-1])
    padded = losses.neighbour_targets(
        jnp.pad(targets, wide, constant_values=1),
        neighbours,
        border="zeros",
        valid=valid,
    )
    np.testing.assert_allclose(padded[inside], ours, rtol=1e-6)
    with pytest.raises(ValueError, match="cannot be 'zeros'"):
        losses.neighbour_targets(targets, "mode", border="zeros")


@pytest.mark.parametrize("neighbours", ["max", "min", "median", "mode"])
def test_nacl_kernels_of_class_indices(neighbours):
    pick = {"max": np.max, "min": np.min, "median": np.median, "mode": np.median}
    _, targets = example((4, 5), 2, batch=1)
    expected = oracle.windowed(np.asarray(targets[0, ..., 1]), pick[neighbours], "edge")
    ours = losses.neighbour_targets(targets, neighbours)
    np.testing.assert_array_equal(ours[0, ..., 1], expected)
    with pytest.raises(ValueError, match="needs 2 classes"):
        losses.neighbour_targets(example((4, 5), 3)[1], neighbours)


def test_margin_losses_fall_back_to_cross_entropy():
    logits, targets = example((4, 5), 3)
    entropy = losses.cross_entropy(logits, targets)
    np.testing.assert_allclose(
        losses.mbls(logits, targets, margin=100.0), entropy, rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.nacl(logits, targets, weight=0.0), entropy, rtol=1e-6
    )
    assert np.all(losses.mbls(logits, targets, margin=0.0) > entropy)
    adapted = losses.adapt_targets(targets, operation="closing")
    moved = losses.nacl(logits, targets, adapted=adapted)
    assert not np.allclose(moved, losses.nacl(logits, targets))


def test_morphology_before_neighbours_is_an_option_of_plain_values():
    """What a config file can say: the same as targets adapted beforehand."""
    logits, targets = example((5, 6), 3)
    adapted = losses.adapt_targets(targets, operation="closing", aggregation="gaussian")
    want = losses.nacl(logits, targets, neighbours="gaussian", adapted=adapted)
    options = {"operation": "closing", "aggregation": "gaussian"}
    found = losses.combine(
        {"nacl": 1.0}, options={"nacl": {"neighbours": "gaussian", **options}}
    )(logits, targets)
    np.testing.assert_allclose(found, want, rtol=1e-6)
    with pytest.raises(ValueError, match="adapted targets or an operation"):
        losses.nacl(logits, targets, adapted=adapted, operation="closing")
