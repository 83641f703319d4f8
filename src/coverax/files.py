"""Publishing files whole: a temporary name first, then a rename."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def publish_text(path: Path, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    check_output_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def publish_json(path: Path, content: Any) -> None:
    """Write JSON (strict: no NaN, no Infinity) that appears complete or not at all."""
    publish_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def check_output_file(path: Path) -> None:
    """Refuse an output file where a folder lies.

    Raises:
        IsADirectoryError: It is a folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file")


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
