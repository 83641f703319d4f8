"""JSON objects back to the dataclasses that wrote them: the inverse of `to_json`."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from coverax.files import Json, PathLike, read_sealed_json, sound

R = TypeVar("R")


def read_record(
    path: PathLike, kind: type[R], what: str, schema: int, command: str
) -> R:
    """Read a sealed JSON file as the dataclass whose `to_json` it holds.

    Args:
        path: The file.
        kind: The dataclass.
        what: What it should be, for messages.
        schema: The schema it must have.
        command: The subcommand that writes it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is something else, of another schema or form, or was altered.
    """
    content, _ = read_sealed_json(path, what, schema, command)
    content.pop("files", None)  # of the seal
    with sound(Path(path), what):
        return from_json(kind, content)


def from_json(hint: Any, content: Any) -> Any:
    """The value of a type, from what its `to_json` said of it.

    A dataclass with a `from_json` of its own is read by that. Of several dataclasses the
    one is taken that knows all keys of the content and lacks none that it needs.

    Args:
        hint: A dataclass, or any annotation of its fields.
        content: Plain JSON.

    Raises:
        TypeError: The content is of another type.
    """
    origin, inner = get_origin(hint) or hint, get_args(hint)
    if hint is Any:
        return content
    if origin in (Union, UnionType):
        return _one_of(inner, content)
    if is_dataclass(origin):
        own = getattr(origin, "from_json", None)
        return record_of(_any(origin), content) if own is None else own(content)
    if origin is Literal:
        _check(content in inner, content, hint)
        return content
    if origin is Sequence:
        _check(isinstance(content, list), content, hint)
        return [from_json(inner[0], value) for value in content]
    if origin is Mapping:
        _check(isinstance(content, dict), content, hint)
        return {key: from_json(inner[1], value) for key, value in content.items()}
    _check(_is_plain(content, origin), content, hint)
    return content


def record_of(kind: type[R], content: Json, **ready: Any) -> R:
    """A dataclass from its fields; those that a file may lack take their default.

    Args:
        kind: The dataclass.
        content: Its fields as plain JSON.
        **ready: Fields that are no JSON any more.

    Raises:
        TypeError: A field is missing, of another type, or unknown.
    """
    _check(isinstance(content, dict), content, kind)
    own, hints = {f.name: f for f in fields(_any(kind))}, get_type_hints(kind)
    if unknown := content.keys() - own.keys():
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    values = {name: from_json(hints[name], value) for name, value in content.items()}
    values |= ready
    for name in own.keys() - values.keys():
        if not _may_lack(own[name]):
            raise TypeError(f"{kind.__name__} lacks {name}")
        default = own[name].default
        values[name] = None if default is MISSING else default
    return kind(**values)


def _any(kind: Any) -> Any:
    """A type that only the run knows."""
    return kind


def _may_lack(own: "Field[Any]") -> bool:
    return "maybe" in own.metadata


def _one_of(hints: tuple[Any, ...], content: Any) -> Any:
    """The value of the one of several types that the content is of."""
    if content is None and NoneType in hints:
        return None
    others = [hint for hint in hints if hint is not NoneType]
    if len(others) == 1:
        return from_json(others[0], content)
    for hint in others:
        if is_dataclass(hint) and not _fits(hint, content):
            continue
        try:
            return from_json(hint, content)
        except TypeError:
            if is_dataclass(hint):
                raise
    raise TypeError(f"{content!r:.40} is of no known type")


def _fits(kind: Any, content: Any) -> bool:
    known = {f.name: f for f in fields(kind)}
    needed = {name for name, own in known.items() if not _may_lack(own)}
    return isinstance(content, dict) and needed <= content.keys() <= known.keys()


def _is_plain(content: Any, kind: Any) -> bool:
    if isinstance(content, bool):
        return kind is bool
    return isinstance(content, (int, float) if kind is float else kind)


def _check(is_right: bool, content: Any, hint: Any) -> None:
    if not is_right:
        raise TypeError(f"{content!r:.40} is no {getattr(hint, '__name__', hint)}")
