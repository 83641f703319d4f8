"""Parts of a folder: what each shard wrote, and how the whole takes it over.

A shard fills a folder of its own, `part-I-of-N`, with a sealed record of what it made.
The command that is given the folder of parts links the files into its own output instead
of making them, and ends it as it always does: what belongs to the whole is written by the
code of one process, from the same files.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from coverax._version import __version__
from coverax.files import (
    as_output_error,
    digest_file,
    digest_ids,
    publish_sealed_json,
    read_sealed_json,
)
from coverax.stream.shards import Shard, shard_of_name
from coverax.volumes import some_names

PART_RECORD = "part.json"
_WHAT = "record of a part"


class FolderOf(NamedTuple):
    """What all parts of one folder have in common.

    Attributes:
        kind: What its files depend on besides their sources, for messages.
        meaning: That, JSON-able.
        case_ids: Of all cases.
    """

    kind: str
    meaning: Any
    case_ids: Sequence[str]

    def plain(self) -> dict[str, Any]:
        """As a record has it."""
        return {
            "kind": self.kind,
            "meaning": self.meaning,
            "n_cases": len(self.case_ids),
            "cases_digest": digest_ids(self.case_ids),
        }


class Taken(NamedTuple):
    """What was taken over from parts: value of each case, and why others failed."""

    values: dict[str, Any]
    failures: dict[str, str]


def record_part(
    folder: Path,
    shard: Shard,
    whole: FolderOf,
    values: Mapping[str, Any],
    failures: Mapping[str, str],
    files: Mapping[str, Sequence[str]],
) -> None:
    """Write the record of a part beside its files."""
    record = {
        "schema": 1,
        "coverax": __version__,
        "shard": [shard.index, shard.count],
        **whole.plain(),
        "values": {case_id: values[case_id] for case_id in sorted(values)},
        "failed": dict(failures),
    }
    written = [folder / name for case_id in sorted(values) for name in files[case_id]]
    publish_sealed_json(folder / PART_RECORD, record, written)


def take_parts(
    home: Path, whole: FolderOf, files: Mapping[str, Sequence[str]], into: Path
) -> Taken:
    """Link what all shards made into a folder, after checking that it is all there.

    Raises:
        FileNotFoundError: There is no such folder of parts.
        ValueError: A part is missing, there twice, altered, or of another run.
    """
    values: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for folder, record in _records(home, whole):
        shard = Shard(*record["shard"])
        found = [*record["values"], *record["failed"]]
        if sorted(found) != shard.of(sorted(whole.case_ids)):
            raise ValueError(f"{folder}: does not hold each of its cases once")
        for case_id in record["values"]:
            for name in files[case_id]:
                _link(folder / name, record["files"].get(name), into / name)
        values |= record["values"]
        failures |= record["failed"]
    return Taken(values, failures)


def _records(home: Path, whole: FolderOf) -> Iterable[tuple[Path, dict[str, Any]]]:
    if not home.is_dir():
        raise FileNotFoundError(f"{home}: no such folder of parts")
    named = [p for p in sorted(home.iterdir()) if p.is_dir() and shard_of_name(p.name)]
    if not named:
        raise ValueError(f"{home}: holds no part of a shard (part-I-of-N)")
    found: dict[int, tuple[Path, dict[str, Any]]] = {}
    count = None
    for folder in named:
        record = _record_of(folder, whole)
        index, n = record["shard"]
        if count not in (None, n) or Shard(index, n) != shard_of_name(folder.name):
            raise ValueError(
                f"{folder}: is part {index} of {n}, beside parts of another run: keep "
                "those of one"
            )
        count, found[index] = n, (folder, record)
    missing = [i for i in range(1, (count or 0) + 1) if i not in found]
    if missing:
        names = some_names(Shard(i, count or 0).name for i in missing)
        raise ValueError(f"{home}: {names} of {count} parts missing")
    return [found[index] for index in sorted(found)]


def _record_of(folder: Path, whole: FolderOf) -> dict[str, Any]:
    record, _ = read_sealed_json(folder / PART_RECORD, _WHAT, 1, "... --shard")
    if record["coverax"] != __version__:
        raise ValueError(
            f"{folder}: written by version {record['coverax']!s:.40}, this is "
            f"{__version__}: make it again"
        )
    plain = whole.plain()
    if record["kind"] != plain["kind"] or record["meaning"] != plain["meaning"]:
        raise ValueError(f"{folder}: made with another {whole.kind}: make it again")
    if record["cases_digest"] != plain["cases_digest"]:
        raise ValueError(f"{folder}: made of other cases than these: make it again")
    return record


def _link(path: Path, digest: str | None, target: Path) -> None:
    if not path.is_file() or digest_file(path) != digest:
        raise ValueError(f"{path}: missing, or altered after it was written")
    with as_output_error(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path, target)
        except OSError:  # on another disk, or one without links
            shutil.copyfile(path, target)
