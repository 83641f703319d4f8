"""Random changes of patches, as a pure function of a key, inside the jitted step.

Image and labels move together; intensities of the image change after. What is switched
off by the config is not compiled.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Bool, Float, Int, Key

from coverax.train.config import PatchConfig

_HIGHEST = jax.lax.Precision.HIGHEST


def augment(
    key: Key[Array, ""],
    images: Float[Array, "batch x y z channels"],
    labels: Int[Array, "batch x y z"],
    config: PatchConfig,
    *,
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
) -> tuple[Float[Array, "batch x y z channels"], Int[Array, "batch x y z"]]:
    """Rotate, zoom, flip; change intensities: each patch by its own draw.

    Intensities: noise, blur, brightness, contrast, a coarser scan, gamma, in that order.
    Each change happens with `config.probability`, each flip with one half. Amounts are
    uniform up to the config's largest.

    Args:
        key: All randomness.
        images: Patches.
        labels: Class indices of the same voxels; none appears that was not there.
        config: What is changed and how much.
        spacing_mm: Voxel edges: a rotation turns millimetres, not voxels.
    """
    amounts, noise = jax.random.split(key)
    drawn = _draw(amounts, images.shape[0], config)
    if config.noise:
        # One value a voxel, scaled below: the costly draw stays a single program.
        scale = jnp.abs(drawn.noise).reshape(-1, 1, 1, 1, 1)
        added = scale * jax.random.normal(noise, images.shape, images.dtype)
    else:
        added = jnp.zeros_like(images)
    change = partial(_augment_one, config=config, spacing_mm=spacing_mm)
    return jax.vmap(change)(drawn, images, labels, added)


class _Draw(NamedTuple):
    """What happens to a patch; 0 (or False) where nothing does."""

    turns: Float[Array, "*batch axes"]
    zoom: Float[Array, "*batch"]
    noise: Float[Array, "*batch"]
    blur: Float[Array, "*batch"]
    log_gamma: Float[Array, "*batch"]
    flips: Bool[Array, "*batch axes"]
    brightness: Float[Array, "*batch"]
    contrast: Float[Array, "*batch"]
    low_resolution: Float[Array, "*batch"]


def _draw(key, n_patches: int, config: PatchConfig) -> _Draw:
    """Amounts for every patch: uniform in [-largest, largest] where they happen."""
    angle = math.radians(config.rotation_degrees)
    largest = jnp.array(
        [angle] * 3 + [config.zoom, config.noise, config.blur_voxels, config.gamma],
        jnp.float32,
    )
    uniform = jax.random.uniform(key, (n_patches, 2 * largest.size + 3), jnp.float32)
    amount, whether, flips = jnp.split(uniform, [largest.size, 2 * largest.size], 1)
    amount = largest[None, :] * (2 * amount - 1) * (whether < config.probability)
    allowed = jnp.array([axis in config.flip_axes for axis in range(3)])
    zoom, noise, blur, log_gamma = amount[:, 3:].T
    is_flipped = (flips < 0.5) & allowed[None, :]
    # A key of their own: what was drawn before they were thought of stays as it was.
    more = jax.random.uniform(jax.random.fold_in(key, 1), (n_patches, 6), jnp.float32)
    largest = jnp.array([config.brightness, config.contrast, config.low_resolution])
    signed = (
        largest[None, :] * (2 * more[:, :3] - 1) * (more[:, 3:] < config.probability)
    )
    return _Draw(amount[:, :3], zoom, noise, blur, log_gamma, is_flipped, *signed.T)


def _augment_one(drawn: _Draw, image, labels, added, *, config, spacing_mm):
    if config.rotation_degrees or config.zoom:
        image, labels = _moved(drawn, image, labels, spacing_mm)
    for axis in config.flip_axes:
        image = jnp.where(drawn.flips[axis], jnp.flip(image, axis), image)
        labels = jnp.where(drawn.flips[axis], jnp.flip(labels, axis), labels)
    image = image + added
    if config.blur_voxels:
        image = _blurred(image, jnp.abs(drawn.blur))
    if config.brightness:
        image = image * (1 + drawn.brightness)
    if config.contrast:
        image = _with_contrast(image, 1 + drawn.contrast)
    if config.low_resolution:
        image = _coarser(image, 1 - jnp.abs(drawn.low_resolution))
    if config.gamma:
        image = _with_gamma(image, jnp.exp(drawn.log_gamma))
    return image, labels


def _moved(drawn: _Draw, image, labels, spacing_mm):
    """Rotated and zoomed about the middle; beyond the border its voxels repeat."""
    shape = labels.shape
    matrix = jnp.eye(3, dtype=jnp.float32)
    for axis in range(3):
        a, b = (i for i in range(3) if i != axis)
        if shape[a] > 1 and shape[b] > 1:  # a slice turns in its own plane only
            turn = _rotation(a, b, drawn.turns[axis])
            matrix = jnp.matmul(matrix, turn, precision=_HIGHEST)
    spacing = jnp.asarray(spacing_mm, jnp.float32)
    matrix = matrix * spacing[None, :] / spacing[:, None] / (1 + drawn.zoom)
    middle = (jnp.asarray(shape, jnp.float32) - 1) / 2
    steps = jnp.indices(shape, jnp.float32) - middle[:, None, None, None]
    # Positions need all their bits: a GPU would multiply matrices in fewer.
    at = jnp.einsum("ij,jxyz->ixyz", matrix, steps, precision=_HIGHEST)
    at = list(at + middle[:, None, None, None])
    move = partial(map_coordinates, coordinates=at, mode="nearest")
    image = jax.vmap(partial(move, order=1), in_axes=-1, out_axes=-1)(image)
    return image, move(labels, order=0)


def _rotation(a: int, b: int, angle) -> Float[Array, "3 3"]:
    """Rotation in the plane of two axes."""
    matrix = jnp.eye(3, dtype=jnp.float32)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return (
        matrix.at[a, a].set(cos).at[b, b].set(cos).at[a, b].set(-sin).at[b, a].set(sin)
    )


def _blurred(image, sigma):
    """Gaussian blur along every axis; the border has fewer neighbours to weigh."""
    for axis in range(3):
        voxels = jnp.arange(image.shape[axis], dtype=jnp.float32)
        # The floor makes the weights of sigma 0 exactly the identity.
        steps = (voxels[:, None] - voxels[None, :]) / jnp.maximum(sigma, 1e-3)
        weights = jnp.exp(-0.5 * steps**2)
        weights = weights / weights.sum(axis=1, keepdims=True)
        blurred = jnp.tensordot(weights, image, (1, axis), precision=_HIGHEST)
        image = jnp.moveaxis(blurred, 0, axis)
    return image


def _with_contrast(image, factor):
    """Distances from each channel's mean times a factor, within the channel's range."""
    axes = (0, 1, 2)
    mean = image.mean(axis=axes, keepdims=True)
    changed = mean + factor * (image - mean)
    low, high = (pick(axis=axes, keepdims=True) for pick in (image.min, image.max))
    return jnp.where(factor == 1, image, jnp.clip(changed, low, high))


def _coarser(image, share):
    """As a scan with this share of voxels an axis, its voxels joined linearly.

    A voxel of the coarse grid has the value of the voxel nearest to its centre.
    """
    for axis in range(3):
        n = image.shape[axis]
        at = (jnp.arange(n, dtype=jnp.float32) + 0.5) * share - 0.5
        last = jnp.ceil(n * share) - 1
        lower = jnp.clip(jnp.floor(at), 0, last)
        upper = jnp.clip(lower + 1, 0, last)
        weight = jnp.clip(at - lower, 0, 1)
        nearest = [_nearest(coarse, share, n) for coarse in (lower, upper)]
        shape = [-1 if a == axis else 1 for a in range(image.ndim)]
        low, high = (jnp.take(image, index, axis) for index in nearest)
        image = low + (high - low) * weight.reshape(shape)
    return image


def _nearest(coarse, share, n):
    """The voxel nearest to the centre of each voxel of a coarser grid."""
    centre = jnp.floor((coarse + 0.5) / share)
    return jnp.clip(centre, 0, n - 1).astype(jnp.int32)


def _with_gamma(image, exponent):
    """Gamma between each channel's own lowest and highest value, which stay."""
    low = image.min(axis=(0, 1, 2), keepdims=True)
    width = image.max(axis=(0, 1, 2), keepdims=True) - low
    safe = jnp.where(width > 0, width, 1.0)
    changed = low + width * ((image - low) / safe) ** exponent
    return jnp.where(exponent == 1, image, changed)
