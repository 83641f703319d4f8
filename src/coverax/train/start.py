"""Where the first parameters come from: drawn, of an earlier run, or of MONAI's net."""

import importlib
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from coverax.files import PathLike, digest_file
from coverax.train import nets
from coverax.train.checkpoint import digest_params, load_checkpoint
from coverax.train.config import TrainConfig
from coverax.train.model import Model, build_model
from coverax.train.monai import fill_net
from coverax.train.split import Split, read_split

_SEEN = ("train", "learning")


def starting_model(config: TrainConfig) -> Model:
    """The net of a config, with `run.start` where its first parameters lie.

    Raises:
        OSError: There is no such file or folder.
        ValueError: What lies there does not fit the net.
    """
    model = build_model(config)
    if config.run.start is None:
        return model
    params = first_params(config, config.run.start)
    return model._replace(start=lambda _seed: params)


def first_params(config: TrainConfig, path: PathLike) -> Any:
    """Parameters to start from, of the net of a config.

    Args:
        config: Preset, sizes, channels, classes and patch.
        path: A folder of `coverax train` (the best checkpoint, else the last) or one of
            its steps; or a state dictionary of MONAI's net, `.npz` or `.safetensors`.

    Raises:
        OSError: There is no such file or folder.
        ValueError: The arrays do not fit; one line names the file and the first.
    """
    path = Path(path)
    if path.is_dir():
        return _of_run(config, path)
    x, y, z = config.patch.size
    net = nets.build(
        config.net,
        in_channels=config.data.channels,
        n_classes=len(config.data.classes),
        patch=(x, y, z),
        rngs=nnx.Rngs(0),
    )
    try:
        fill_net(config.net.preset, net, read_arrays(path))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return nnx.state(net, nnx.Param)


def read_arrays(path: PathLike) -> dict[str, np.ndarray]:
    """Named arrays of a `.npz` or `.safetensors` file.

    Raises:
        OSError: There is no such file.
        ValueError: It is another kind of file, or a damaged one.
    """
    path = Path(path)
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"no .npz of plain arrays ({error})") from None
    if path.suffix != ".safetensors":
        raise ValueError("weights are a folder of coverax train, .npz or .safetensors")
    try:
        library = importlib.import_module("safetensors.numpy")
    except ImportError:
        raise ValueError("reading it needs `pip install safetensors`") from None
    content = path.read_bytes()
    try:
        return library.load(content)
    except Exception as error:  # noqa: BLE001  it has errors of its own
        raise ValueError(f"a damaged .safetensors file ({error})") from None


def start_digest(config: TrainConfig) -> str:
    """Which first parameters: digest of the file, or of the run's; empty if drawn."""
    path = config.run.start
    if path is None:
        return ""
    if path.is_dir():
        return digest_params(load_checkpoint(path).params)
    return digest_file(path)


def check_start(config: TrainConfig, split: Split) -> str:
    """Refuse a start that has seen units of the parts calibration or test.

    A net that goes on from such weights has been trained on those units, and a threshold
    of them promises a coverage that new units do not get.

    Returns:
        What nobody can know of the start, in one line; empty where there is none.

    Raises:
        ValueError: The run of the start trained on units that must not be seen.
    """
    path = config.run.start
    if path is None:
        return ""
    warning = (
        f"{path}: make sure that these weights were not trained on units of the parts "
        "calibration and test"
    )
    root = path.parent.parent if path.name.isdigit() else path
    if not path.is_dir() or not (root / "split.json").is_file():
        return warning
    theirs = read_split(root / "split.json")
    seen = {unit for unit, part in theirs.parts.items() if part in _SEEN}
    kept_out = {unit for unit, part in split.parts.items() if part not in _SEEN}
    if both := sorted(seen & kept_out):
        raise ValueError(
            f"{path}: was trained on unit {both[0]} and {len(both) - 1} more of the "
            f"parts calibration and test; data.split = {root / 'split.json'} keeps the "
            "parts as they were"
        )
    return "" if theirs.parts.keys() >= split.parts.keys() else warning


def _of_run(config: TrainConfig, path: Path) -> Any:
    """Parameters of an earlier run, if its net is this one."""
    found = load_checkpoint(path).params
    wanted = jax.eval_shape(lambda: build_model(config).start(0))
    if jax.tree.structure(found) != jax.tree.structure(wanted):
        raise ValueError(f"{path}: is of another net than net.preset and net.sizes say")
    leaves = jax.tree_util.tree_leaves_with_path(found)
    for (key, leaf), have in zip(leaves, jax.tree.leaves(wanted), strict=True):
        if leaf.shape != have.shape:
            name = jax.tree_util.keystr(key, simple=True, separator=".")
            raise ValueError(f"{path}: {name} has {leaf.shape}, the net {have.shape}")
    return found
