"""Scores of inner and outer sets: extremes of score maps off and on the reference."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from coverax.kernels.arrays import Labels, Map, Valid, count_true, takes_arrays
from coverax.kernels.devices import per_device
from coverax.kernels.order import (
    from_sortable_bits,
    order_statistics,
    positive_zero,
    sortable_bits,
)
from coverax.rational import Level, allowed_misses, tolerance_terms


@takes_arrays
def extreme_scores(
    inner_map: Map, outer_map: Map, labels: Labels, *, valid: Valid = None
) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Scores of the inner and the outer confidence set of each case.

    `{inner_map > t}` lies within the reference iff `inner_score <= t`, and
    `{outer_map >= -t}` holds all of it iff `outer_score <= t`.

    Args:
        inner_map: Score maps of the inner set; no NaN, infinite values are legal.
        outer_map: Score maps of the outer set.
        labels: References; foreground is what is not 0.
        valid: Voxels that count; all by default.

    Returns:
        The largest inner map off the reference, and minus the smallest outer map on it;
        `-inf` where there is no such voxel.

    References:
        Davenport (2024), Conformal confidence sets for biomedical image segmentation.
    """
    return (
        inner_score(inner_map, labels, valid=valid),
        outer_score(outer_map, labels, valid=valid),
    )


@takes_arrays
def inner_score(
    score_map: Map, labels: Labels, *, tolerance: Level = 0, valid: Valid = None
) -> Float[Array, " batch"]:
    """Least `t` at which `{score_map > t}` leaves the reference by a tolerated share.

    The share is of the reference: at most `floor(tolerance * n_foreground)` voxels.
    """
    return _inner_score(score_map, labels, valid, *tolerance_terms([tolerance]))


@takes_arrays
def outer_score(
    score_map: Map, labels: Labels, *, tolerance: Level = 0, valid: Valid = None
) -> Float[Array, " batch"]:
    """Least `t` at which `{score_map >= -t}` misses a tolerated share of the reference.

    On the map itself this is the score of Conformal Lesion Segmentation.
    """
    return _outer_score(score_map, labels, valid, *tolerance_terms([tolerance]))


@per_device("numerators", "denominators")
@jax.jit
def _inner_score(score_map, labels, valid, numerators, denominators):
    values, foreground, background = _masked(score_map, labels, valid)
    allowed = _allowed(foreground, numerators, denominators)

    def largest(values, background, _):
        keys = sortable_bits(jnp.where(background, values, -jnp.inf))
        return from_sortable_bits(keys.max(axis=1), values.dtype)

    def counted(values, background, allowed):
        return -order_statistics(-values, background, allowed + 1)[:, 0]

    exact = jnp.all(numerators == 0)
    score = jax.lax.cond(exact, largest, counted, values, background, allowed)
    return positive_zero(score)


@per_device("numerators", "denominators")
@jax.jit
def _outer_score(score_map, labels, valid, numerators, denominators):
    values, foreground, _ = _masked(score_map, labels, valid)
    allowed = _allowed(foreground, numerators, denominators)
    return positive_zero(-order_statistics(values, foreground, allowed + 1)[:, 0])


def _masked(score_map, labels, valid):
    values = jnp.reshape(score_map, (score_map.shape[0], -1))
    foreground = jnp.reshape(labels, values.shape)
    background = ~foreground
    if valid is not None:
        counted = jnp.reshape(valid, values.shape)
        foreground, background = foreground & counted, background & counted
    return values, foreground, background


def _allowed(foreground, numerators, denominators):
    n_foreground = count_true(foreground)[:, None]
    return allowed_misses(n_foreground, numerators[None], denominators[None])
