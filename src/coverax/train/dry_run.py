"""One step of a config on made-up patches: shapes, parameters, memory, speed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from coverax.files import JsonRecord
from coverax.train.config import TrainConfig
from coverax.train.loop import memory_errors
from coverax.train.model import Model
from coverax.train.step import (
    Batch,
    device_mesh,
    make_step,
    shared_batch,
    start_state,
)


@dataclass(frozen=True, slots=True)
class StepCost(JsonRecord):
    """What a step of a run costs.

    Attributes:
        images: Shape of the images of a batch.
        logits: Shapes of the logits, finest first.
        n_parameters: Parameters of the net.
        n_devices: Devices that share a batch.
        state_bytes: Of parameters, moments, average and the batch, a device.
        temporary_bytes: Of a step, a device.
        compile_seconds: Of compiling it.
        seconds_per_step: Of one step after the first.
        voxels_per_second: Of that step.
    """

    images: Sequence[int]
    logits: Sequence[Sequence[int]]
    n_parameters: int
    n_devices: int
    state_bytes: int
    temporary_bytes: int
    compile_seconds: float
    seconds_per_step: float
    voxels_per_second: float


def dry_run(config: TrainConfig, model: Model, augment: Callable[..., Any]) -> StepCost:
    """What a run of this config costs on this machine, measured on a step.

    Raises:
        ValueError: The net does not take the patch, or the step does not fit the memory.
    """
    mesh = device_mesh(config.patch.batch)
    made_up = made_up_batch(config)
    with memory_errors(config):
        state = start_state(model, config, mesh)
        logits = jax.eval_shape(model.apply, state.params, made_up["image"])
        n_parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        batch = shared_batch(made_up, mesh)
        start = time.perf_counter()
        step = make_step(model, config, mesh, augment).lower(state, batch).compile()
        compile_seconds = time.perf_counter() - start
        memory = step.memory_analysis()
        state, _ = jax.block_until_ready(step(state, batch))
        start = time.perf_counter()
        jax.block_until_ready(step(state, batch))
        seconds = time.perf_counter() - start
    return StepCost(
        images=list(made_up["image"].shape),
        logits=[list(level.shape) for level in logits],
        n_parameters=int(n_parameters),
        n_devices=mesh.size,
        state_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        compile_seconds=compile_seconds,
        seconds_per_step=seconds,
        voxels_per_second=made_up["label"].size / seconds,
    )


def made_up_batch(config: TrainConfig) -> Batch:
    """Noise and random classes in the shape of a batch."""
    shape = (config.patch.batch, *config.patch.size)
    rng = np.random.default_rng(0)
    return {
        "image": rng.standard_normal((*shape, config.data.channels), np.float32),
        "label": rng.integers(0, len(config.data.classes), shape, np.int32),
    }
