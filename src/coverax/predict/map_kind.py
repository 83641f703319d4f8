"""Maps as a calibration takes them: of its kind, or refused by name."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from coverax.files import PathLike, read_json
from coverax.scores import ScoreDefinition
from coverax.volumes import (
    Buffer,
    NiftiFile,
    ProbMap,
    common_storages,
    describe_mark,
    file_stem,
    read_header,
    read_probs,
)


def check_map_kind(file: NiftiFile, definition: ScoreDefinition) -> None:
    """Refuse a map of another kind than the calibration was made for.

    Raises:
        ValueError: It has another number of channels, is quantised otherwise, or was
            made by another model or scaled by another temperature.
    """
    kind = definition.map_kind
    if kind is None:
        return
    n_channels = file.n_channels if file.has_channel_axis else 0
    if n_channels != kind.n_channels:
        raise ValueError(
            f"{file.path}: the calibration is for maps with "
            f"{_channels(kind.n_channels)}, this one has {_channels(n_channels)}"
        )
    if not file.is_stored_as(kind.storages):
        known = common_storages(kind.storages)
        raise ValueError(
            f"{file.path}: values are stored as {file.storage}, the calibration is for "
            f"{' or '.join(known)}; other rounding is another score"
        )
    check_mark(file, definition)


def check_mark(file: NiftiFile, definition: ScoreDefinition) -> None:
    """Refuse a map of another model or temperature than the calibration's.

    Raises:
        ValueError: Its header says so, or does not say what theirs say.
    """
    kind = definition.map_kind
    if kind is not None and kind.mark is not None and file.mark != kind.mark:
        raise ValueError(
            f"{file.path}: the calibration is for maps with {describe_mark(kind.mark)}, "
            f"this one has {describe_mark(file.mark)}; maps of another model, or scaled or "
            "rounded otherwise, have other scores"
        )


def check_first_mark(paths: Iterable[PathLike], definition: ScoreDefinition) -> None:
    """The same for the first map of a folder: one line for all, before any is read.

    Raises:
        ValueError: It is a mask that `predict_folder` wrote, too.
    """
    for path in map(Path, list(paths)[:1]):
        if not definition.allow_hard_masks:
            _check_no_mask(path)
        try:
            file = read_header(path)
        except (OSError, ValueError):
            return  # what is wrong with it is said where all maps are read
        check_mark(file, definition)


def _check_no_mask(path: Path) -> None:
    """Refuse a mask of ours, which the sidecar of its case names."""
    words = (file_stem(path) or "").split("_")
    for n in range(1, len(words) + 1):
        sidecar = path.with_name(f"{'_'.join(words[:n])}.json")
        if sidecar.is_file() and _names_mask(sidecar, path.name):
            raise ValueError(
                f"{path}: is a mask that predict wrote ({sidecar.name}) and no map: "
                "name the folder of maps"
            )


def _names_mask(sidecar: Path, name: str) -> bool:
    try:
        content = read_json(sidecar)
    except (OSError, ValueError, RecursionError):
        return False  # of another tool
    is_ours = isinstance(content, dict) and "calibration_digest" in content
    return is_ours and name in content.get("files", {})


def _channels(n: int) -> str:
    return f"{n} channels" if n else "no class axis"


def read_map(
    definition: ScoreDefinition, path: Path, buffer: Buffer | None = None
) -> ProbMap:
    """A map as the calibration reads it."""
    return read_probs(
        path,
        check_header=partial(check_map_kind, definition=definition),
        channels=definition.channels,
        logits=definition.logits,
        allow_overshoot=definition.allow_overshoot,
        buffer=buffer,
    )
