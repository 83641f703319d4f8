"""A journal of finished records beside an output, so that an interrupted run resumes.

One JSON line a record, written as soon as it is there, with a digest of its own: a torn
or altered line is dropped, and its case done again. The first line says what the records
mean and which version wrote them; a journal of another meaning is not used. The journal
holds the lock of its output, so that no two runs write one.
"""

import hashlib
import json
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from coverax._version import __version__
from coverax.files import PathLike, as_output_error, publish_text
from coverax.locks import locked


class Journal:
    """Finished records of one run, by key.

    Args:
        output: File or folder the run will publish; the journal lies beside it.
        meaning: What the records were computed with, JSON-able.
        resume: Keep the records of an earlier run with the same meaning.
        other: What a journal of another meaning was written with, for messages.

    Raises:
        BlockingIOError: Another run writes this output.
        ValueError: The journal there has another meaning.
    """

    def __init__(
        self,
        output: PathLike,
        meaning: Any,
        *,
        resume: bool,
        other: str = "other options",
    ):
        output = Path(output)
        self.path = journal_path(output)
        self.records: dict[str, Any] = {}
        self.n_damaged = 0
        self._lock = ExitStack()
        self._lock.enter_context(locked(output))
        try:
            head = {"meaning": meaning, "coverax": __version__}
            header = json.dumps(head, sort_keys=True)
            if resume and self.path.exists():
                self._load(header, other)
            lines = [header] + [_line(k, v) for k, v in self.records.items()]
            publish_text(self.path, "\n".join(lines) + "\n")
            self._file = self.path.open("a", encoding="utf-8")
        except BaseException:
            self._lock.close()
            raise

    def add(self, key: str, record: Any) -> None:
        """Write one finished record."""
        self.records[key] = record
        with as_output_error(self.path):
            self._file.write(_line(key, record) + "\n")
            self._file.flush()

    def close(self, *, keep: bool) -> None:
        """Close the journal; delete it unless it is kept for `--resume`."""
        with self._lock:
            with suppress(OSError):  # a line that finds no room is done again
                self._file.close()
            if not keep or not self.records:
                self.path.unlink(missing_ok=True)

    def _load(self, header: str, other: str) -> None:
        text = self.path.read_text(encoding="utf-8", errors="replace")
        first, *lines = text.split("\n")
        if first != header:
            of_version = f'"coverax": {json.dumps(__version__)}'
            wrote = f"with {other}" if of_version in first else "by another version"
            raise ValueError(f"{self.path} was written {wrote}; run without --resume")
        for line in lines:
            record = _checked(line)
            if record is None:
                self.n_damaged += bool(line)
            else:
                self.records[record[0]] = record[1]


def journal_path(output: Path) -> Path:
    """Where the journal of an output lies."""
    return output.with_name(f"{output.name}.partial.jsonl")


def _line(key: str, record: Any) -> str:
    entry = {"key": key, "record": record}
    return json.dumps(entry | {"digest": _digest(entry)})


def _digest(entry: dict[str, Any]) -> str:
    """Of the text, since JSON as Python reads it knows NaN and gives floats back."""
    return hashlib.sha256(json.dumps(entry).encode()).hexdigest()[:16]


def _checked(line: str) -> tuple[str, Any] | None:
    """Key and record of a line; None where it is not what was written."""
    try:
        entry = json.loads(line)
        if entry.pop("digest") == _digest(entry):
            return entry["key"], entry["record"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return None
