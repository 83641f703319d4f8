"""What is known of a file without reading it: enough to see that it was replaced."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coverax.files import PathLike, digest_file


def file_facts(paths: Iterable[PathLike | None], *, content: bool = False) -> list[Any]:
    """Path, size and times of each file, JSON-able; None for a file that is not there.

    Taken before a file is read and compared for equality later, they tell a file that
    was replaced meanwhile even where the copy kept its time: the time of the change of
    the inode (`ctime`) is the system's own. Order of times is never asked.

    Args:
        paths: Files; None where a case has none.
        content: Add the SHA-256 of the bytes, for file systems whose times are not to
            be trusted.
    """
    return [_facts(None if p is None else Path(p), content) for p in paths]


def _facts(path: Path | None, content: bool) -> list[Any] | None:
    if path is None:
        return None
    try:
        found = path.stat()
        facts = [os.path.abspath(path), found.st_size, found.st_mtime_ns]  # noqa: PTH100
        facts.append(found.st_ctime_ns)
        if content:
            facts.append(digest_file(path))
    except OSError:
        return None
    return facts
