"""Augmentation: off means off, image and labels move as one, turns keep millimetres."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from coverax.train import augment as module
from coverax.train.config import PatchConfig

augment = jax.jit(module.augment, static_argnames=("config", "spacing_mm"))

OFF = PatchConfig(
    rotation_degrees=0.0, zoom=0.0, noise=0.0, blur_voxels=0.0, gamma=0.0, flip_axes=()
)
ALL = PatchConfig(
    flip_axes=(0, 1, 2),
    probability=1.0,
    brightness=0.25,
    contrast=0.25,
    low_resolution=0.5,
)


def patches(shape=(6, 7, 8), batch=3, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(batch, *shape, channels)).astype(np.float32)
    return jnp.asarray(images), jnp.asarray(rng.integers(0, 3, (batch, *shape)))


def changed(config, seed=0, **options):
    return augment(jax.random.key(seed), *patches(**options), config=config)


@pytest.mark.parametrize(
    "config", [OFF, replace(ALL, probability=0.0, flip_axes=(), noise=0.0)]
)
def test_what_does_not_happen_changes_no_bit(config):
    images, labels = patches()
    got_images, got_labels = changed(config)
    np.testing.assert_array_equal(got_images, images)
    np.testing.assert_array_equal(got_labels, labels)


@pytest.mark.parametrize(
    ("config", "options"),
    [(ALL, {}), (replace(ALL, noise=0.0), {"shape": (8, 8, 1), "channels": 2})],
)
def test_shapes_types_and_labels_stay(config, options):
    before = patches(**options)
    images, labels = changed(config, **options)
    assert images.shape == before[0].shape
    assert images.dtype == jnp.float32
    assert labels.dtype == before[1].dtype
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert bool(jnp.isfinite(images).all())


def test_the_same_key_gives_the_same_patches():
    one, two = changed(ALL, seed=4)[0], changed(ALL, seed=4)[0]
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, changed(ALL, seed=5)[0])


def test_each_patch_has_its_own_draw():
    images, labels = (jnp.repeat(values[:1], 3, axis=0) for values in patches())
    got = augment(jax.random.key(0), images, labels, config=ALL)[0]
    assert not np.array_equal(got[0], got[1])
    assert not np.array_equal(got[1], got[2])


def ball(shape, spacing_mm, radius_mm, centre_mm=(0.0, 0.0, 0.0)):
    axes = [
        (np.arange(n) - (n - 1) / 2) * s - c
        for n, s, c in zip(shape, spacing_mm, centre_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (x**2 + y**2 + z**2 <= radius_mm**2).astype(np.int32)


def test_image_and_labels_move_together():
    labels = ball((24, 24, 24), (1, 1, 1), 5, (4.0, -2.0, 3.0))[None]
    images = labels[..., None].astype(np.float32)
    config = replace(OFF, rotation_degrees=30.0, zoom=0.2, probability=1.0)
    config = replace(config, flip_axes=(0, 2))
    moved, marks = augment(
        jax.random.key(1), jnp.asarray(images), jnp.asarray(labels), config=config
    )
    inside = np.asarray(moved[..., 0]) > 0.5
    assert not np.array_equal(inside, labels > 0)
    union = (inside | (np.asarray(marks) > 0)).sum()
    # Linear and nearest voxels differ along the surface only.
    assert (inside & (np.asarray(marks) > 0)).sum() > 0.85 * union


@pytest.mark.parametrize(("known", "is_kept"), [(True, True), (False, False)])
def test_a_turn_keeps_a_ball_of_millimetres_round(known, is_kept):
    spacing = (1.0, 1.0, 3.0)
    labels = jnp.asarray(ball((32, 32, 11), spacing, 9.0)[None])
    config = replace(OFF, rotation_degrees=80.0, probability=1.0)
    options = {"spacing_mm": spacing} if known else {}
    images = labels[..., None].astype(jnp.float32)
    worst = 1.0
    for seed in range(5):
        marks = augment(jax.random.key(seed), images, labels, config=config, **options)[
            1
        ]
        both, either = (marks & labels).sum(), (marks | labels).sum()
        worst = min(worst, float(both / either))
    assert (worst > 0.8) == is_kept


def test_a_slice_turns_in_its_own_plane():
    config = replace(OFF, rotation_degrees=90.0, probability=1.0)
    images = jnp.asarray(np.arange(64.0).reshape(1, 8, 8, 1, 1), jnp.float32)
    moved = augment(
        jax.random.key(0), images, jnp.zeros((1, 8, 8, 1), jnp.int32), config=config
    )[0]
    # Turned about another axis the slice would shrink to copies of its middle line.
    assert len(np.unique(np.asarray(moved))) > 40


def test_flips_and_amounts_happen_as_often_as_said():
    n = 3000
    images = jnp.broadcast_to(jnp.array([0.0, 1.0])[:, None, None, None], (2, 1, 1, 1))
    images = jnp.broadcast_to(images[None], (n, 2, 1, 1, 1))
    labels = jnp.zeros((n, 2, 1, 1), jnp.int32)
    config = replace(OFF, flip_axes=(0,), noise=0.1, probability=0.2)
    moved = np.asarray(augment(jax.random.key(2), images, labels, config=config)[0])
    flipped = (moved[:, 0] > moved[:, 1]).sum()
    noisy = (moved != np.rint(moved)).any(axis=(1, 2, 3, 4)).sum()
    # Six deviations of Binomial(3000, p): false-fail rate 2e-9 each; a share of 0.26
    # instead of 0.2, or 0.56 instead of 0.5, is noticed with power above 0.9.
    assert abs(flipped - 0.5 * n) < 6 * (n * 0.25) ** 0.5
    assert abs(noisy - 0.2 * n) < 6 * (n * 0.16) ** 0.5


def test_blur_keeps_the_mean_and_gamma_the_range():
    blurred = changed(replace(OFF, blur_voxels=1.0, probability=1.0))[0]
    before = patches()[0]
    assert float(blurred.std()) < float(before.std())
    np.testing.assert_allclose(blurred.mean(), before.mean(), atol=0.02)
    powered = changed(replace(OFF, gamma=0.5, probability=1.0))[0]
    for pick in (np.min, np.max):
        np.testing.assert_allclose(
            pick(np.asarray(powered), axis=(1, 2, 3)),
            pick(np.asarray(before), axis=(1, 2, 3)),
            atol=1e-5,
        )
    assert float(jnp.abs(powered - before).max()) > 0.01


def test_a_constant_patch_stays_finite():
    images = jnp.full((1, 4, 4, 4, 1), 3.0)
    config = replace(OFF, gamma=0.5, probability=1.0)
    got = augment(jax.random.key(0), images, jnp.zeros((1, 4, 4, 4), jnp.int32), config)
    np.testing.assert_array_equal(got[0], images)


def test_brightness_scales_and_contrast_keeps_mean_and_range():
    before = np.asarray(patches()[0])
    bright = changed(replace(OFF, brightness=0.25, probability=1.0))[0]
    factors = np.asarray(bright / before).reshape(3, -1)
    np.testing.assert_allclose(factors, factors[:, :1] + 0 * factors, rtol=1e-5)
    assert np.all(np.abs(factors - 1) <= 0.25 + 1e-5)
    assert np.ptp(factors[:, 0]) > 0
    more = np.asarray(changed(replace(OFF, contrast=0.9, probability=1.0))[0])
    axes = (1, 2, 3, 4)
    assert np.all(more.min(axes) >= before.min(axes))
    assert np.all(more.max(axes) <= before.max(axes))
    distance = before - before.mean(axes, keepdims=True)
    low, high = before.min(axes, keepdims=True), before.max(axes, keepdims=True)
    free = (more > low) & (more < high)
    for after, own, there in zip(more, distance, free, strict=True):
        slope, rest = np.polyfit(own[there], after[there], 1)
        assert 0.1 - 1e-4 <= slope <= 1.9 + 1e-4
        assert abs(slope - 1) > 1e-3
        np.testing.assert_allclose(after[there], rest + slope * own[there], atol=1e-4)


def test_a_coarser_scan_is_linear_between_its_voxels():
    """A ramp stays a ramp within half a coarse voxel; noise loses its finest part."""
    ramp = jnp.broadcast_to(jnp.arange(32.0)[:, None, None], (32, 4, 4))
    images = jnp.stack([ramp] * 8)[..., None]
    labels = jnp.zeros((8, 32, 4, 4), jnp.int32)
    config = replace(OFF, low_resolution=0.5, probability=1.0)
    moved = np.asarray(
        augment(jax.random.key(3), images, labels, config=config)[0][..., 0]
    )
    # A coarse voxel spans at most 2 fine ones: its value is at most 1 from its centre's.
    assert np.abs(moved - ramp[None]).max() <= 1.5 + 1e-4
    assert np.all(np.diff(moved, axis=1) >= -1e-4)
    noise, marks = patches(shape=(16, 16, 16))
    coarse, kept = augment(jax.random.key(0), noise, marks, config=config)
    assert np.all(coarse.std((1, 2, 3, 4)) < noise.std((1, 2, 3, 4)))
    np.testing.assert_array_equal(kept, marks)
