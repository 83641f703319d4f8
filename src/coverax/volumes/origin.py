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
            return _parts_of(path)
    return {}


def _is_there(path: Path) -> bool:
    """Whether a record is there; a path that no file can have is told on reading it."""
    try:
        return path.is_file()
    except OSError:
        return False


def _parts_of(path: Path) -> dict[str, str]:
    with sound(path, "record of maps"):
        content: Any = read_json(path)
        is_known = isinstance(content, dict) and "digest" in content
        if is_known and not is_sealed(content):
            raise ValueError(f"{path}: altered after it was written")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, dict):
        return {}
    return {normal_form(str(stem)): str(part) for stem, part in parts.items()}
