"""One step of training as a pure function of state and batch.

Everything random comes from the seed and the number of the step, and each patch has a key
of its own: a run that stops and goes on is the run that never stopped, on any number of
devices.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from coverax.losses import combine, deep_supervision_weights
from coverax.train.config import TrainConfig
from coverax.train.cpu import NetProgram
from coverax.train.model import Model
from coverax.train.optimiser import learning_rate, make_optimiser, moved_average

Labels = Int[Array, "batch x y z"]
Level = Float[Array, "batch x_l y_l z_l classes"]
Batch = dict[str, Any]
_PATCHES = "patches"  # the axis of the mesh along which a batch is shared out


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
        step: Steps done.
        params: Parameters of the net.
        moments: State of the optimiser.
        average: Moving average of the parameters; None without one.
    """

    step: Int[Array, ""]
    params: Any
    moments: Any
    average: Any


def device_mesh(n_patches: int, devices: list[Any] | None = None) -> Mesh:
    """All devices of all hosts in a row, for batches of `n_patches`.

    Raises:
        ValueError: The devices cannot share the batch evenly.
    """
    devices = jax.devices() if devices is None else devices
    if n_patches % len(devices):
        raise ValueError(
            f"patch.batch = {n_patches} cannot be shared by {len(devices)} devices; "
            "make it a multiple"
        )
    return Mesh(np.asarray(devices), (_PATCHES,))


def start_state(model: Model, config: TrainConfig, mesh: Mesh) -> TrainState:
    """The state before the first step, a copy on every device."""
    optimiser = make_optimiser(config.optimiser, config.run.steps)

    def started(params):
        average = jax.tree.map(jnp.copy, params) if config.optimiser.ema > 0 else None
        return TrainState(
            jnp.zeros((), jnp.int32), params, optimiser.init(params), average
        )

    everywhere = NamedSharding(mesh, P())
    params = jax.device_get(model.start(config.run.seed))
    return jax.jit(started, out_shardings=everywhere)(params)


def final_params(state: TrainState) -> Any:
    """The parameters that predict: the moving average where there is one."""
    return state.params if state.average is None else state.average


def shared_batch(batch: Batch, mesh: Mesh) -> Batch:
    """A batch shared out over the devices; each host copies its own patches only."""
    sharding = NamedSharding(mesh, P(_PATCHES))
    return {
        name: jax.make_array_from_callback(
            values.shape, sharding, lambda part, values=values: values[part]
        )
        for name, values in batch.items()
    }


def make_step(
    model: Model,
    config: TrainConfig,
    mesh: Mesh,
    augment: Callable[..., tuple[Array, Array]],
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
    own: Mapping[str, Callable[..., Any]] = {},
) -> NetProgram:
    """The compiled step: `(state, batch) -> (state, metrics)`; the state is donated.

    Args:
        model: The net.
        config: Losses, optimiser, patches, seed.
        mesh: Devices that share the batch.
        augment: `augment(key, images, labels, patch_config) -> (images, labels)`.
        spacing_mm: Voxel edges of the patches, for losses of distances.
        own: Losses of one's own, by the names that the config gives them.

    Raises:
        ValueError: A loss is unknown.
    """
    optimiser = make_optimiser(config.optimiser, config.run.steps)
    loss = make_loss(model, config, spacing_mm, own)
    gradients = _make_gradients(loss, config, mesh, augment)

    def step(state: TrainState, batch: Batch):
        key = jax.random.fold_in(jax.random.key(config.run.seed), state.step)
        keys = jax.random.split(key, config.patch.batch)
        (value, parts), slope = gradients(
            state.params, keys, batch["image"], batch["label"]
        )
        changes, moments = optimiser.update(slope, state.moments, state.params)
        params = optax.apply_updates(state.params, changes)
        average = state.average
        if average is not None:
            average = moved_average(average, params, state.step, config.optimiser.ema)
        metrics = {
            "loss": value,
            **parts,
            "gradient_norm": optax.tree.norm(slope),
            "learning_rate": learning_rate(
                config.optimiser, config.run.steps, state.step
            ),
        }
        return TrainState(state.step + 1, params, moments, average), metrics

    return NetProgram(step, donate_argnums=0)


