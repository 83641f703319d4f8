"""Checkpoints of a run: whole or not there, the last and the best, their config inside.

A checkpoint is the flat table of a state's arrays by name, so it does not depend on how a
library nests them, and one JSON object: version, config, split, validations so far, and
digests of the arrays and of itself, which are compared when it is read.
"""

import hashlib
import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy as keeping

from coverax._version import __version__
from coverax.files import (
    PathLike,
    digest_file,
    digest_json,
    publish_sealed_json,
    publish_text,
    read_sealed_json,
    sound,
)
from coverax.locks import locked
from coverax.train.config import TrainConfig, parse_config, portable
from coverax.train.model import Model, build_model
from coverax.train.step import TrainState, device_mesh, final_params, start_state

SCHEMA = 1
_UNSCORED = -1.0  # Dice of a step that was not validated: below every Dice
FOLDER = "checkpoints"
_DELETED = "deleted"  # old steps go there by a rename, so that none is half deleted
_SEAL = "seal.json"
_ALTERED = "a damaged checkpoint: not the file that was written"
_PARTS = ("state", "about", "metrics")  # of a whole step
# Choices that change where a run reads and what it keeps, but no number of it.
_FREE = {
    "data.images",
    "data.labels",
    "data.units",
    "data.cache",
    "data.split",
    "run.checkpoint_every",
    "run.keep_best",
    "run.start",  # its content counts, which config.json has the digest of
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


def digest_params(params: Any) -> str:
    """SHA-256 of the parameters of a net: which model made a map."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        own = leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf
        array = np.asarray(own)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def only_writer(folder: PathLike) -> AbstractContextManager[None]:
    """Be the one process that trains in a folder; of several hosts the first asks.

    Raises:
        BlockingIOError: Another does.
    """
    return locked(Path(folder)) if jax.process_index() == 0 else nullcontext()


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
    is_writer = not is_reader and jax.process_index() == 0
    if is_writer:
        _clear_deleted(folder / FOLDER)
    with _quiet(), _readable(folder / FOLDER):
        manager = _manager(folder, policies, is_reader=is_reader)
    with manager:
        yield manager
    if is_writer:
        _clear_deleted(folder / FOLDER)  # what could not be removed when it was dropped


def _clear_deleted(root: Path) -> None:
    """Remove old steps: those on their way out, and those that are half deleted."""
    shutil.rmtree(root / _DELETED, ignore_errors=True)
    found = sorted(int(p.name) for p in root.glob("*") if p.name.isdigit())
    for step in found[:-1]:  # the last was never to be deleted: it is read, or refused
        if not _is_whole(root / str(step)):
            shutil.rmtree(root / str(step))


def _is_whole(step: Path) -> bool:
    return all((step / part).is_dir() for part in _PARTS)


@contextmanager
def _readable(where: Path) -> Iterator[None]:
    """Make one line of whatever the library says of a file that is not as it wrote it."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # noqa: BLE001  it raises bare ones too
        why = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{where}: a damaged checkpoint ({type(error).__name__}: {why})"
        ) from None


