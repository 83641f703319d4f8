"""A journal of finished records beside an output, so that an interrupted run resumes.

One JSON line a record, written as soon as it is there, with a digest of its own: a torn
or altered line is dropped, and its case done again. The first line says what the records
mean and which version wrote them; a journal of another meaning is not used. The journal
holds the lock of its output, so that no two runs write one.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from coverax._version import __version__
from coverax.files import PathLike, as_output_error, publishing
from coverax.locks import extended, locked

# Behind the text of a record, and its digest.
_DIGEST, _N_DIGITS, _END = ', "digest": "', 16, '"}'


class Journal:
    """Finished records of one run, by key; memory holds none of them.

    Args:
        output: File or folder the run will publish; the journal lies beside it.
        meaning: What the records were computed with, JSON-able.
        resume: Keep the records of an earlier run with the same meaning.
        other: What a journal of another meaning was written with, for messages.

    Raises:
        BlockingIOError: Another run writes this output.
        ValueError: The journal there has another meaning.

    Attributes:
        records: Those of the earlier run and of this one, read from the journal when
            asked for.
        n_records: How many the journal holds.
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
        self._lock = ExitStack()
        self._lock.enter_context(locked(output))
        try:
            head = {"meaning": meaning, "coverax": __version__}
            header = json.dumps(head, sort_keys=True)
            is_known = resume and self.path.exists()
            if is_known:
                self._check_header(header, other)
            with publishing(self.path) as temporary, temporary.open("wb") as new:
                new.write(header.encode() + b"\n")
                places = _copy_sound(self.path, new) if is_known else {}
            self._places = places
            self.records: Mapping[str, Any] = _Kept(self.path, places)
            self._file = self.path.open("ab")
        except BaseException:
            self._lock.close()
            raise

    def add(self, key: str, record: Any) -> None:
        """Write one finished record."""
        with as_output_error(self.path):
            start = self._file.tell()
            self._file.write(_line(key, record).encode() + b"\n")
            self._file.flush()
        self._places[key] = start

    @property
    def n_records(self) -> int:
        """How many the journal holds."""
        return len(self._places)

    def say_kept(self, on_note: Callable[[str], None]) -> None:
        """Say what a run that fails leaves for `--resume`."""
        if self.n_records:
            on_note(f"{self.n_records} finished cases are kept: go on with --resume")

    def close(self, *, keep: bool, beside: PathLike | None = None) -> None:
        """Close the journal; delete it unless it is kept for `--resume`.

        Args:
            keep: Keep it if it holds a record.
            beside: What else the run may have left; while that is there the journal
                stays, with or without a record, and says whose it is.
        """
        with self._lock:
            with suppress(OSError):  # a line that finds no room is done again
                self._file.close()
            is_of_use = self.n_records or (beside is not None and Path(beside).exists())
            if not keep or not is_of_use:
                self.path.unlink(missing_ok=True)

    def _check_header(self, header: str, other: str) -> None:
        with self.path.open("rb") as old:
            first = old.readline().decode(errors="replace").rstrip("\n")
        if first != header:
            of_version = f'"coverax": {json.dumps(__version__)}'
            wrote = f"with {other}" if of_version in first else "by another version"
            raise ValueError(f"{self.path} was written {wrote}; run without --resume")


class _Kept(Mapping[str, Any]):
    """Records of a journal by key, each read when it is asked for."""

    def __init__(self, path: Path, places: dict[str, int]):
        self._path, self._places = path, places

    def __getitem__(self, key: str) -> Any:
        with self._path.open("rb") as file:
            file.seek(self._places[key])
            found = _checked(file.readline())
        if found is None:
            raise OSError(f"{self._path}: altered while it was in use")
        return found[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def journal_lines(path: PathLike) -> tuple[int, int]:
    """Sound records of a journal, and lines that are none; its first line counts.

    Raises:
        ValueError: The first line is none of a journal.
    """
    with Path(path).open("rb") as file:
        try:
            is_ours = {"meaning", "coverax"} <= json.loads(file.readline()).keys()
        except (ValueError, AttributeError, RecursionError):
            is_ours = False
        if not is_ours:
            raise ValueError(f"{path}: not a journal of coverax, or damaged")
        sound = [_checked(line) is not None for line in file]
    return sum(sound), len(sound) - sum(sound)


def _copy_sound(path: Path, new: BinaryIO) -> dict[str, int]:
    """Copy the lines that are as they were written; where each record lies by key."""
    places: dict[str, int] = {}
    with path.open("rb") as old:
        old.readline()
        for line in old:
            record = _checked(line)
            if record is not None:
                places[record[0]] = new.tell()
                new.write(line.rstrip(b"\n") + b"\n")
    return places


def journal_path(output: Path) -> Path:
    """Where the journal of an output lies."""
    return extended(output, ".partial.jsonl")


def _line(key: str, record: Any) -> str:
    text = json.dumps({"key": key, "record": record})
    return f"{text[:-1]}{_DIGEST}{_digest(text.encode())}{_END}"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:_N_DIGITS]


def _checked(line: bytes) -> tuple[str, Any] | None:
    """Key and record of a line; None where it is not what was written.

    The digest is of the text, since JSON as Python reads it knows NaN and gives floats
    back.
    """
    text, found, end = line.rstrip(b"\n").rpartition(_DIGEST.encode())
    text += b"}"
    if not found or end != f"{_digest(text)}{_END}".encode():
        return None
    try:
        entry = json.loads(text)
        return entry["key"], entry["record"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
