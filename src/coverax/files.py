"""Publishing files whole: a temporary name first, then a rename."""

import csv
import glob
import hashlib
import io
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from coverax.kinds import KINDS, instead, kind_of_keys
from coverax.locks import PARTIAL, WHOLE, beside, is_held

# A JSON object: what a file holds of something.
Json = dict[str, Any]
PathLike = str | os.PathLike[str]

# Metadata of a field of a `JsonRecord` that its file holds only where it is known.
MAYBE = {"maybe": True}

# Endings that name a format; a file of another kind under one of them misleads.
_TEXTS, _VOLUMES = {".csv", ".html", ".json", ".toml", ".tsv"}, {".gz", ".nii", ".npz"}
_FORMATS = _TEXTS | _VOLUMES | {".parquet", ".pdf", ".png", ".svg", ".xlsx"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a spreadsheet's formula begins


class OutputError(OSError):
    """An output cannot be written: the disk is full, or the place is not writable.

    No case is to blame, so that a run over cases stops.
    """


@contextmanager
def publishing(path: PathLike, ending: str | None = None) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when all went well.

    The name is new and nobody else's, so that two writers of one file each publish a
    whole one. What is published is on the disk before it has its name, and has the mode
    of the file it replaces. Temporary files of killed writers are removed.

    Raises:
        FileExistsError: `path` is a folder or a device.
        OutputError: It cannot be written.
        ValueError: `path` ends as another format than that of `ending` does.
    """
    path = Path(path)
    check_output_file(path, ending)
    with as_output_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.suffix not in (PARTIAL, WHOLE):  # no scan for each of its files
            _remove_stale(path)
        handle, temporary = _open_temporary(path)
    try:
        with as_output_error(path):
            yield temporary
            os.fsync(handle)
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def as_output_error(path: Path) -> Iterator[None]:
    """What the system says of a write becomes one line that names the output."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise OutputError(f"{path}: cannot be written ({why})") from None


def _open_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, of its mode, locked while its writer lives."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    while True:
        temporary = beside(path, f".{secrets.token_hex(6)}.tmp")
        handle = os.open(temporary, flags, 0o666 if mode is None else mode)
        is_held(handle)
        if temporary.exists():  # else another took it for a leftover before the lock
            if mode is not None:
                temporary.chmod(mode)  # the umask may have narrowed it
            return handle, temporary
        os.close(handle)


def _remove_stale(path: Path) -> None:
    """Delete the temporary files of `path` whose writer is gone."""
    start = f"{beside(path, '').name}."
    for entry in path.parent.glob(f"{glob.escape(start)}*.tmp"):
        with suppress(OSError):
            handle = os.open(entry, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
            try:
                if is_held(handle):
                    entry.unlink()
            finally:
                os.close(handle)


def publish_text(path: PathLike, text: str, ending: str | None = None) -> None:
    """Write a text file that appears complete or not at all."""
    path = Path(path)
    with publishing(path, ending) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_json(path: PathLike, content: Any) -> None:
    """Write JSON (strict: no NaN, no Infinity) that appears complete or not at all."""
    path = Path(path)
    publish_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n", ".json")


def publish_sealed_json(
    path: PathLike, content: Any, beside: Iterable[PathLike] = ()
) -> None:
    """Write a JSON object that carries a digest of all that is in it.

    Args:
        path: The file.
        content: Without a digest.
        beside: Files that it speaks of, in its folder or below; their SHA-256 are kept
            as `files`, by name.
    """
    home = Path(path).parent
    files = {Path(f).relative_to(home).as_posix(): digest_file(f) for f in beside}
    plain = json.loads(json.dumps(content | ({"files": files} if files else {})))
    publish_json(path, plain | {"digest": digest_json(plain)})


def publish_rows(
    path: PathLike, rows: list[dict[str, Any]], *, as_they_are: bool = False
) -> None:
    """Write rows as CSV, columns as the first has them, complete or not at all.

    Text that a spreadsheet would take for a formula (it begins with `=`, `+`, `-`, `@`, a
    tab or a carriage return) gets an apostrophe before it; numbers stay as they are.

    Args:
        path: The file.
        rows: At least one.
        as_they_are: The rows are those of a CSV file of the user's, and stay so.
    """
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    plain = (lambda cell: cell) if as_they_are else _no_formula
    writer.writerow({name: plain(name) for name in rows[0]})
    writer.writerows({k: plain(v) for k, v in row.items()} for row in rows)
    publish_text(path, text.getvalue(), ".csv")


def _no_formula(cell: Any) -> Any:
    is_formula = isinstance(cell, str) and cell.startswith(_FORMULA)
    return f"'{cell}" if is_formula else cell


def without_apostrophe(cell: str) -> str:
    """The text that `publish_rows` wrote as this cell."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


@contextmanager
def sound(path: PathLike, what: str) -> Iterator[None]:
    """Make one line, with the file, of all that content of a wrong form leads to.

    Raises:
        ValueError: What is done inside failed on the content.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        kind = type(error).__name__
        raise ValueError(
            f"{path}: not a sound {what} ({kind}: {one_line(error)})"
        ) from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for a {what}") from None
    except ValueError as error:
        text = one_line(error)
        raise ValueError(text if f"{path}" in text else f"{path}: {text}") from None


def one_line(error: object, most: int = 300) -> str:
    """What an error says, or a name out of a file, as one printable line."""
    text = " ".join(str(error).split())[:most]
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


class JsonRecord:
    """A dataclass that is a JSON object: base of what callers read and files hold."""

    __slots__ = ()

    def to_json(self) -> Json:
        """Its fields in their order; those marked `MAYBE` only where they are not None."""
        own = [(f, getattr(self, f.name)) for f in fields(cast(Any, self))]
        return {
            f.name: _plain(value)
            for f, value in own
            if value is not None or "maybe" not in f.metadata
        }


def _plain(value: Any) -> Any:
    """A field as JSON, whatever it holds."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    return value


def check_fields(record: Any) -> None:
    """Refuse a record whose fields are of other types than its class says.

    Containers are looked at from outside.

    Raises:
        TypeError: A field is.
    """
    for name, hint in get_type_hints(type(record)).items():
        value = getattr(record, name)
        if not _is_of(value, hint):
            raise TypeError(f"{name} is {value!r:.40}")


def _is_of(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    kind = origin or hint
    return kind is Any or isinstance(value, (int, float) if kind is float else kind)


def read_sealed_json(
    path: PathLike, what: str, schema: int, command: str
) -> tuple[dict[str, Any], str]:
    """Read a JSON object that carries its own digest; return it without, and the digest.

    Args:
        path: The file.
        what: What it should be, for messages.
        schema: The schema it must have.
        command: The subcommand that writes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, of another schema, or was altered.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such {what}{instead(path, what, command, is_json=True)}"
        )
    try:
        with sound(path, what):
            return _sealed_content(path, what, schema, command)
    except ValueError as error:
        found = instead(path, what, command, is_json=True)
        text = f"{path}: not a coverax {what}{found}" if found else f"{error}"
        raise ValueError(text) from None


def read_json(path: PathLike) -> Any:
    """Read strict JSON.

    Raises:
        ValueError: It is no text, no JSON, or holds NaN.
    """
    path = Path(path)
    try:
        return json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_refuse_constant
        )
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None


