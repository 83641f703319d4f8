"""Preprocessed arrays on disk, read by memory map: cohorts larger than memory.

A file's name carries a digest of everything its content depends on, so a stale entry is
never read; it only lies there. Files appear whole or not at all, so runs may share a
folder. The last of an entry, `CASE.KEY.json`, holds the checksums of its arrays, which are
compared whenever it is opened.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from coverax.files import (
    digest_file,
    digest_json,
    publish_sealed_json,
    publishing,
    read_sealed_json,
)
from coverax.train.config import DataConfig

_LONGEST = 60  # bytes of a case's name in that of its entry; the key tells them apart
_PARSING = threading.Lock()  # NumPy evaluates headers: in threads Python 3.11 may fail
_VERSION = 2  # of what preprocessing does; another number leaves all entries behind


def cached(
    folder: Path, case_id: str, key: str, compute: Callable[[], tuple[Any, ...]]
) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels of a case from the cache; computed and kept where they are not.

    Args:
        folder: Where entries lie.
        case_id: Name of the case.
        key: Digest of what the arrays depend on.
        compute: Makes them where they are not there.

    Raises:
        ValueError: An entry is damaged.
        OSError: The folder cannot be written.
    """
    start = f"{os.fsencode(case_id)[:_LONGEST].decode(errors='ignore')}.{key[:16]}"
    paths = [folder / f"{start}.{what}.npy" for what in ("image", "labels")]
    seal = folder / f"{start}.json"
    if not all(path.is_file() for path in (*paths, seal)):
        for path, array in zip(paths, compute(), strict=True):
            with publishing(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, array)
        publish_sealed_json(seal, {"schema": 1, "case_id": case_id}, paths)
    sealed, _ = read_sealed_json(seal, "cache entry", 1, "train")
    for path in paths:
        if digest_file(path) != sealed["files"].get(path.name):
            raise ValueError(f"{path}: a damaged cache file; delete it")
    image, labels = (_opened(path) for path in paths)
    return image, labels


def cache_key(config: DataConfig, *paths: Path) -> str:
    """Digest of the choices of preprocessing, and of names, sizes and times of files.

    Raises:
        OSError: A file is missing.
    """
    choices: dict[str, Any] = {
        name: value
        for name, value in asdict(config).items()
        if name
        in (
            "classes",
            "spacing_mm",
            "intensity",
            "window",
            "ignore_label",
            "channel_files",
            "orientation",
        )
    }
    # The order of classes gives the indices, which a sorted digest would not see.
    choices["classes"] = list(config.classes.items())
    stats = [(str(path.resolve()), path.stat()) for path in paths]
    files = [
        [name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for name, stat in stats
    ]
    return digest_json([_VERSION, choices, files])


def _opened(path: Path) -> np.ndarray:
    try:
        with _PARSING:
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: a damaged cache file; delete it ({error})") from None
