"""`--overwrite`: a folder of an earlier run gives way, when the new one is whole."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from coverax.cli.terminal import note
from coverax.files import PathLike
from coverax.shown import plural

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace the folder -o of an earlier run, at the end and at once; all in it "
        "must be known to coverax verify as whole.",
    ),
]
_FEW = 3


def allow_overwrite(
    output: Path, wanted: bool, inputs: Iterable[PathLike | None]
) -> None:
    """Let the output folder give way to the run, where that was asked for and is safe.

    Raises:
        BadParameter: An input lies in it.
        FileExistsError: It holds what is not ours, or was altered.
    """
    from coverax.folders import give_way
    from coverax.verify import verify_files

    if not wanted or not output.is_dir() or not any(output.iterdir()):
        return
    home = output.resolve()
    for path in map(Path, filter(None, inputs)):
        if path.resolve().is_relative_to(home):
            raise typer.BadParameter(f"--overwrite: {path} is an input, in {output}")
    verdicts = verify_files([output])
    others = [v for v in verdicts if v.status != "whole"]
    if output.is_symlink() or others or not verdicts:
        named = ", ".join(f"{v.path} ({v.what})" for v in others[:_FEW])
        more = f" and {len(others) - _FEW} more" if len(others) > _FEW else ""
        raise FileExistsError(
            f"{output} is not replaced: it holds what no run left so: "
            f"{named or 'nothing, or it is a link'}{more}"
        )
    note(
        f"{output}: {plural(len(verdicts), 'file')} of an earlier run will be replaced"
    )
    give_way(output)