def is_sealed(content: dict[str, Any]) -> bool:
    """Whether a JSON object is what its own digest was taken of."""
    return content.get("digest") == digest_json(
        {k: v for k, v in content.items() if k != "digest"}
    )


def _sealed_content(
    path: Path, what: str, schema: int, command: str
) -> tuple[dict[str, Any], str]:
    loaded = read_json(path)
    content = cast("dict[str, Any]", loaded if isinstance(loaded, dict) else {})
    if not {"schema", "digest"} <= content.keys():
        raise ValueError(f"{path}: not a coverax {what}")
    kind = kind_of_keys(content.keys())
    if kind not in (None, what) and what in dict(KINDS):
        raise ValueError(f"{path}: not a coverax {what}")
    if content["schema"] != schema:
        raise ValueError(
            f"{path}: {what} of schema {content['schema']!r:.40}, this version reads "
            f"{schema}"
        )
    if not is_sealed(content):
        raise ValueError(
            f"{path}: altered after it was written (its digest does not match); "
            f"run `coverax {command}` again"
        )
    return content, content.pop("digest")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def check_output_file(path: PathLike, ending: str | None = None) -> None:
    """Refuse an output file where something lies that is no file, or of a wrong name.

    The rename that publishes would replace a device such as `/dev/stdout`.

    Args:
        path: The file.
        ending: That of its format; `path` may end so, or as no format does.

    Raises:
        FileExistsError: It is a folder or a device.
        ValueError: `path` ends as another format does.
    """
    path = Path(path)
    if ending is not None and path.suffix.lower() in _FORMATS - {ending}:
        raise ValueError(
            f"{path}: {ending[1:]} is written here, not {path.suffix[1:]}; name it "
            f"{path.with_suffix(ending).name}"
        )
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise FileExistsError(f"{path} is {what}; name a file")


def check_not_input(output: PathLike, inputs: Iterable[PathLike | None]) -> None:
    """Refuse an output that is one of the files a command reads, whatever its name.

    Raises:
        FileExistsError: It is one of them; told by the file itself, so links count.
    """
    output = Path(output).resolve()  # `x/../file` is one without an x too
    if not output.exists():
        return
    for path in map(Path, filter(None, inputs)):
        if path.exists() and output.samefile(path):
            raise FileExistsError(
                f"{output} is an input of this command ({path}); name another output"
            )


def digest_json(content: Any) -> str:
    """SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: PathLike) -> str:
    """SHA-256 of the bytes of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_ids(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids, whatever their order."""
    text = "".join(f"{i}\n" for i in sorted(set(ids)))
    return hashlib.sha256(text.encode()).hexdigest()
