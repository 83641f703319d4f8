"""`coverax verify`: are these files as they were written, and what do they belong to."""

from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.common import AsJson, needs_train_extra
from coverax.cli.terminal import print_json, say
from coverax.shown import plural

NAME = "verify"
_SHOWN = ("coverax", "case_id", "n_cases", "n_rows", "calibration_digest", "digest")


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_FOLDER...", help="Files, or folders with all below them."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Say of every file whether it is whole, and what it belongs to."""
    from coverax.verify import verify_files

    with needs_train_extra():
        verdicts = verify_files(paths)
    if as_json:
        print_json([v._asdict() | {"path": str(v.path)} for v in verdicts])
    else:
        for verdict in verdicts:
            shown = [
                f"{k} {str(verdict.about[k])[:20]}"
                for k in _SHOWN
                if k in verdict.about
            ]
            rest = f" ({', '.join(shown)})" if shown else ""
            say(f"{verdict.status}: {verdict.path}: {verdict.what}{rest}")
    damaged = sum(verdict.status == "damaged" for verdict in verdicts)
    if damaged:
        raise ValueError(f"not whole: {damaged} of {plural(len(verdicts), 'file')}")
