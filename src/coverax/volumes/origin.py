"""Where maps came from: a mark in each header, and a record beside them.

Maps that `infer` wrote say which model made them, those of `temperature apply` which
fit scaled them, those of `pack` that they were rounded: scores of one kind say nothing of
maps of another. The record names the
part of each case, so that what a model has learned from does not calibrate it. Of maps
made elsewhere nothing is known, and nothing is said.
"""

from pathlib import Path
from typing import Any

from coverax.checks import normal_form
from coverax.files import PathLike, digest_json, is_sealed, read_json, sound

INFER_RECORD = "infer.json"
SCALED_RECORD = "scaled.json"
PACKED_RECORD = "packed.json"
EXPORTED_RECORD = "exported.json"
_PREFIX = "coverax "
_MOST = 80  # bytes of a NIfTI description


def map_mark(description: bytes) -> str:
    """The mark in the description of a header; empty where there is none."""
    text = description.rstrip(b"\0").decode("latin-1")
    return text.removeprefix(_PREFIX) if text.startswith(_PREFIX) else ""


def description_of(mark: str) -> bytes:
    """The description that carries a mark."""
    return f"{_PREFIX}{mark}".encode("latin-1")


def add_mark(mark: str, what: str, digest: str) -> str:
    """A mark with one step more, as `infer:3f2a temperature:91c0`.

    Steps that do not fit into a header become one, which is as good to compare.
    """
    own = f"{what}:{digest[:12]}"
    joined = f"{mark} {own}".strip()
    if len(description_of(joined)) > _MOST:
        return f"{what}:{digest_json([mark, own])[:12]}"
    return joined


def describe_mark(mark: str) -> str:
    """A mark in words, for messages."""
    return (
        f"the mark {mark!r}" if mark else "no mark of infer, temperature apply or pack"
    )


def known_parts(folder: PathLike) -> dict[str, str]:
    """Part of each map in a folder by file stem, where a record names it.

    Raises:
        ValueError: The record is damaged.
    """
    for name in (SCALED_RECORD, PACKED_RECORD, EXPORTED_RECORD, INFER_RECORD):
        path = Path(folder) / name
        if _is_there(path):
            return _names_in(path, "parts")
    return {}


def known_units(folder: PathLike) -> dict[str, str]:
    """Unit of each map in a folder by file stem, where `infer` named it.

    Raises:
        ValueError: The record is damaged.
    """
    return _names_in(Path(folder) / INFER_RECORD, "units")


def known_classes(folder: PathLike) -> dict[str, int]:
    """Label of each channel by the name of its class, where `infer` named them.

    Raises:
        ValueError: The record is damaged.
    """
    found = _names_in(Path(folder) / INFER_RECORD, "classes")
    return {name: int(label) for name, label in found.items()}


def _is_there(path: Path) -> bool:
    """Whether a record is there; a path that no file can have is told on reading it."""
    try:
        return path.is_file()
    except OSError:
        return False


def _names_in(path: Path, key: str) -> dict[str, str]:
    """What a record says of names; empty where there is none, or it says nothing."""
    if not _is_there(path):
        return {}
    with sound(path, "record of maps"):
        content: Any = read_json(path)
        is_known = isinstance(content, dict) and "digest" in content
        if is_known and not is_sealed(content):
            raise ValueError(f"{path}: altered after it was written")
    found = content.get(key) if isinstance(content, dict) else None
    if not isinstance(found, dict):
        return {}
    return {normal_form(str(name)): str(value) for name, value in found.items()}
