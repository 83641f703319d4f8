"""What the losses share: shapes, precision, means over voxels, absent classes.

Every loss returns `[batch, classes]`, scaled so that its mean over classes is the loss as
published: one line of the training step masks, weights and averages them all.
"""

from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from coverax import checks

Map = Float[Array, "batch *spatial classes"]
Targets = Num[Array, "batch *spatial classes"] | Bool[Array, "batch *spatial classes"]
Valid = Bool[Array, "batch *spatial"]
Absent = Literal["reference", "skip", "include"]
Border = Literal["replicate", "zeros"]


def as_jax(values: Any, name: str) -> Array | np.ndarray:
    """Arrays of JAX and NumPy as they are, of other libraries as those of JAX.

    Raises:
        TypeError: It is a tensor of another library that wants a gradient, which would
            be lost.
    """
    if isinstance(values, Array | np.ndarray):
        return values
    if getattr(values, "requires_grad", False):
        raise TypeError(
            f"{name} wants a gradient of {type(values).__module__}, and losses give those "
            "of JAX alone: detach it, or compute the loss in JAX"
        )
    return jnp.asarray(checks.as_array(values, name))


# For public losses: arrays of any library.
takes_arrays = checks.takes(
    dict.fromkeys(("probs", "logits", "targets", "valid"), as_jax), same_shape=False
)


def prepare(map_: Map, targets: Targets, valid: Valid | None) -> tuple[Map, Map]:
    """Map and targets in one float type of at least 32 bits, shapes checked.

    Raises:
        ValueError: The shapes do not fit.
    """
    check_shapes(map_, targets, valid)
    dtype = jnp.promote_types(map_.dtype, jnp.float32)
    return map_.astype(dtype), targets.astype(dtype)


def check_shapes(map_, targets, valid) -> None:
    """Refuse maps without batch, voxels and classes, other shapes, masks of numbers."""
    if map_.ndim < 3:
        raise ValueError(
            f"a map has the shape [batch, *spatial, classes], got {map_.shape}"
        )
    hint = ""
    if targets.shape == map_.shape[:-1]:
        hint = f"integer labels go through jax.nn.one_hot(labels, {map_.shape[-1]})"
    checks.check_shape(targets, "targets", map_.shape, "the map", hint)
    if valid is not None:
        checks.check_shape(valid, "valid", map_.shape[:-1], "the map without classes")
    if valid is not None and valid.dtype != bool:
        raise ValueError(f"valid must be boolean, got {valid.dtype}")


def voxel_sum(values: Map, valid: Valid | None) -> Float[Array, "batch classes"]:
    """Sum over the voxels that count."""
    if valid is not None:
        values = jnp.where(valid[..., None], values, 0)
    return jnp.sum(values, axis=tuple(range(1, values.ndim - 1)))


def voxel_mean(values: Map, valid: Valid | None) -> Float[Array, "batch classes"]:
    """Mean over the voxels that count; 0 where none does."""
    if valid is None:
        return voxel_sum(values, None) / np.prod(values.shape[1:-1], dtype=values.dtype)
    n = jnp.count_nonzero(valid, axis=tuple(range(1, valid.ndim)))[:, None]
    return voxel_sum(values, valid) / jnp.maximum(n, 1).astype(values.dtype)


@takes_arrays
def present_classes(
    targets: Targets, *, valid: Valid | None = None
) -> Bool[Array, "batch classes"]:
    """Whether a class has any voxel in the reference of an example.

    For means over present classes only: `jnp.mean(loss, where=present_classes(targets))`.
    """
    if valid is not None:
        targets = jnp.where(valid[..., None], targets, 0)
    # On a CPU the largest target is found ten times as fast as any that is above 0.
    return targets.max(axis=tuple(range(1, targets.ndim - 1)), initial=0) > 0


def absent_factor(
    present: Bool[Array, "batch classes"], absent: Absent, dtype
) -> Float[Array, "batch classes"]:
    """What each entry is multiplied by under a policy for absent classes.

    `reference`: 0, so that an absent class stays in the mean with the value 0. `skip`: 0,
    and the present ones grow so that the mean over classes is the mean over the present.
    `include`: 1, an absent class counts like any other.

    Raises:
        ValueError: The policy is unknown.
    """
    if absent not in get_args(Absent):
        raise ValueError(f"absent must be one of {get_args(Absent)}, got {absent!r}")
    kept = present.astype(dtype)
    if absent == "include":
        return jnp.ones_like(kept)
    if absent == "reference":
        return kept
    return kept * (kept.shape[1] / jnp.maximum(kept.sum(axis=1, keepdims=True), 1))
