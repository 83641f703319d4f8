"""What of coverax lies in some folders: recognised as `verify` does, read typed."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from coverax.calibrate import Calibration, read_calibration
from coverax.evaluate import Summary, read_evaluation
from coverax.files import PathLike, one_line
from coverax.reliability import (
    ReliabilitySummary,
    Temperature,
    read_reliability,
    read_temperature,
)
from coverax.table import ScoreTable, read_table
from coverax.validate import Memory, Validation, read_memory, read_validation
from coverax.verify import kind_of, verify_files

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """A file that was read.

    Attributes:
        path: The file.
        name: Its path as far as it tells the files of a kind apart, for titles.
        content: What it holds.
        version: Of coverax that wrote it; empty where the file does not say.
    """

    path: Path
    name: str
    content: T
    version: str = ""


class Unread(NamedTuple):
    """A file that was not read, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class Found:
    """All results that lie in the folders, by kind, in the order of the folders."""

    folders: tuple[Path, ...]
    calibrations: tuple[Item[Calibration], ...] = ()
    evaluations: tuple[Item[Summary], ...] = ()
    validations: tuple[Item[Validation], ...] = ()
    reliabilities: tuple[Item[ReliabilitySummary], ...] = ()
    temperatures: tuple[Item[Temperature], ...] = ()
    monitors: tuple[Item[Memory], ...] = ()
    tables: tuple[Item[ScoreTable], ...] = ()
    unread: tuple[Unread, ...] = field(default=())

    @property
    def files(self) -> list[Path]:
        """Every file that was read."""
        return [
            item.path for kind in _KINDS.values() for item in getattr(self, kind.of)
        ]

    def calibration(self, digest: str) -> Calibration | None:
        """The calibration of this digest; None where its file is not there."""
        every = (item.content for item in self.calibrations)
        return next((own for own in every if own.digest == digest), None)

    def table_of(self, cases_digest: str) -> ScoreTable | None:
        """The score table of these cases; None where it is not there."""
        every = (item.content for item in self.tables)
        return next((t for t in every if t.cases_digest == cases_digest), None)


class _Kind(NamedTuple):
    """Where what is read of a kind of file goes."""

    of: str
    read: Callable[[Path], Any]


_KINDS = {
    "calibration": _Kind("calibrations", read_calibration),
    "evaluation": _Kind("evaluations", read_evaluation),
    "validation": _Kind("validations", read_validation),
    "reliability": _Kind("reliabilities", read_reliability),
    "temperature": _Kind("temperatures", read_temperature),
    "monitor state": _Kind("monitors", read_memory),
    "score table": _Kind("tables", read_table),
}


def find_results(folders: Iterable[PathLike]) -> Found:
    """Read every result of coverax in some folders, and below them.

    Args:
        folders: Folders, or files.

    Raises:
        FileNotFoundError: A folder is not there.
        ValueError: A file of coverax is not as it was written, or there is none.
    """
    roots = tuple(dict.fromkeys(Path(os.path.normpath(path)) for path in folders))
    kinds, unread = _recognised(roots)
    verdicts = verify_files(kinds)
    damaged = [v for v in verdicts if v.status == "damaged"]
    if damaged:
        more = f" ({len(damaged)} files are damaged)" if len(damaged) > 1 else ""
        raise ValueError(f"{damaged[0].path}: {damaged[0].what}{more}")
    read: dict[str, list[Item[Any]]] = {}
    for verdict, (path, kind) in zip(verdicts, kinds.items(), strict=True):
        version = str(verdict.about.get("coverax", ""))
        item = Item(path, path.name, kind.read(path), version)
        read.setdefault(kind.of, []).append(item)
    if not read:
        raise ValueError(
            f"{', '.join(map(str, roots))}: nothing of coverax to report on; name folders "
            "of score tables, calibrations, evaluations and the like"
        )
    items = {of: _named(own) for of, own in read.items()}
    return Found(roots, **items, unread=tuple(unread))


def _recognised(
    roots: Iterable[Path],
) -> tuple[dict[Path, _Kind], list[Unread]]:
    """Files of the kinds that a report speaks of, and those that cannot be read."""
    kinds: dict[Path, _Kind] = {}
    unread: list[Unread] = []
    seen: set[Path] = set()
    for path in (path for root in roots for path in _below(root)):
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        try:
            kind = kind_of(path)
        except ValueError as error:
            text = one_line(error).removeprefix(f"{path}: ")
            unread.append(Unread(path, text))
            continue
        if kind in _KINDS:
            kinds[path] = _KINDS[kind]
        elif kind == "part of a score table":
            unread.append(Unread(path, f"{kind}: join the parts with coverax merge"))
    return kinds, unread


def _below(root: Path) -> Iterator[Path]:
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such file or folder")
    if not root.is_dir():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.suffix in (".json", ".parquet") and path.is_file():
            yield path


def _named(items: list[Item[Any]]) -> tuple[Item[Any], ...]:
    """Items whose names tell them apart: without what all their paths begin with."""
    if len(items) == 1:
        return tuple(items)
    start = os.path.commonpath([item.path.parent for item in items])
    return tuple(
        replace(item, name=os.path.relpath(item.path, start)) for item in items
    )
