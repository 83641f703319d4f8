"""The loop: batches through the step, reports, validations, checkpoints, early stop."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax

from coverax.files import PathLike, as_output_error
from coverax.train import checkpoint
from coverax.train.config import TrainConfig
from coverax.train.memory import out_of_memory
from coverax.train.metrics import MetricsWriter, Row
from coverax.train.model import Model, make_predict
from coverax.train.step import (
    Batch,
    TrainState,
    device_mesh,
    final_params,
    make_step,
    shared_batch,
    start_state,
)
from coverax.train.validation import validate

_HELD = (
    20  # steps whose metrics may wait on the device: reading them waits for the step
)


class Pieces(NamedTuple):
    """What the loop puts together.

    Attributes:
        model: The net.
        augment: Random changes of a batch, inside the step.
        batches: From a step (from 0) to its batch and those after it, without end; the
            same whenever they are asked.
        learning: Cases to validate on; empty for none.
        volumes: From a predictor of patches and a case to the case's probabilities.
        split_digest: Digest of the split; empty without one.
        spacing_mm: Voxel edges of the patches, for losses of distances.
        own_losses: Losses of one's own, by the names that the config gives them.
    """

    model: Model
    augment: Callable[..., Any]
    batches: Callable[[int], Iterator[Batch]]
    learning: Sequence[Any]
    volumes: Callable[[Callable[..., Any], Any], Any]
    split_digest: str = ""
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    own_losses: Mapping[str, Callable[..., Any]] = {}


class Trained(NamedTuple):
    """How a run ended.

    Attributes:
        state: The last state.
        steps: Steps done, of all calls.
        dices: Mean Dice of each validation.
        is_early: Whether it stopped for want of improvement.
    """

    state: TrainState
    steps: int
    dices: list[float]
    is_early: bool


def train(
    config: TrainConfig,
    pieces: Pieces,
    folder: PathLike,
    *,
    on_step: Callable[[Row], None] = lambda _: None,
) -> Trained:
    """Train from the last checkpoint in `folder`, or from the start, to the end.

    A run that was killed at any moment and called again ends with the bits of one that
    was not, on the same machine and number of devices.

    Args:
        config: The run.
        pieces: Net, data and how volumes are predicted.
        folder: Where checkpoints and metrics are.
        on_step: Called after each step's metrics are known.

    Raises:
        ValueError: The checkpoint is of another config, a loss is not finite, or a step
            does not fit the memory.
        BlockingIOError: Another process trains in this folder.
    """
    folder = Path(folder)
    mesh = device_mesh(config.patch.batch)
    step = make_step(
        pieces.model,
        config,
        mesh,
        pieces.augment,
        pieces.spacing_mm,
        pieces.own_losses,
    )
    predict = make_predict(pieces.model)
    digest = pieces.split_digest
    with (
        checkpoint.only_writer(folder),
        memory_errors(config),  # a step may fail only when its result is read
        checkpoint.open_checkpoints(folder, config.run.keep_best) as manager,
    ):
        start = start_state(pieces.model, config, mesh)
        state, dices = checkpoint.resume(manager, start, config, digest)
        done, is_early = int(state.step), _is_stale(dices, config.run.patience)
        batches = pieces.batches(done)
        with as_output_error(folder), _reports(folder, done, on_step) as report:
            while done < config.run.steps and not is_early:
                state, metrics = step(state, shared_batch(next(batches), mesh))
                done += 1
                report.hold(done, metrics)
                dice = _validated(config, pieces, predict, state, done, report)
                if dice is not None:
                    dices = [*dices, dice]
                    is_early = _is_stale(dices, config.run.patience)
                is_last = done == config.run.steps or dice is not None
                if is_last or _is_due(done, config.run.checkpoint_every):
                    report.flush()
                    checkpoint.save(manager, state, config, digest, dices, dice)
    return Trained(state, done, dices, is_early)


def memory_errors(config: TrainConfig) -> AbstractContextManager[None]:
    """Say what to change when a step does not fit the memory: a `ValueError`."""
    size = " x ".join(map(str, config.patch.size))
    return out_of_memory(
        f"out of memory in a step with patch.batch = {config.patch.batch} and "
        f"patch.size = {size}: lower one, or set net.rematerialise = true or "
        'net.compute = "bfloat16"'
    )


def _validated(config, pieces, predict, state, done, report):
    """Mean Dice of the learning cases where a validation is due; else None."""
    if not pieces.learning or not _is_due(done, config.run.validate_every):
        return None
    # One device's copy: every host validates alike, so that all stop at the same step.
    params = jax.tree.map(lambda a: a.addressable_data(0), final_params(state))
    apply = partial(predict, params)
    found = validate(
        lambda case: pieces.volumes(apply, case),
        pieces.learning,
        list(config.data.classes),
    )
    report.flush()
    report.write("validation", [{"step": done} | found])
    return found["dice"]


def _is_due(step, every):
    return every > 0 and step % every == 0


def _is_stale(dices, patience):
    """Whether the last `patience` validations brought nothing above those before."""
    if not patience or len(dices) <= patience:
        return False
    best = max((d for d in dices[:-patience] if not math.isnan(d)), default=-math.inf)
    return all(math.isnan(d) or d <= best for d in dices[-patience:])


class _Report:
    """Metrics on their way from the device to the files, in the order of the steps."""

    def __init__(self, writer: MetricsWriter | None, on_step):
        self._writer, self._on_step = writer, on_step
        self._held: list[tuple[int, Any]] = []

    def hold(self, step: int, metrics: Any) -> None:
        self._held.append((step, metrics))
        if len(self._held) >= _HELD:
            self.flush()

    def flush(self) -> None:
        rows: list[Row] = []
        for step, metrics in self._held:
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            if not math.isfinite(values["loss"]):
                raise ValueError(
                    f"the loss of step {step} is {values['loss']}; lower "
                    "optimiser.learning_rate or the weight of a loss"
                )
            rows.append({"step": step, "loss": values["loss"]} | values)
            self._on_step(rows[-1])
        self.write("training", rows)
        self._held = []

    def write(self, name: str, rows: list[Row]) -> None:
        if self._writer is not None and rows:
            self._writer.write(name, rows)


@contextmanager
def _reports(folder, done, on_step):
    """The report of this process; files are written by the first host only."""
    writer = MetricsWriter(folder, done) if jax.process_index() == 0 else None
    try:
        yield _Report(writer, on_step)
    finally:
        if writer is not None:
            writer.close()
