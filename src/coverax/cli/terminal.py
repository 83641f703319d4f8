"""What reaches a terminal or a pipe: every command prints through here."""

import io
import json
import logging
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_ALONE = 3  # failing cases of one cause that have a line each
# Who a line is about: a case, or a line of a file.
_CASE = re.compile(r"(?:^|\()(?:left out: )?case (?P<id>.+?)(?:\)|: )")
_LINE = re.compile(r", (?P<id>line \d+): ")
_PATH = re.compile(r"\S*[/\\]\S*")
_NUMBER = re.compile(r"\d[\d.]*(?:e[-+]?\d+)?")


def printable(text: str, keep: str = "") -> str:
    """Text with its control characters as escapes: none of them acts on a terminal."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode()
        for c in text
    )


def say(text: str) -> None:
    """A line of what was asked for (a threshold, a verdict, a promise), on stdout."""
    _write_line(text, sys.stdout)


def note(text: str) -> None:
    """A line on the way (left out, written, warned), on stderr."""
    _write_line(text, sys.stderr)


def _write_line(text: str, stream: Any) -> None:
    """A line for people, wrapped between words on a terminal."""
    text = printable(text)
    if stream.isatty():
        text = textwrap.fill(
            text,
            shutil.get_terminal_size().columns,
            break_long_words=False,
            break_on_hyphens=False,
        )
    stream.write(text + "\n")


def print_json(content: Any) -> None:
    """Print a result object on stdout, in ASCII."""
    sys.stdout.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def results() -> "Console":
    """Where tables and sentences for people go: stdout."""
    from rich.console import Console

    class Results(Console):
        """A console that no text of a file acts upon."""

        def print(self, *objects: Any, **options: Any) -> None:
            shown = [printable(o, "\n") if isinstance(o, str) else o for o in objects]
            super().print(*shown, **options)

    return Results()


def can_show(text: str) -> bool:
    """Whether stdout has signs for a text."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@contextmanager
def speaking() -> Iterator[None]:
    """Notes of the package as lines on stderr; no sign that stdout lacks is an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    log = logging.getLogger("coverax")
    handler, was_shared = _Notes(), log.propagate
    log.addHandler(handler)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = was_shared


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


def gathered(lines: list[str]) -> list[str]:
    """Lines of failing cases or rows: more than a few of one cause become one line.

    Lines are of one cause where they differ in case, files and numbers alone.
    """
    of_cause: dict[str, list[str]] = {}
    for line in lines:
        of_cause.setdefault(_cause(line), []).append(line)
    out: list[str] = []
    for alike in of_cause.values():
        names = [match["id"] for match in map(_place, alike) if match]
        if len(names) <= _ALONE:
            out += alike
            continue
        first = ", ".join(names[:_ALONE])
        more = f" and {len(names) - _ALONE} more"
        what = "cases" if _CASE.search(alike[0]) else "lines"
        out.append(f"{len(names)} {what} alike ({first}{more}), the first: {alike[0]}")
    return out


def _place(line: str) -> re.Match[str] | None:
    return _CASE.search(line) or _LINE.search(line)


def _cause(line: str) -> str:
    match = _place(line)
    if match is None:
        return line
    text = line.replace(match[0], " CASE ", 1)
    text = _PATH.sub("PATH", text)
    own = re.escape(match["id"])
    return _NUMBER.sub("#", re.sub(rf"(?<![\w.-]){own}(?![\w-])", "CASE", text))
