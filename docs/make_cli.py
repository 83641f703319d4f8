"""Write docs/cli.md from the commands themselves.

    python docs/make_cli.py [--check]

With `--check` nothing is written: exit code 1 where the page is out of date.
"""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from coverax.cli.app import app

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Commands and options

Made from `--help` by `python docs/make_cli.py`: change the help in `src/coverax/cli`, not
this page. `coverax --version` shows the version, `coverax --debug COMMAND` shows
tracebacks, `coverax --compile-cache DIR COMMAND` keeps what the device engine compiles
([on a GPU](accelerators.md)). [Files and exit codes](files.md).
"""


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, in the order of `coverax --help`."""
    yield from _below("coverax", typer.main.get_command(app))


def _below(name: str, group: Any) -> Iterator[tuple[str, Any]]:
    for own, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _below(f"{name} {own}", command)
        else:
            yield f"{name} {own}", command


def long_options(command: Any) -> list[str]:
    """The long names of the options of a command."""
    names = [name for p in command.params for name in (*p.opts, *p.secondary_opts)]
    return [name for name in names if name.startswith("--")]


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_section(name, command) for name, command in commands())


def _section(name: str, command: Any) -> str:
    about = " ".join((command.help or "").split("\f")[0].split())
    types = get_type_hints(command.callback)
    rows = [_row(p, types[p.name]) for p in command.params if p.name != "help"]
    table = ["| option | takes | default | |", "|---|---|---|---|", *rows]
    return f"\n## {name}\n\n{about}\n\n" + "\n".join(table) + "\n"


def _row(option: Any, annotation: Any) -> str:
    words = [*reversed(option.opts), *option.secondary_opts]
    is_argument = not words[0].startswith("-")
    name = words[0].upper() if is_argument else ", ".join(f"`{w}`" for w in words)
    takes = "" if annotation is bool else option.metavar or _takes(annotation)
    if option.multiple or option.nargs == -1:
        takes += ", repeated"
    cells = [name, takes, _default(option), option.help or ""]
    return f"| {' | '.join(' '.join(c.replace('|', chr(92) + '|').split()) for c in cells)} |"


def _takes(annotation: Any) -> str:
    """The values of a type in words: its choices, or its name."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(f"`{member.value}`" for member in annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(annotation))
    inner = [each for each in get_args(annotation) if each is not NoneType]
    if inner:
        return _takes(inner[0])
    return {bool: "", str: "TEXT", Path: "PATH", int: "WHOLE"}.get(annotation, "NUMBER")


def _default(option: Any) -> str:
    if option.required:
        return "required"
    if option.default is None or option.default is False or option.default == ():
        return ""
    if option.default is True:
        return f"`{option.opts[0]}`"
    return f"`{getattr(option.default, 'value', option.default)}`"


def main() -> None:
    """Write the page, or compare it."""
    made = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != made:
        sys.exit(f"{PAGE} is out of date: python docs/make_cli.py")


if __name__ == "__main__":
    main()
