"""Checkpoints of a run: whole or not there, the last and the best, their config inside.

A checkpoint is the flat table of a state's arrays by name, so it does not depend on how a
library nests them, and one JSON object: version, config, split, validations so far.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keeping

from coverax._version import __version__
from coverax.files import PathLike
from coverax.train.config import TrainConfig, as_plain, parse_config
from coverax.train.model import Model, build_model
from coverax.train.step import TrainState, device_mesh, final_params, start_state

SCHEMA = 1
_UNSCORED = -1.0  # Dice of a step that was not validated: below every Dice
FOLDER = "checkpoints"
# Choices that change where a run reads and what it keeps, but no number of it.
_FREE = {
    "data.images",
    "data.labels",
    "data.units",
    "data.cache",
    "data.split",
    "run.checkpoint_every",
    "run.keep_best",
}


class Checkpoint(NamedTuple):
    """What inference needs of a run.

    Attributes:
        config: The config it was trained with.
        model: The net of the config.
        params: Its parameters; their moving average if it has one.
        step: Steps done.
        split_digest: Digest of the split that it was trained on; empty without one.
    """

    config: TrainConfig
    model: Model
    params: Any
    step: int
    split_digest: str


@contextmanager
def open_checkpoints(
    folder: Path, keep_best: int = 0, *, is_reader: bool = False
) -> Iterator[ocp.CheckpointManager]:
    """The checkpoints of a run's folder: the last is kept, and the best by Dice.

    A reader changes nothing, so it may look into the folder of a run that goes on.
    """
    policies: list[keeping.PreservationPolicy] = [keeping.LatestN(1)]
    if keep_best:
        best = keeping.BestN(
            get_metric_fn=lambda metrics: metrics["dice"],
            n=keep_best,
        )
        policies.append(best)
    with _quiet():
        manager = _manager(folder, policies, is_reader=is_reader)
    with manager:
        yield manager


def _manager(
    folder: Path, policies: list[Any], *, is_reader: bool
) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keeping.AnyPreservationPolicy(policies),
        best_fn=lambda metrics: metrics["dice"],
        cleanup_tmp_directories=not is_reader,
        read_only=is_reader,
        # The next step overwrites the state's memory, so it is written out before.
        enable_async_checkpointing=False,
    )
    handlers = {
        "state": ocp.StandardCheckpointHandler(),
        "about": ocp.JsonCheckpointHandler(),
    }
    return ocp.CheckpointManager(
        (folder / FOLDER).absolute(), options=options, item_handlers=handlers
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings that a reader only reads: the library logs them at every opening."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def save(
    manager: ocp.CheckpointManager,
    state: TrainState,
    config: TrainConfig,
    split_digest: str,
    dices: list[float],
    dice: float | None,
) -> None:
    """Publish a state under its step; `dice` where it has just been validated."""
    about = {
        "schema": SCHEMA,
        "coverax": __version__,
        "config": as_plain(config),
        "split": split_digest,
        "dices": dices,
    }
    is_scored = dice is not None and not math.isnan(dice)
    metrics = {"dice": dice if is_scored else _UNSCORED}
    manager.save(
        int(state.step),
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(_named(state)), about=ocp.args.JsonSave(about)
        ),
        metrics=metrics,
    )


def resume(
    manager: ocp.CheckpointManager,
    start: TrainState,
    config: TrainConfig,
    split_digest: str,
) -> tuple[TrainState, list[float]]:
    """The last state and its validations, or the start where nothing was saved.

    Args:
        manager: Checkpoints of the run.
        start: The state before the first step: shapes and devices.
        config: What the run is asked to be.
        split_digest: Digest of its split.

    Raises:
        ValueError: The checkpoint is of another config, split or net.
    """
    step = manager.latest_step()
    if step is None:
        return start, []
    about = _about(manager, step)
    where = f"{manager.directory}"
    check_same_config(where, as_plain(config), about["config"])
    if about["split"] != split_digest:
        raise ValueError(f"{where}: its checkpoint was trained on another split")
    return _state(manager, step, start), about["dices"]


def load(folder: PathLike) -> Checkpoint:
    """A checkpoint of a run's folder (the best, else the last), or one by its folder.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another version or does not fit its net.
    """
    folder = Path(folder)
    root, asked = folder, None
    if folder.parent.name == FOLDER and folder.name.isdigit():
        root, asked = folder.parent.parent, int(folder.name)
    if not (root / FOLDER).is_dir():
        raise FileNotFoundError(f"{folder}: no checkpoint of coverax train")
    with open_checkpoints(root, is_reader=True) as manager:
        step = _best_step(manager) if asked is None else asked
        if step is None or step not in manager.all_steps():
            raise FileNotFoundError(f"{folder}: no finished checkpoint")
        about = _about(manager, step)
        config = parse_config(about["config"], Path())
        model = build_model(config)
        mesh = device_mesh(1, jax.local_devices()[:1])
        like = jax.eval_shape(lambda: start_state(model, config, mesh))
        state = _state(manager, step, like)
    return Checkpoint(config, model, final_params(state), step, about["split"])


def steps_done(folder: PathLike) -> int:
    """Steps of the last checkpoint of a run's folder; 0 without one."""
    folder = Path(folder)
    if not (folder / FOLDER).is_dir():
        return 0
    with open_checkpoints(folder, is_reader=True) as manager:
        return manager.latest_step() or 0


def check_same_config(where: str, asked: Any, found: Any, key: str = "") -> None:
    """Refuse a config that differs from a checkpoint's in anything that changes numbers.

    Raises:
        ValueError: They differ; one line names the first key.
    """
    if key.removesuffix(".") in _FREE:
        return
    if isinstance(asked, dict) and isinstance(found, dict):
        for name in sorted(asked.keys() | found.keys()):
            check_same_config(where, asked.get(name), found.get(name), f"{key}{name}.")
    elif asked != found:
        raise ValueError(
            f"{where}: another config: {key.removesuffix('.')} is "
            f"{asked!r} here and {found!r} there; name a new folder"
        )


def _best_step(manager):
    """The step of the highest Dice, the later of equals; else the last."""
    scored = [(manager.metrics(step)["dice"], step) for step in manager.all_steps()]
    dice, step = max(scored, default=(_UNSCORED, None))
    return manager.latest_step() if dice == _UNSCORED else step


def _about(manager, step):
    about = manager.restore(
        step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
    )["about"]
    if about.get("schema") != SCHEMA:
        raise ValueError(
            f"{manager.directory}: checkpoint of schema {about.get('schema')}, this "
            f"version reads {SCHEMA}"
        )
    return about


def _state(manager, step, like):
    """The state of a step in the shapes and on the devices of another."""
    named = _named(like)
    stored = manager.item_metadata(step)["state"]
    shapes = {name: tuple(array.shape) for name, array in stored.items()}
    for name in sorted(named.keys() | shapes.keys()):
        expected = named[name].shape if name in named else "nothing"
        if expected != shapes.get(name, "nothing"):
            raise ValueError(
                f"{manager.directory}: does not fit the net of this version: {name} is "
                f"{shapes.get(name, 'nothing')}, expected {expected}"
            )
    args = ocp.args.Composite(state=ocp.args.StandardRestore(named))
    found = manager.restore(step, args=args)["state"]
    return jax.tree.unflatten(jax.tree.structure(like), [found[n] for n in named])


def _named(state):
    """The arrays of a state by their place in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
