"""Where every number comes from: versions, digests, dates, seeds, the command."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from coverax._version import __version__
from coverax.files import digest_file
from coverax.report.blocks import NONE, Block, Section, Table, Terms, Text
from coverax.report.found import Found


def provenance(found: Found, command: Sequence[str]) -> Section:
    """The files, with their digests, dates and seeds, and those that were not read.

    Args:
        found: All that lies there.
        command: The command line that makes the report; none from Python.
    """
    rows = [_row(kind, path, content) for kind, path, content in _items(found)]
    pairs = [
        ("Report by", f"coverax {__version__}"),
        ("Folders", ", ".join(map(str, found.folders))),
    ]
    if command:
        pairs.insert(1, ("Command", shlex.join(command)))
    blocks: list[Block] = [
        Terms(pairs),
        Table(
            "Files read",
            ("File", "What", "Written (UTC)", "Seed", "SHA-256 of the file"),
            rows,
        ),
        Text(
            "Each file carries a digest of its own, which was compared. A digest shows "
            "that a file is as it was written, not who wrote it. Dates are those of the "
            "file system. The command lines of earlier steps are not recorded in their "
            "files: what they decided is, and stands above.",
            "note",
        ),
    ]
    if found.unread:
        unread = [[str(path), why] for path, why in found.unread]
        blocks.append(Table("Files not read", ("File", "Why"), unread))
    return Section("provenance", "Where the numbers come from", blocks)


_KINDS = {
    "calibrations": "calibration",
    "evaluations": "evaluation",
    "validations": "validation",
    "reliabilities": "reliability",
    "temperatures": "temperature",
    "monitors": "monitor state",
    "tables": "score table",
}


def _items(found: Found) -> Iterator[tuple[str, Path, Any]]:
    for of, kind in _KINDS.items():
        yield from ((kind, item.path, item.content) for item in getattr(found, of))


def _row(kind: str, path: Path, content: Any) -> list[str]:
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    policy = getattr(content, "policy", None)
    seed = getattr(content, "seed", None) if policy is None else policy.seed
    return [
        str(path),
        kind,
        f"{written:%Y-%m-%d %H:%M}",
        NONE if seed is None else str(seed),
        digest_file(path),
    ]