def _manager(
    folder: Path, policies: list[Any], *, is_reader: bool
) -> ocp.CheckpointManager:
    options = ocp.CheckpointManagerOptions(
        preservation_policy=keeping.AnyPreservationPolicy(policies),
        best_fn=lambda metrics: metrics["dice"],
        cleanup_tmp_directories=not is_reader,
        read_only=is_reader,
        todelete_subdir=None if is_reader else _DELETED,
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
def _quiet(least: int = logging.ERROR) -> Iterator[None]:
    """No warnings that a reader only reads: the library logs them at every opening."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(least)
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
    metrics = {"dice": _UNSCORED if dice is None or math.isnan(dice) else float(dice)}
    about = {
        "schema": SCHEMA,
        "coverax": __version__,
        "config": portable(config),
        "split": split_digest,
        "dices": dices,
        "dice": metrics["dice"],
        "state": digest_params(_named(state)),
    }
    about["digest"] = _digest_about(about)
    step = int(state.step)
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(_named(state)), about=ocp.args.JsonSave(about)
    )
    with _quiet(logging.CRITICAL):  # what fails is raised, and said once
        manager.save(step, args=args, metrics=metrics)
    if jax.process_index() == 0:
        _tidy(Path(manager.directory), step)


def _tidy(root: Path, step: int) -> None:
    """Remove what was dropped for a step and where it lay when it was saved; seal it."""
    shutil.rmtree(root / _DELETED, ignore_errors=True)
    folder = root / str(step)
    for path in folder.rglob("commit_success.txt"):
        publish_text(path, "committed\n")  # it is there, that is all it says
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix != ".tmp"]
    publish_sealed_json(folder / _SEAL, {"schema": SCHEMA, "step": step}, sorted(files))


def _check_files(step: Path) -> None:
    """Compare the files of a step with its seal, which a kill may have left out.

    The library says more than one line of a damaged file, and on threads of its own.
    """
    if not (step / _SEAL).is_file():
        return
    sealed, _ = read_sealed_json(step / _SEAL, "seal of a checkpoint", SCHEMA, "train")
    for name, digest in sealed["files"].items():
        if not (step / name).is_file() or digest_file(step / name) != digest:
            raise ValueError(f"{step / name}: {_ALTERED}")


def _digest_about(about: dict[str, Any]) -> str:
    """Of all but the digest; a Dice may be no number, which JSON does not know."""
    plain = {k: v for k, v in about.items() if k != "digest"}
    return digest_json(plain | {"dices": [float(d).hex() for d in about["dices"]]})


def resume(
    manager: ocp.CheckpointManager,
    start: TrainState,
    config: TrainConfig,
    split_digest: str,
) -> tuple[TrainState, list[float]]:
    """The last state and its validations, or the start where nothing was saved.

    What a kill kept its writer from is done: older steps go, and it is sealed.

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
    check_same_config(where, portable(config), about["config"])
    if about["split"] != split_digest:
        raise ValueError(f"{where}: its checkpoint was trained on another split")
    state, root = _state(manager, step, start, about), Path(where)
    _drop_old(manager, config.run.keep_best)
    if jax.process_index() == 0:
        shutil.rmtree(root / _DELETED, ignore_errors=True)
        if not (root / str(step) / _SEAL).is_file():
            _tidy(root, step)
    return state, about["dices"]


def _drop_old(manager: ocp.CheckpointManager, keep_best: int) -> None:
    """Delete the steps that no policy keeps, as the save of the last one does."""
    steps = sorted(manager.all_steps())
    found = {step: manager.metrics(step) or {} for step in steps}
    by_dice = sorted(steps, key=lambda step: found[step].get("dice", _UNSCORED))
    kept = {steps[-1], *by_dice[len(steps) - min(keep_best, len(steps)) :]}
    for step in set(steps) - kept:
        manager.delete(step)


def load_checkpoint(folder: PathLike) -> Checkpoint:
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
        steps = _whole_steps(manager)
        step = _best_step(manager, steps) if asked is None else asked
        if step is None or step not in steps:
            raise FileNotFoundError(f"{folder}: no finished checkpoint")
        about = _about(manager, step)
        with sound(folder, "checkpoint"):
            config = parse_config(about["config"], Path())
        model = build_model(config)
        mesh = device_mesh(1, jax.local_devices()[:1])
        like = jax.eval_shape(lambda: start_state(model, config, mesh))
        state = _state(manager, step, like, about)
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


def _whole_steps(manager) -> list[int]:
    """Steps that are there in full; one may be half deleted."""
    root = Path(manager.directory)
    return [s for s in sorted(manager.all_steps()) if _is_whole(root / str(s))]


def _best_step(manager, steps):
    """The step of the highest Dice, the later of equals; else the last."""
    scored = [(_about(manager, step)["dice"], step) for step in steps]
    dice, step = max(scored, default=(_UNSCORED, None))
    return steps[-1] if scored and dice == _UNSCORED else step


def _about(manager, step):
    where = Path(manager.directory) / str(step)
    _check_files(where)
    with _readable(where):
        args = ocp.args.Composite(about=ocp.args.JsonRestore())
        about = dict(manager.restore(step, args=args)["about"])
    if about.get("schema") != SCHEMA:
        raise ValueError(
            f"{where}: checkpoint of schema {about.get('schema')!r:.40}, this version "
            f"reads {SCHEMA}"
        )
    if "digest" not in about:
        raise ValueError(
            f"{where}: carries no digest, as earlier versions wrote it; run `coverax "
            "train` again"
        )
    with sound(where, "checkpoint"):
        if about["digest"] != _digest_about(about):
            raise ValueError(f"{where}: {_ALTERED}")
    return about


def _state(manager, step, like, about):
    """The state of a step in the shapes and on the devices of another."""
    where = Path(manager.directory) / str(step)
    named = _named(like)
    with _readable(where):
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
    with _readable(where):
        found = manager.restore(step, args=args)["state"]
    if digest_params(found) != about["state"]:
        raise ValueError(f"{where}: {_ALTERED}")
    return jax.tree.unflatten(jax.tree.structure(like), [found[n] for n in named])


def _named(state):
    """The arrays of a state by their place in it."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): leaf
        for path, leaf in leaves
    }
