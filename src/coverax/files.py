"""Publishing files whole: a temporary name first, then a rename."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when all went well.

    Raises:
        FileExistsError: `path` is a folder or a device.
    """
    check_output_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def publish_text(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    with publishing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_json(path: Path, content: Any) -> None:
    """Write JSON (strict: no NaN, no Infinity) that appears complete or not at all."""
    publish_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def check_output_file(path: Path) -> None:
    """Refuse an output file where something lies that is no file.

    The rename that publishes would replace a device such as `/dev/stdout`.

    Raises:
        FileExistsError: It is a folder or a device.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise FileExistsError(f"{path} is {what}; name a file")


def check_output_folder(folder: Path) -> None:
    """Refuse an output folder that holds something already.

    Raises:
        FileExistsError: It is a file or holds anything.
    """
    if folder.is_dir():
        if any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} exists and is not empty; name a new folder"
            )
    elif folder.exists():
        raise FileExistsError(f"{folder} exists and is not a folder")


def digest_json(content: Any) -> str:
    """SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_ids(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids, whatever their order."""
    text = "".join(f"{i}\n" for i in sorted(set(ids)))
    return hashlib.sha256(text.encode()).hexdigest()
