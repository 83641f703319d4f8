"""Where every number comes from: versions, digests, dates, seeds, the command."""

import shlex
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from coverax._version import __version__
from coverax.calibrate import Calibration
from coverax.evaluate import Summary
from coverax.files import digest_file
from coverax.report.blocks import NONE, Block, Section, Table, Terms, Text
from coverax.report.found import Found
from coverax.validate import Memory


def provenance(found: Found, command: Sequence[str]) -> Section:
    """The files, with their digests, dates and seeds, and those that were not read.

    Args:
        found: All that lies there.
        command: The command line that makes the report; none from Python.
    """
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
            ("File", "What", "Version", "Written (UTC)", "Seed", "SHA-256 of the file"),
            list(_rows(found)),
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
    "tables": "score table",
    "calibrations": "calibration",
    "evaluations": "evaluation",
    "validations": "validation",
    "reliabilities": "reliability",
    "temperatures": "temperature",
    "monitors": "monitor state",
}
_SHORT = 12  # letters of a digest that tells calibrations apart


def _rows(found: Found) -> Iterator[list[str]]:
    for of, kind in _KINDS.items():
        for item in getattr(found, of):
            written = datetime.fromtimestamp(item.path.stat().st_mtime, UTC)
            seed = _seed(item.content)
            yield [
                str(item.path),
                kind + _belongs(item.content),
                item.version or NONE,
                f"{written:%Y-%m-%d %H:%M}",
                NONE if seed is None else str(seed),
                digest_file(item.path),
            ]


def _belongs(content: Any) -> str:
    """Which calibration it is, or belongs to."""
    if isinstance(content, Calibration):
        return f" {content.digest[:_SHORT]}"
    if isinstance(content, Summary | Memory):
        return f" of {content.calibration_digest[:_SHORT]}"
    return ""


def _seed(content: Any) -> int | None:
    """The seed that a file records, of whatever it drew."""
    if isinstance(content, Calibration):
        return content.policy.seed
    return getattr(content, "seed", None)
