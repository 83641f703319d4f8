"""The `coverax` command and how it ends: 0, 1 data, 2 usage, 130 Ctrl-C."""

import functools
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path
from typing import Annotated, Any

import typer

from coverax._version import __version__
from coverax.cli import (
    calibrate,
    demo,
    doctor,
    evaluate,
    export,
    import_,
    infer,
    learn_sets,
    merge,
    monitor,
    pack,
    pages,
    picture,
    plan,
    predict,
    reliability,
    report,
    score,
    split,
    summarise,
    temperature,
    train,
    validate,
    verify,
)
from coverax.cli.terminal import gathered, note, speaking
from coverax.files import publish_text
from coverax.locks import extended

_NEXT = "Start with `coverax demo -o DIR`; every command has -h with an example."

# The list of all failing cases, beside the output they were for.
_LISTED = ".errors.txt"

# What inputs or the machine lead to; anything else is a defect and shows where.
_EXPECTED = (ExceptionGroup, ValueError, OSError, MemoryError, RecursionError)

app = typer.Typer(
    help="Masks with finite-sample guarantees from probability volumes.",
    epilog=_NEXT,
    cls=pages.Group,
    context_settings=pages.SETTINGS,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (
    split,
    score,
    merge,
    summarise,
    learn_sets,
    calibrate,
    predict,
    evaluate,
    validate,
    monitor,
    reliability,
    report,
    plan,
    train,
    infer,
    pack,
    export,
    picture,
    verify,
    doctor,
    demo,
):
    app.command(module.NAME, cls=pages.Command)(module.command)
app.add_typer(temperature.app, name=temperature.NAME)
app.add_typer(import_.app, name=import_.NAME)


def _listing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command, which lists failing cases in full where the terminal does not."""

    @functools.wraps(command)
    def run_command(*args: Any, **options: Any) -> None:
        listed = _listed_at(options.get("output"), options.get("shard"))
        try:
            command(*args, **options)
        except ExceptionGroup as error:
            lines = _lines(error)
            if len(gathered(lines)) < len(lines):
                error.add_note(_list_in(listed, lines))
            raise
        if listed is not None:  # of an earlier run into this output
            listed.unlink(missing_ok=True)

    return run_command


def _listed_at(output: Path | None, shard: str | None) -> Path | None:
    """Where failing cases are listed: beside the output, or the part of a shard."""
    if output is None:
        return None
    if shard is not None:
        from coverax.stream import parse_shard

        with suppress(ValueError):  # said where the option is read
            output = output / parse_shard(shard)[0].name
    return extended(output, _LISTED)


def _list_in(path: Path | None, lines: list[str]) -> str:
    """Write all lines; say where they can be read."""
    try:
        if path is not None:
            publish_text(path, "\n".join(lines) + "\n")
            return f"all of them are listed in {path}"
    except OSError:
        pass
    return "coverax --debug lists all of them"


for _command in (*app.registered_commands, *temperature.app.registered_commands):
    if _command.callback is not None:
        _command.callback = _listing(_command.callback)


def _print_version(wanted: bool) -> bool:
    if wanted:
        sys.stdout.write(f"coverax {__version__}\n")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    compile_cache: Annotated[
        Path | None,
        typer.Option(help="Keep what the device compiles in this folder of your own."),
    ] = None,
    version: bool = typer.Option(
        False,
        "--version",
        callback=_print_version,
        is_eager=True,
        help="Show the version.",
    ),
) -> None:
    del version
    if debug:
        os.environ["COVERAX_DEBUG"] = "1"
    if compile_cache is not None:
        from coverax.kernels import keep_programs

        keep_programs(compile_cache)


def main(args: list[str] | None = None) -> None:
    """Run the command line; never returns."""
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    with speaking():
        return copy_context().run(_run, args)  # what may be overwritten is of one run


def _run(args: list[str] | None) -> int:
    try:
        app(args=args, prog_name="coverax")
    except SystemExit as end:  # Typer's own: 0, 2 for usage, 130 for Ctrl-C
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except _EXPECTED as error:
        debug = bool(os.environ.get("COVERAX_DEBUG"))
        if debug:
            traceback.print_exc()
        lines = _lines(error)
        for line in lines if debug else gathered(lines):
            note(f"error: {line}")
        for line in getattr(error, "__notes__", ()):
            note(line)
        return 1
    return 0


def _lines(error: BaseException) -> list[str]:
    """One line an expected failure."""
    if isinstance(error, ExceptionGroup):
        return [line for e in error.exceptions for line in _lines(e)] + [error.message]
    if isinstance(error, OSError) and error.filename:
        return [f"{error.filename}: {error.strerror}"]
    if isinstance(error, RecursionError):
        return ["an input is nested too deeply"]
    if isinstance(error, MemoryError):
        why = " ".join(str(error).split())
        return [
            f"out of memory{why and f' ({why})'}: give fewer --threads, or more memory"
        ]
    return [" ".join(str(error).split()) or type(error).__name__]
