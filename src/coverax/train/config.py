"""What a training run is: one TOML file, every choice named, read once and checked."""

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from coverax.files import PathLike, digest_json
from coverax.train.config_rules import check_rules
from coverax.train.run_presets import with_preset

_LARGEST = 2**63  # numbers of a config; no NaN and no infinity


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which files, in which grid and intensity the net sees them.

    Attributes:
        images: Folder of images (.nii, .nii.gz), relative to the config file.
        labels: Folder of label maps, or of segments of 3D Slicer, matched to the images
            by stem.
        classes: Class names and their label values; the order gives the channels and
            the first is the background. A value outside of it is an error. Segments
            are found by name.
        spacing_mm: Grid of the net in millimetres; None keeps each file's own.
        orientation: Every volume is turned into it by whole voxels (`RAS`), and its map
            back; None keeps each file's own order of axes.
        intensity: `z-score` (per case) or `window` (clipped to `window`, then scaled
            to mean 0 and deviation 1 by the window's middle and half width).
        window: Lowest and highest intensity of `window`.
        units: CSV of `case_id,unit` where a patient owns several cases; None means
            units are told by the names of cases.
        unit_pattern: Finds the unit in a case id instead (a regular expression: its
            first group, or all it matches); None takes `sub-XX` of BIDS names.
        shares: Shares of the units of the parts train, learning, calibration, test.
        split_seed: Seed of the split.
        split: A split file of an earlier run, used instead of `shares`.
        cache: Folder of preprocessed cases; None preprocesses in memory.
        channels: Channels of an image: the length of its fourth axis, 1 without one.
        channel_files: Images have a file a channel, `CASE_0000`, `CASE_0001`, ...
        allow_missing: Leave out images without a reference, and the reverse, instead of
            refusing them.
        ignore_label: Label value of voxels that count nowhere; None for none.
        dataset: One's own cases in place of both folders, `package.module:function`; see
            `coverax.train.own`.
    """

    images: Path
    labels: Path
    classes: dict[str, int]
    spacing_mm: tuple[float, ...] | None = None
    orientation: str | None = None
    intensity: str = "z-score"
    window: tuple[float, ...] | None = None
    units: Path | None = None
    unit_pattern: str | None = None
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "train": 0.5,
            "learning": 0.1,
            "calibration": 0.2,
            "test": 0.2,
        }
    )
    split_seed: int = 0
    split: Path | None = None
    cache: Path | None = None
    channels: int = 1
    channel_files: bool = False
    allow_missing: bool = False
    ignore_label: int | None = None
    dataset: str | None = None


@dataclass(frozen=True, kw_only=True)
class NetConfig:
    """A preset of `coverax.train.nets` and what is changed in it.

    Attributes:
        preset: Name of the preset.
        axes: 3, or 2 for a net of slices (patches of one voxel along the last axis).
        sizes: The preset's own sizes that are replaced (`channels`, `blocks`, ...).
        compute: `float32` or `bfloat16`; parameters stay float32.
        rematerialise: Recompute activations in the backward pass to save memory.
        module: One's own net in place of the preset, `package.module:Class`; see
            `coverax.train.own`.
    """

    preset: str = "unet3d-small"
    axes: int = 3
    sizes: dict[str, Any] = field(default_factory=dict)
    compute: str = "float32"
    rematerialise: bool = False
    module: str | None = None


@dataclass(frozen=True, kw_only=True)
class PatchConfig:
    """How patches are drawn and changed.

    Attributes:
        size: Voxels along each of the three axes.
        batch: Patches a step, over all devices.
        foreground: Share of patches centred on a foreground voxel.
        rotation_degrees: Largest rotation about each axis.
        zoom: Largest relative change of size.
        flip_axes: Axes that may be flipped, each with probability one half.
        noise: Largest deviation of added Gaussian noise.
        blur_voxels: Largest deviation of a Gaussian blur.
        gamma: Largest change of the logarithm of gamma.
        brightness: Largest relative change of all intensities.
        contrast: Largest relative change of the distance from the patch's mean, within
            the patch's range.
        low_resolution: Largest share of voxels an axis that a made-up coarser scan has
            less, in [0, 1): 0.5 halves the resolution.
        probability: Probability of each of these changes but flips.
    """

    size: tuple[int, ...] = (32, 32, 32)
    batch: int = 2
    foreground: float = 0.5
    rotation_degrees: float = 15.0
    zoom: float = 0.2
    flip_axes: tuple[int, ...] = ()
    noise: float = 0.1
    blur_voxels: float = 1.0
    gamma: float = 0.3
    brightness: float = 0.0
    contrast: float = 0.0
    low_resolution: float = 0.0
    probability: float = 0.2


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """How parameters move.

    Attributes:
        name: `adamw` or `sgd` (Nesterov's momentum).
        learning_rate: Highest rate, after the warm-up; the schedule takes it to zero.
        schedule: `cosine`, or `polynomial`: the share of steps left to the `power`.
        power: Exponent of the polynomial.
        momentum: Momentum of `sgd`.
        weight_decay: Weight decay.
        coupled_decay: The decay is part of the gradient, before the momentum, instead
            of being decoupled from it; of `sgd` alone.
        warmup_steps: Steps of linear warm-up.
        clip: Largest global gradient norm.
        ema: Decay of the moving average of the parameters; 0 for none.
    """

    name: str = "adamw"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    power: float = 0.9
    momentum: float = 0.99
    weight_decay: float = 1e-4
    coupled_decay: bool = False
    warmup_steps: int = 50
    clip: float = 12.0
    ema: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """How long, how often, from which seed.

    Attributes:
        steps: Optimiser steps.
        seed: Seed of parameters, patches and augmentation.
        validate_every: Steps between validations on the learning part; 0 for never.
        checkpoint_every: Steps between checkpoints.
        keep_best: Best checkpoints kept, by mean Dice on the learning part.
        patience: Validations without improvement before an early stop; 0 for never.
        start: Weights to start from: a folder of `coverax train`, or a state dictionary
            of MONAI's net (.npz, .safetensors); None draws them from the seed.
    """

    steps: int = 1000
    seed: int = 0
    validate_every: int = 250
    checkpoint_every: int = 250
    keep_best: int = 1
    patience: int = 0
    start: Path | None = None


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole run.

    Attributes:
        losses: Names of `coverax.losses`, or `package.module:function` of one's own, and
            their weights.
        loss_options: Keyword options of those losses, by name.
        preset: Name of the choices that were the defaults, of
            `coverax.train.run_presets`; None for those of the tables above.
    """

    data: DataConfig
    net: NetConfig = field(default_factory=NetConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    losses: dict[str, float] = field(
        default_factory=lambda: {"soft_dice": 1.0, "cross_entropy": 1.0}
    )
    loss_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    run: RunConfig = field(default_factory=RunConfig)
    preset: str | None = None


def load_config(path: PathLike) -> TrainConfig:
    """Read and check a TOML config; paths in it are relative to the file.

    Raises:
        OSError: The file cannot be read.
        ValueError: A key is unknown or a value is impossible; one line names the file
            and the key.
    """
    path = Path(path)
    try:
        return parse_config(
            tomllib.loads(path.read_text(encoding="utf-8")), path.parent
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: tables or lists are nested too deeply") from None


def parse_config(raw: dict[str, Any], folder: PathLike) -> TrainConfig:
    """A checked config of plain dictionaries.

    Raises:
        ValueError: A key is unknown or a value is impossible.
    """
    raw = with_preset(raw)
    data = raw.get("data")
    if isinstance(data, dict) and "dataset" in data:
        raw = raw | {"data": {"images": ".", "labels": "."} | data}
    config: TrainConfig = _build(TrainConfig, raw, Path(folder), "")
    check_rules(config)
    return config


def config_digest(config: TrainConfig) -> str:
    """Digest of the choices that say which parameters fit: the net and its classes."""
    return digest_json(
        {"net": as_plain(config.net), "classes": list(config.data.classes)}
    )


def as_plain(config: Any) -> Any:
    """A config as plain JSON values; `parse_config` takes them back."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        return {k: as_plain(v) for k, v in values.items() if v is not None}
    if isinstance(config, dict):
        return {k: as_plain(v) for k, v in config.items()}
    if isinstance(config, tuple):
        return [as_plain(v) for v in config]
    return str(config) if isinstance(config, Path) else config


def portable(config: TrainConfig) -> dict[str, Any]:
    """As plain values to be kept with a run: of absolute paths the last name alone."""
    plain = as_plain(config)
    for table in ("data", "run"):
        for name, value in plain[table].items():
            is_path = isinstance(getattr(getattr(config, table), name), Path)
            if is_path and Path(value).is_absolute():
                plain[table][name] = Path(value).name or "data"
    return plain


def _build(kind: Any, raw: dict[str, Any], folder: Path, where: str) -> Any:
    """A dataclass of a table; nested tables become nested dataclasses."""
    hints = get_type_hints(kind)
    if unknown := sorted(set(raw) - set(hints)):
        known = ", ".join(hints)
        raise ValueError(f"unknown key {where}{unknown[0]:.60} (known here: {known})")
    values = {
        key: _value(hints[key], value, folder, f"{where}{key}")
        for key, value in raw.items()
    }
    fields = dataclasses.fields(kind)
    required = {
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    if missing := sorted(required - set(values)):
        raise ValueError(f"{where}{missing[0]} is missing")
    return kind(**values)


def _value(hint: Any, value: Any, folder: Path, where: str) -> Any:
    """One value as its field's type."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be a table")
        return _build(hint, value, folder, f"{where}.")
    text = str(hint)
    if "Path" in text:
        return folder / _checked(value, str, where)
    if "tuple" in text:
        number = int if "int" in text else float
        return tuple(
            _number(v, number, f"{where}[{i}]")
            for i, v in enumerate(_checked(value, list, where))
        )
    if "dict" in text:
        return _table(text, _checked(value, dict, where), where)
    if hint == int | None:
        return _number(value, int, where)
    if hint in (int, float):
        return _number(value, hint, where)
    return _checked(value, bool if hint is bool else str, where)


def _table(text: str, value: dict[str, Any], where: str) -> dict[str, Any]:
    """A table of numbers, of tables, or of anything, as its type says."""
    inner = text.removeprefix("dict[str, ")
    if inner.startswith("dict"):
        return {k: dict(_checked(v, dict, f"{where}.{k}")) for k, v in value.items()}
    if inner.startswith(("int", "float")):
        kind = int if inner.startswith("int") else float
        return {k: _number(v, kind, f"{where}.{k}") for k, v in value.items()}
    return dict(value)


def _number(value: Any, kind: type, where: str) -> Any:
    """A finite number of the right kind; an integer may stand for a float."""
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f"{where} must be {kind.__name__}, not {value!r:.80}")
    if not abs(value) <= _LARGEST:
        raise ValueError(f"{where} must be a number of common size")
    return kind(value)


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{where} must be {kind.__name__}, not {value!r:.80}")
    return value