def _make_gradients(loss, config, mesh, augment):
    """Loss and gradients of a batch: each device takes its patches, then the mean."""

    def changed(key, image, label):
        image, label = augment(key, image[None], label[None], config.patch)
        return image[0], label[0]

    def own(params, keys, images, labels):
        images, labels = jax.vmap(changed)(keys, images, labels)
        found = jax.value_and_grad(loss, has_aux=True)(params, images, labels)
        values, slope = jax.lax.pmean(found, _PATCHES)
        return values, _as_stored(slope) if is_gpu else slope

    is_gpu = mesh.devices.flat[0].platform in ("gpu", "cuda", "rocm")
    share = P(_PATCHES)
    return jax.shard_map(
        own,
        mesh=mesh,
        in_specs=(P(), share, share, share),
        out_specs=P(),
        check_vma=False,  # the losses' scans start from constants; pmean ends them alike
    )


def _as_stored(slope):
    """Gradients with their axes in memory in the order of the parameters' axes.

    A GPU's convolutions give them in another one. Without a barrier the optimiser takes
    that over, and parameters and moments are changed back and then copied to where they
    were, one by one.
    """
    straight = jax.tree.map(
        lambda x: with_layout_constraint(x, Layout(tuple(range(x.ndim)))), slope
    )
    return jax.lax.optimization_barrier(straight)


def make_loss(
    model: Model,
    config: TrainConfig,
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
    own: Mapping[str, Callable[..., Any]] = {},
) -> Callable[..., tuple[Array, dict]]:
    """The loss of parameters, images and labels, and its parts at the finest level.

    The mean over patches and classes of the weighted losses, at every level of the
    decoder against labels taken at the level's voxel centres, levels weighted by halves.
    Losses of distances measure in millimetres of the level's voxels, unless their
    options name a spacing.

    Raises:
        ValueError: A loss is unknown.
    """
    parts = {}
    for name in config.losses:
        loss_ = own.get(name, name)
        parts[name] = combine(
            {loss_: 1.0}, options={loss_: config.loss_options.get(name, {})}
        )

    def at_level(logits: Level, labels: Labels) -> dict[str, Float[Array, ""]]:
        own_labels = level_labels(labels, logits.shape)
        targets = jax.nn.one_hot(own_labels, logits.shape[-1])  # 0 for an ignored one
        valid = None if config.data.ignore_label is None else own_labels >= 0
        finer = zip(spacing_mm, labels.shape[1:], logits.shape[1:-1], strict=True)
        edges = tuple(edge * fine / coarse for edge, fine, coarse in finer)
        return {
            name: part(logits, targets, valid=valid, spacing_mm=edges).mean()
            for name, part in parts.items()
        }

    def loss(params, images, labels):
        levels = [at_level(logits, labels) for logits in model.apply(params, images)]
        weights = deep_supervision_weights(len(levels)).tolist()
        terms = [
            share * weight * level[name]
            for share, level in zip(weights, levels, strict=True)
            for name, weight in config.losses.items()
        ]
        return jnp.sum(jnp.stack(terms)), levels[0]

    return loss


def level_labels(
    labels: Labels, shape: tuple[int, ...]
) -> Int[Array, "batch x_l y_l z_l"]:
    """Labels at the voxel nearest to the centre of each voxel of a coarser level.

    Args:
        labels: Class indices of the patch.
        shape: Shape of the level's logits, `[batch, x, y, z, classes]`.

    Raises:
        ValueError: The patch is no multiple of the level.
    """
    for axis, (fine, coarse) in enumerate(
        zip(labels.shape[1:], shape[1:-1], strict=True), start=1
    ):
        stride, rest = divmod(fine, coarse)
        if rest or not stride:
            raise ValueError(
                f"a level of {shape[1:-1]} voxels does not divide the patch {labels.shape[1:]}"
            )
        labels = jax.lax.slice_in_dim(labels, stride // 2, None, stride, axis)
    return labels
