"""Publishing files whole: a temporary name first, then a rename."""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

PathLike = str | os.PathLike[str]


@contextmanager
def publishing(path: PathLike) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place when all went well.

    Raises:
        FileExistsError: `path` is a folder or a device.
    """
    path = Path(path)
    check_output_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def publish_text(path: PathLike, text: str) -> None:
    """Write a text file that appears complete or not at all."""
    path = Path(path)
    with publishing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def publish_json(path: PathLike, content: Any) -> None:
    """Write JSON (strict: no NaN, no Infinity) that appears complete or not at all."""
    path = Path(path)
    publish_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def publish_rows(path: PathLike, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, columns as the first has them, complete or not at all."""
    path = Path(path)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    publish_text(path, text.getvalue())


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
            f"{path}: not a sound {what} ({kind}: {_line(error)})"
        ) from None
    except RecursionError:
        raise ValueError(f"{path}: nested too deeply for a {what}") from None
    except ValueError as error:
        text = _line(error)
        raise ValueError(text if f"{path}" in text else f"{path}: {text}") from None


def _line(error: Exception, most: int = 300) -> str:
    return " ".join(str(error).split())[:most]


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
        raise FileNotFoundError(f"{path}: no such {what}")
    with sound(path, what):
        return _sealed_content(path, what, schema, command)


def _sealed_content(
    path: Path, what: str, schema: int, command: str
) -> tuple[dict[str, Any], str]:
    try:
        loaded: Any = json.loads(
            path.read_text(encoding="utf-8"), parse_constant=_refuse_constant
        )
    except ValueError as error:  # no text, no JSON, or NaN in it
        raise ValueError(f"{path}: not JSON ({error})") from None
    content = cast("dict[str, Any]", loaded if isinstance(loaded, dict) else {})
    if not {"schema", "digest"} <= content.keys():
        raise ValueError(f"{path}: not a coverax {what}")
    if content["schema"] != schema:
        raise ValueError(
            f"{path}: {what} of schema {content['schema']!r:.40}, this version reads "
            f"{schema}"
        )
    digest = content.pop("digest")
    if digest != digest_json(content):
        raise ValueError(
            f"{path}: altered after it was written (its digest does not match); "
            f"run `coverax {command}` again"
        )
    return content, digest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def check_output_file(path: PathLike) -> None:
    """Refuse an output file where something lies that is no file.

    The rename that publishes would replace a device such as `/dev/stdout`.

    Raises:
        FileExistsError: It is a folder or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise FileExistsError(f"{path} is {what}; name a file")


def check_output_folder(folder: PathLike) -> None:
    """Refuse an output folder that holds something already.

    Raises:
        FileExistsError: It is a file or holds anything.
    """
    folder = Path(folder)
    if folder.is_dir():
        if any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} exists and is not empty; name a new folder"
            )
    elif folder.exists():
        raise FileExistsError(f"{folder} exists and is not a folder")


def partial_folder(output: PathLike) -> Path:
    """Where an output folder is filled before it takes its name."""
    output = Path(output)
    return output.with_name(f"{output.name}.partial")


def start_folder(output: PathLike, meaning: str, *, kind: str, resume: bool) -> Path:
    """Make the partial folder of an output, or take over an interrupted run's.

    Args:
        output: Folder the run will publish; must not hold anything.
        meaning: What the files depend on; a run of another meaning is not resumed.
        kind: What the meaning is the digest of, for the marker's name and messages.
        resume: Keep what an earlier run has finished.

    Raises:
        FileExistsError: The output holds something, or the partial folder is no run's.
        ValueError: The interrupted run had another meaning.
    """
    output = Path(output)
    check_output_folder(output)
    partial = partial_folder(output)
    marker = partial / folder_marker(kind)
    if partial.exists():
        if not marker.is_file():
            raise FileExistsError(f"{partial} exists and is not an interrupted run")
        if resume and marker.read_text(encoding="utf-8") != meaning:
            raise ValueError(
                f"{partial} was written with another {kind}; run without --resume"
            )
        if not resume:
            shutil.rmtree(partial)
    partial.mkdir(parents=True, exist_ok=True)
    marker.write_text(meaning, encoding="utf-8")
    return partial


def folder_marker(kind: str) -> str:
    """Name of the file that marks a partial folder as a run's."""
    return f"{kind}.digest"


def finish_folder(output: PathLike, kind: str) -> None:
    """Give a filled partial folder its name."""
    output = Path(output)
    partial = partial_folder(output)
    (partial / folder_marker(kind)).unlink()
    if output.exists():
        output.rmdir()
    partial.replace(output)


def digest_json(content: Any) -> str:
    """SHA-256 of canonical JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_ids(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids, whatever their order."""
    text = "".join(f"{i}\n" for i in sorted(set(ids)))
    return hashlib.sha256(text.encode()).hexdigest()
